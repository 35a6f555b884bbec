//! The daemon's main task: starts what [`crate::run`] puts together, serves the control API, listens to signals and to
//! systemd, and ends in order.
//!
//! SIGTERM and SIGINT finish what is in flight, SIGHUP loads the policies again. A loop that panics or loses its lease
//! ends the process: systemd starts it again, and the journal says where to go on. The watchdog is fed only while every
//! loop turns.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::http::{App, accept, guarded, router};
use crate::port::PortError;
use crate::run::{RunError, Shared, own_proxy, tell_of_capture};
use crate::secret::{self, SecretError};
use crate::systemd::{self, NotifyState};

/// Who may talk to the Unix socket: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// How long calls that are being answered may take when the daemon ends.
const LAST_CALLS_MAX: Duration = Duration::from_millis(300);

/// How long loops may take to end; each gives a write that is under way 1.5 s.
const LOOPS_END_MAX: Duration = Duration::from_millis(1700);

/// What to do about an address of the control API that cannot be had.
const ELSEWHERE: &str = "stop that one, or choose another address in `[http]` (`--control` for the socket)";

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nothing could be put together.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The API cannot be reached where it shall be.
    #[error("cannot serve the control API on `{at}`: {why}")]
    Listen {
        /// Where.
        at: String,
        /// What the system said.
        why: String,
    },
    /// The token cannot be read.
    #[error("cannot serve the control API over TCP: {0}")]
    Token(#[from] SecretError),
    /// A loop ended that must not end.
    #[error("the control loop of a cutover ended: {0}; the next start goes on from the journal")]
    Loop(String),
    /// The proxy in this process ended by itself.
    #[error("a serving thread of the own proxy ended: this is a bug")]
    Proxy,
    /// Signals cannot be awaited.
    #[error("cannot await signals: {0}")]
    Signals(std::io::Error),
}

/// Runs the daemon by `clock` until a signal ends it.
///
/// # Errors
/// When it cannot start, or a loop of it ended.
pub async fn serve(config: Config, clock: Clock) -> Result<(), ServeError> {
    // Signals are awaited before anything can be ordered, so that none is missed.
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;

    let (mut shared, deliverer) = Shared::open(&config.state_dir, None, clock)?;
    if let Some(own) = &config.proxy {
        shared.own_proxy = Some(own_proxy(own, &config, &shared).await?);
        shared.own_service = Some(own.service.clone());
    }
    let own = shared.own_proxy.clone();
    let (daemon, mut waiting) = Daemon::new(shared, &config.policies_dir);
    let app = App { daemon: Arc::clone(&daemon), ready: Arc::new(AtomicBool::new(false)) };
    let (stopping, stopped) = watch::channel(false);
    let mut servers = listen(&config, &app, &stopped).await?;
    let mut delivering = JoinSet::new();
    delivering.spawn(deliverer.run());
    let mut welcoming = JoinSet::new();
    let mut loops: JoinSet<Result<(), PortError>> = JoinSet::new();
    for (controller, first) in Box::pin(daemon.resume()).await? {
        loops.spawn(controller.run(first));
    }
    welcoming.spawn(Arc::clone(&daemon).welcome_newcomers());
    app.ready.store(true, Ordering::SeqCst);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        state_dir = %config.state_dir.display(),
        socket = %config.http.socket.display(),
        services = daemon.list().len(),
        "ready"
    );
    systemd::tell(&[NotifyState::Ready]);
    let mut watchdog = systemd::watchdog();
    let mut told = Box::pin(told(own.as_ref(), &config, &daemon));
    let result = loop {
        tokio::select! {
            ended = &mut told => break Err(ServeError::Loop(format!("nobody is told of losses: {ended}"))),
            Some((controller, first)) = waiting.recv() => drop(loops.spawn(controller.run(first))),
            Some(ended) = loops.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => break Err(ServeError::Loop(crate::port::in_one_line(&error))),
                Err(error) => break Err(ServeError::Loop(error.to_string())),
            },
            Some(_) = delivering.join_next() => break Err(ServeError::Loop("the delivery of alerts ended".to_owned())),
            Some(_) = welcoming.join_next() => break Err(ServeError::Loop("the look after proxies ended".to_owned())),
            Some(_) = servers.join_next() => break Err(ServeError::Loop("the control API ended".to_owned())),
            () = ended(own.as_ref()) => break Err(ServeError::Proxy),
            _ = watchdog.tick() => match daemon.hanging(clock::instant()).as_slice() {
                [] => systemd::tell(&[NotifyState::Watchdog]),
                hanging => tracing::error!(?hanging, "a control loop hangs; the watchdog is not fed"),
            },
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hang_up.recv() => {
                systemd::tell(&[NotifyState::Reloading]);
                daemon.reload().await;
                if let Some(own) = &own && let Err(error) = own.reload() {
                    tracing::error!(%error, "the certificate of the own proxy stays as it was");
                }
                systemd::tell(&[NotifyState::Ready]);
            }
        }
    };
    systemd::tell(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    app.ready.store(false, Ordering::SeqCst);
    let ending = async {
        daemon.stop().await;
        while loops.join_next().await.is_some() {}
    };
    if tokio::time::timeout(LOOPS_END_MAX, ending).await.is_err() {
        tracing::warn!("a command was still under way; the next start asks for it again");
    }
    stopping.send_replace(true);
    let last_calls = async { while servers.join_next().await.is_some() {} };
    // Who still reads then is cut off; a reader that follows events has seen the last one.
    drop(tokio::time::timeout(LAST_CALLS_MAX, last_calls).await);
    if let (Some(own), Some(settings)) = (&own, &config.proxy) {
        own.drain(settings.drain_timeout).await;
    }
    drop(std::fs::remove_file(&config.http.socket));
    result
}

/// Tells those whom the policy of the own proxy's service names when its capture fails, whether or not a cutover runs. Ends
/// only when that cannot be done at all.
async fn told(own: Option<&proxy::Handle>, config: &Config, daemon: &Daemon) -> RunError {
    let (Some(own), Some(settings)) = (own, &config.proxy) else { return std::future::pending().await };
    let receivers = daemon.policy(&settings.service).map(|policy| policy.alerts).unwrap_or_default();
    let name = format!("own proxy of {}", settings.service);
    let Err(why) = tell_of_capture(&name, own, &receivers, &Clock::system()).await;
    why
}

async fn ended(own: Option<&proxy::Handle>) {
    match own {
        Some(own) => drop(own.ended().await),
        None => std::future::pending().await,
    }
}

async fn listen(config: &Config, app: &App, stopped: &watch::Receiver<bool>) -> Result<JoinSet<()>, ServeError> {
    let mut servers = JoinSet::new();
    let socket = bind(&config.http.socket).await?;
    servers.spawn(accept::serve(socket, router(app.clone()), accept::HEAD_MAX, stopped.clone()));
    if let Some(address) = config.http.listen {
        let reference = config.http.token.as_deref().unwrap_or_default();
        let router = guarded(app.clone(), secret::read(reference)?);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| ServeError::Listen { at: address.to_string(), why: format!("{error}; {ELSEWHERE}") })?;
        if let Ok(bound) = listener.local_addr() {
            tracing::info!(address = %bound, "the control API listens on TCP");
        }
        servers.spawn(accept::serve(listener, router, accept::HEAD_MAX, stopped.clone()));
    }
    Ok(servers)
}

/// Binds the Unix socket. One that a killed daemon left behind is taken over; one that answers is not.
async fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let refused = |why: String| ServeError::Listen { at: format!("unix:{}", path.display()), why };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| refused(error.to_string()))?;
    }
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(refused("there is a file of that name that is no socket".to_owned()));
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(refused(format!("another process answers there; {ELSEWHERE}")));
        }
        std::fs::remove_file(path).map_err(|error| refused(error.to_string()))?;
    }
    let listener = UnixListener::bind(path).map_err(|error| refused(error.to_string()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))
        .map_err(|error| refused(error.to_string()))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a file which stands where the socket shall be is left alone, and that a socket nobody serves is not.
    #[tokio::test]
    async fn only_a_dead_socket_is_taken_over() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("control.sock");
        std::fs::write(&path, "a journal, by mistake").unwrap();
        let error = bind(&path).await.unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a journal, by mistake");
        std::fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let listener = bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert!(bind(&path).await.unwrap_err().to_string().contains("another process"));
        drop(listener);
    }
}
