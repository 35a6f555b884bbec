//! A TCP connection with or without TLS around it, as the relay sees it: read, write, end, or break off.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    task::coop::has_budget_remaining,
};
use tokio_rustls::TlsStream;

/// A connection to a client or to an upstream.
pub(crate) enum Socket {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS; boxed, since it is many times larger.
    Tls(Box<TlsStream<TcpStream>>),
}

/// How sure one must be that an idle connection is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sure {
    /// As sure as the runtime is, which knows what had come when it last looked, less than a turn of its loop ago: for a
    /// request that may be sent once more, unseen by the client, when that was wrong.
    Told,
    /// The system itself is asked, at the price of a call: for a request that must not be sent twice.
    Asked,
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

    /// Reads into `space`, which is asked for only when something may be there; 0 is the end of what the peer sends. A
    /// peer that ends TLS without saying so is an error.
    pub(crate) fn poll_read<'s>(
        &mut self,
        cx: &mut Context<'_>,
        space: impl FnOnce() -> &'s mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => {
                ready!(tcp.poll_read_ready(cx))?;
                let space = space();
                loop {
                    let read = call(tcp, Interest::READABLE, space.len(), || {
                        recv(&*tcp, &mut *space, RecvFlags::empty()).map(|(count, _)| count)
                    });
                    match read {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(tcp.poll_read_ready(cx))?,
                        read => return Poll::Ready(read),
                    }
                }
            }
            Self::Tls(tls) => {
                let mut space = ReadBuf::new(space());
                Pin::new(&mut **tls).poll_read(cx, &mut space).map_ok(|()| space.filled().len())
            }
        }
    }

    /// Writes what the socket takes of `slices`.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Self::Plain(tcp), [one]) => loop {
                ready!(tcp.poll_write_ready(cx))?;
                match call(tcp, Interest::WRITABLE, one.len(), || send(&*tcp, one, SendFlags::NOSIGNAL)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    sent => return Poll::Ready(sent),
                }
            },
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

    /// Whether a connection on which nothing is due can still be used. Bytes that nobody asked for count as its end.
    pub(crate) fn is_alive(&mut self, sure: Sure) -> bool {
        let mut byte = [0];
        let tcp = self.tcp();
        let peek = || SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]);
        let found = match sure {
            // Calls only when the runtime was told that there is something.
            Sure::Told => tcp.try_io(Interest::READABLE, peek),
            Sure::Asked => peek(),
        };
        match found {
            Ok(0) => false,
            // TLS has messages of its own (tickets, new keys), which are no answer to anything. A task that has used up
            // its turn is told that nothing is there whatever is, so it cannot tell.
            Ok(_) => {
                self.is_tls()
                    && has_budget_remaining()
                    && self.poll_read(&mut Context::from_waker(Waker::noop()), || &mut byte).is_pending()
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Breaks the connection off, so that what was sent cannot be taken for a whole message: the peer sees a reset.
    pub(crate) fn break_off(&self) {
        // Without the option the connection still ends, only more politely than it should.
        drop(SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)));
    }
}

/// One read or write of at most `wanted` bytes, told to the runtime: as long as it believes a socket to be ready it lets
/// calls through. The calls are rustix's, since those of the C library are points of cancellation for its threads, which
/// costs two locked instructions each.
fn call(
    tcp: &TcpStream,
    interest: Interest,
    wanted: usize,
    call: impl FnOnce() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut short = None;
    let moved = tcp.try_io(interest, || match call() {
        // The socket has no more, or takes no more, so that the next call would only say so: the runtime, which waits
        // for edges, is told at once, as it does with its own calls.
        Ok(count) if 0 < count && count < wanted => {
            short = Some(count);
            Err(io::ErrorKind::WouldBlock.into())
        }
        moved => Ok(moved?),
    });
    short.map_or(moved, Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that the system is believed at once about an end, about bytes that nobody asked for and about a reset, and
    /// the runtime once it has looked; and that neither takes a silent connection for a dead one.
    #[test]
    fn a_dead_connection_is_known_at_once_when_the_system_is_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            type Harm = fn(std::net::TcpStream);
            let harms: [Harm; 3] = [
                drop,
                |mut peer| {
                    io::Write::write_all(&mut peer, b"x").unwrap();
                    std::mem::forget(peer);
                },
                |peer| SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap(),
            ];
            for harm in harms {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (peer, _) = listener.accept().unwrap();
                let mut socket = Socket::Plain(tcp);
                assert!(socket.is_alive(Sure::Told) && socket.is_alive(Sure::Asked));
                harm(peer);
                assert!(!socket.is_alive(Sure::Asked));
                socket.tcp().readable().await.unwrap();
                assert!(!socket.is_alive(Sure::Told));
            }
        });
    }
}
