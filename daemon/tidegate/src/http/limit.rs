//! A bound on the connections of one listener.
//!
//! Every connection holds a file descriptor, and a daemon without descriptors cannot reach its proxies: a dashboard that
//! leaks connections must not be able to hold up a revert. Each listener has a bound of its own, so that whoever fills
//! the one on TCP leaves the operator's socket alone. It closes nothing: who comes later waits to be accepted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections one listener serves at once.
pub const CONNECTIONS_MAX: usize = 128;

/// A listener that has at most [`CONNECTIONS_MAX`] connections at once.
pub struct Limited<L> {
    inner: L,
    free: Arc<Semaphore>,
}

impl<L> Limited<L> {
    /// Bounds `inner`.
    pub fn new(inner: L) -> Self {
        Self { inner, free: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl<L: axum::serve::Listener> axum::serve::Listener for Limited<L> {
    type Io = Held<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let permit = Arc::clone(&self.free).acquire_owned().await.expect("nobody closes it");
        let (io, address) = self.inner.accept().await;
        (Held { io, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A connection that makes room for another when it ends.
pub struct Held<T> {
    io: T,
    _permit: OwnedSemaphorePermit,
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener as _;
    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    /// Proves that one connection more than may be waits until another ends, and is served then.
    #[tokio::test]
    async fn the_last_one_waits_until_another_ends() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("sock");
        let mut listener = Limited::new(UnixListener::bind(&path).unwrap());
        let mut clients = Vec::new();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            clients.push(UnixStream::connect(&path).await.unwrap());
            held.push(listener.accept().await.0);
        }
        clients.push(UnixStream::connect(&path).await.unwrap());
        let mut accepting = Box::pin(listener.accept());
        tokio::select! {
            biased;
            _ = &mut accepting => panic!("it was accepted beyond the bound"),
            () = tokio::task::yield_now() => {}
        }
        drop(held.pop());
        accepting.await;
    }
}
