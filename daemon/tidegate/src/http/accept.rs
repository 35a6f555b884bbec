//! One listener of the control API: so many connections at once, and a bound on how long each may say nothing.
//!
//! Every connection holds a file descriptor, and a daemon without descriptors cannot reach its proxies: a dashboard that
//! leaks connections must not be able to hold up a revert. Each listener has a bound of its own, so that whoever fills
//! the one on TCP leaves the operator's socket alone. Who comes beyond it waits to be accepted; who was accepted and
//! does not send a request makes room again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How many connections one listener serves at once.
pub const CONNECTIONS_MAX: usize = 128;

/// How long a connection may take to send the head of its next request, and so how long it may be idle.
pub const HEAD_MAX: Duration = Duration::from_secs(30);

/// Serves `router` to whoever connects to `listener` and sends each head within `head_max` ([`HEAD_MAX`] but in tests),
/// until `stopped` says so and the calls under way are answered. Dropping it ends them at once.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    head_max: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_max);
    let service = TowerToHyperService::new(router);
    let under_way = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            let permit = Arc::clone(&free).acquire_owned().await.expect("nobody closes it");
            (listener.accept().await.0, permit)
        };
        let (io, permit) = tokio::select! {
            accepted = accept => accepted,
            // Those that ended are forgotten as they do.
            Some(_) = connections.join_next() => continue,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let connection = under_way.watch(builder.serve_connection(TokioIo::new(io), service.clone()));
        connections.spawn(async move {
            // A client that breaks off, or says nothing, is no news.
            drop(connection.await);
            drop(permit);
        });
    }
    under_way.shutdown().await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    struct Served {
        address: std::net::SocketAddr,
        stop: watch::Sender<bool>,
        serving: JoinSet<()>,
    }

    async fn served(head_max: Duration) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let router = Router::new().route("/", get(|| async { "here" }));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, router, head_max, stopped));
        Served { address, stop, serving }
    }

    async fn call(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// Proves that one connection more than may be waits until another ends, and is served then.
    #[tokio::test]
    async fn the_last_one_waits_until_another_ends() {
        let served = served(HEAD_MAX).await;
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut client = TcpStream::connect(served.address).await.unwrap();
            assert!(call(&mut client).await.starts_with("HTTP/1.1 200"));
            clients.push(client);
        }
        let mut last = TcpStream::connect(served.address).await.unwrap();
        let mut calling = Box::pin(call(&mut last));
        tokio::select! {
            answer = &mut calling => panic!("it was served beyond the bound: {answer}"),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        drop(clients.pop());
        assert!(calling.await.starts_with("HTTP/1.1 200"));
    }

    /// Proves that a client which connects and sends half a head, or none, makes room again.
    #[tokio::test]
    async fn who_says_nothing_is_let_go() {
        let served = served(Duration::from_millis(300)).await;
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        let mut half = TcpStream::connect(served.address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut once = TcpStream::connect(served.address).await.unwrap();
        assert!(call(&mut once).await.ends_with("here"));
        for client in [&mut silent, &mut half, &mut once] {
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert!(!String::from_utf8_lossy(&rest).contains("200"));
        }
    }

    /// Proves that the listener ends when it is told to, though a client stays connected.
    #[tokio::test]
    async fn it_ends_when_told_to() {
        let mut served = served(HEAD_MAX).await;
        let mut client = TcpStream::connect(served.address).await.unwrap();
        assert!(call(&mut client).await.starts_with("HTTP/1.1 200"));
        served.stop.send_replace(true);
        served.serving.join_next().await.unwrap().unwrap();
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
