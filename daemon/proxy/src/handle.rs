//! A proxy in this process: started from a [`Config`], driven through a [`Handle`].
//!
//! The control API of a proxy in another process does the same over HTTP ([`crate::client::Client`]).

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    api::{Armed, CloseConnections, Counters, SetWeight, Status},
    clock,
    config::{Config, ConfigError, Control, ControlAddress},
    control::{self, Bound},
    health, listen,
    state::{Refused, State},
    tripwire, worker,
};

/// The data plane; see [`Proxy::start`].
#[derive(Debug)]
pub struct Proxy;

/// A running proxy. Clones drive the same one; when the last is dropped it ends at once, without draining.
#[derive(Clone)]
pub struct Handle {
    running: Arc<Running>,
}

struct Running {
    state: Arc<State>,
    local_addr: SocketAddr,
    control_addr: Option<ControlAddress>,
    probes_addr: Option<SocketAddr>,
    /// How many serving threads still run, and whether one of them panicked.
    threads: watch::Receiver<Threads>,
}

#[derive(Clone, Copy, Debug)]
struct Threads {
    running: usize,
    panicked: bool,
}

/// How a proxy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It drained.
    Drained,
    /// A bug of ours ended a thread; the process should end too.
    Panicked,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.drain(clock::now());
        if let Some(ControlAddress::Unix(path)) = &self.control_addr {
            drop(std::fs::remove_file(path));
        }
    }
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listener could not be bound.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The control API could not be bound.
    #[error("cannot listen for the control API on {address}: {source}{}", hint(source))]
    Control {
        /// Where.
        address: ControlAddress,
        /// What the system said.
        source: io::Error,
    },
    /// The port for probes could not be bound.
    #[error("cannot listen for probes on {address}: {source}{}", hint(source))]
    Probes {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate, key or authority could not be used.
    #[error("cannot use {}: {why}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What to do about an address that cannot be had; empty when the system's own words say it.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process listens there: stop it, or choose another address",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE, sockets a directory of ours",
        _ => "",
    }
}

impl Proxy {
    /// Binds the listener and the control API and starts the threads. When it returns, clients can connect.
    ///
    /// # Errors
    /// A configuration that contradicts itself, an address in use, a certificate that cannot be read.
    pub fn start(config: Config) -> Result<Handle, StartError> {
        config.check()?;
        let workers =
            config.workers.map_or_else(|| std::thread::available_parallelism().map_or(1, Into::into), Into::into);
        let state = Arc::new(State::new(config, workers)?);
        let config = &state.config;
        let listeners = listen::listen(config.listen, workers)
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let local_addr = listeners[0].local_addr().map_err(StartError::Thread)?;
        let bound = match &config.control {
            None => None,
            Some(control) => Some(control::bind(control).map_err(|source| {
                let address = match control {
                    Control::Unix(path) => ControlAddress::Unix(path.clone()),
                    Control::Tcp { address, .. } => ControlAddress::Tcp(address.to_string()),
                };
                StartError::Control { address, source }
            })?),
        };
        let (bound, control_addr) = bound.unzip();
        let probes = match config.probes {
            None => None,
            Some(address) => {
                Some(control::bind_probes(address).map_err(|source| StartError::Probes { address, source })?)
            }
        };
        let (probes, probes_addr) = probes.unzip();
        let (report, threads) = watch::channel(Threads { running: workers, panicked: false });
        let report = Arc::new(report);
        for (number, listener) in listeners.into_iter().enumerate() {
            let (state, report) = (Arc::clone(&state), Arc::clone(&report));
            spawn(format!("proxy-{number}"), move || {
                let ending = Reporting(&report);
                if let Err(error) = worker::run(state, number, listener) {
                    tracing::error!(%error, "a serving thread ended");
                }
                drop(ending);
            })?;
        }
        let running =
            Running { state: Arc::clone(&state), local_addr, control_addr, probes_addr, threads: threads.clone() };
        spawn("proxy-control".to_owned(), move || {
            if let Err(error) = beside(&state, [bound, probes], threads) {
                tracing::error!(%error, "the control thread ended");
            }
        })?;
        Ok(Handle { running: Arc::new(running) })
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    std::thread::Builder::new().name(name).spawn(run).map(drop).map_err(StartError::Thread)
}

/// Says that a serving thread ended, and how.
struct Reporting<'a>(&'a watch::Sender<Threads>);

impl Drop for Reporting<'_> {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.0.send_modify(|threads| {
            threads.running -= 1;
            threads.panicked |= panicked;
        });
    }
}

/// What runs beside the traffic, on one thread: control API, probes, tripwires, health checks.
fn beside(state: &Arc<State>, bound: [Option<Bound>; 2], mut threads: watch::Receiver<Threads>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let [control, probes] = bound.map(|bound| async {
            match bound {
                Some(bound) => control::serve(Arc::clone(state), bound).await,
                None => std::future::pending().await,
            }
        });
        let health = async {
            health::watch(Arc::clone(state)).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = control => served,
            served = probes => served,
            () = health => Ok(()),
            () = tripwire::watch(Arc::clone(state)) => Ok(()),
            // The control API answers for as long as anything is under way.
            _ = threads.wait_for(|threads| threads.running == 0) => Ok(()),
        }
    })
}

impl Handle {
    /// Where clients connect to, with the port that the system gave.
    pub fn local_addr(&self) -> SocketAddr {
        self.running.local_addr
    }

    /// Where the control API listens, if it does.
    pub fn control_addr(&self) -> Option<&ControlAddress> {
        self.running.control_addr.as_ref()
    }

    /// Where probes are answered, if that is a port of its own.
    pub fn probes_addr(&self) -> Option<SocketAddr> {
        self.running.probes_addr
    }

    /// As `PUT /v1/weight`.
    ///
    /// # Errors
    /// An older generation, a weight above 1000, a weight without a target.
    pub fn set_weight(&self, weight: &SetWeight) -> Result<Status, Refused> {
        self.running.state.set_weight(weight)
    }

    /// As `GET /v1/status`.
    pub fn status(&self) -> Status {
        self.running.state.status()
    }

    /// As `GET /v1/counters`.
    pub fn counters(&self) -> Counters {
        self.running.state.counters()
    }

    /// As `PUT /v1/tripwires`.
    ///
    /// # Errors
    /// A share or a limit that cannot be.
    pub fn arm(&self, armed: Option<Armed>) -> Result<Status, Refused> {
        self.running.state.arm(armed)
    }

    /// As `PUT /v1/close`.
    pub fn close_connections(&self, close: &CloseConnections) -> Status {
        self.running.state.close_connections(close)
    }

    /// Reads certificate, key and client authorities again; connections that are open keep theirs.
    ///
    /// # Errors
    /// A file that cannot be used; the old certificate stays.
    pub fn reload(&self) -> Result<(), StartError> {
        self.running.state.reload()
    }

    /// Stops accepting, closes idle connections, lets what is under way end within `timeout`, and returns when
    /// every thread has ended.
    pub async fn drain(&self, timeout: Duration) -> Ended {
        self.running.state.drain(clock::now() + timeout);
        self.ended().await
    }

    /// Waits until every thread has ended, for whatever reason.
    pub async fn ended(&self) -> Ended {
        let mut threads = self.running.threads.clone();
        let over = threads.wait_for(|threads| threads.running == 0 || threads.panicked).await;
        if over.is_ok_and(|threads| !threads.panicked) { Ended::Drained } else { Ended::Panicked }
    }
}
