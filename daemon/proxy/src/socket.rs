//! A TCP connection with or without TLS around it, as the relay sees it: read, write, end, or break off.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

/// A connection to a client or to an upstream.
pub(crate) enum Socket {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS; boxed, since it is many times larger.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Whether TLS is spoken.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Reads into `space`; 0 is the end of what the peer sends. A peer that ends TLS without saying so is an error.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(space);
        let polled = match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut space),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, &mut space),
        };
        polled.map_ok(|()| space.filled().len())
    }

    /// Writes what the socket takes of `slices`.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Self::Plain(tcp), [one]) => Pin::new(tcp).poll_write(cx, one),
            (Self::Plain(tcp), slices) => Pin::new(tcp).poll_write_vectored(cx, slices),
            (Self::Tls(tls), slices) => Pin::new(&mut **tls).poll_write_vectored(cx, slices),
        }
    }

    /// Writes out what TLS has encrypted but the socket did not take yet.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Says that nothing more is sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }

    /// Whether a connection on which nothing is due can still be used, as far as the runtime was told: costs no call to
    /// the system unless something came. Bytes that nobody asked for count as dead, and so does the end.
    pub(crate) fn seems_alive(&mut self) -> bool {
        let mut byte = [0];
        self.poll_read(&mut Context::from_waker(Waker::noop()), &mut byte).is_pending()
    }

    /// The same, asked of the system itself.
    pub(crate) fn is_alive(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(self.tcp()).peek(&mut byte) {
            Ok(0) => false,
            // TLS has messages of its own (tickets, new keys), which are no answer to anything.
            Ok(_) => self.is_tls() && self.seems_alive(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Breaks the connection off, so that what was sent cannot be taken for a whole message: the peer sees a reset.
    pub(crate) fn break_off(&self) {
        // Without the option the connection still ends, only more politely than it should.
        drop(SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)));
    }
}
