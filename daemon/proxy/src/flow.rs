//! One direction of an exchange: a head of our making, then the sender's own bytes straight out of its buffer.
//!
//! Both directions pass here, and here alone: [`Flow::ready`] says how many bytes of the sender's buffer may go out, and
//! [`Flow::held`] that no more than its beginning may until what was captured is safe.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use crate::{buffer::Buffer, socket::Socket};

/// The longest body that is copied behind its head to be sent with it.
const JOINED_BYTES_MAX: usize = 4 * 1024;

/// What of one message is to be sent, and how far it is.
#[derive(Default)]
pub(crate) struct Flow {
    /// Bytes of our making that go first: the head, and what is sent again by a retry.
    pub(crate) head: Vec<u8>,
    head_sent: usize,
    /// How many bytes at the front of the sender's buffer are framed and may go out.
    pub(crate) ready: usize,
    /// Whether the end of the message was seen among what is ready or sent.
    pub(crate) ended: bool,
    /// How many bytes of trailers it ends with, once they were framed.
    pub(crate) trailer_bytes: usize,
    /// Whether it is held back, and what of it goes out all the same: it is a captured write whose end is in sight and
    /// not safe yet.
    pub(crate) held: Option<Lead>,
    /// Whether TLS holds bytes that the socket did not take yet.
    unflushed: bool,
}

/// The beginning of a message whose end is held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lead {
    /// Whether the head goes out, and what else is of our making.
    pub(crate) head: bool,
    /// How many bytes at the front of the sender's buffer go out behind it.
    pub(crate) bytes: usize,
}

impl Flow {
    /// Back to the beginning, keeping the space of the head.
    pub(crate) fn clear(&mut self) {
        self.head.clear();
        *self = Self { head: std::mem::take(&mut self.head), ..Self::default() };
    }

    /// Whether everything ready was sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.head_sent == self.head.len() && self.ready == 0 && !self.unflushed
    }

    /// Whether everything ready was sent that may go out.
    pub(crate) fn is_sent(&self) -> bool {
        match self.held {
            None => self.is_empty(),
            Some(Lead { head, bytes }) => !self.unflushed && bytes == 0 && (self.head_sent == self.head.len() || !head),
        }
    }

    /// Whether the whole message was sent.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.held.is_none() && self.is_empty()
    }

    /// Sends some of what is ready; answers how many bytes went, 0 once nothing is left. What leaves the sender's buffer is
    /// shown to `seen` first.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Option<Buffer>,
        to: &mut Socket,
        seen: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let head = &self.head[self.head_sent..];
        let body = from.as_ref().map_or(&[][..], Buffer::filled);
        let (head, body) = match self.held {
            None => (head, &body[..self.ready]),
            Some(Lead { head: false, .. }) => (&[][..], &[][..]),
            Some(Lead { head: true, bytes }) => (head, &body[..bytes]),
        };
        let sent = match (head.is_empty(), body.is_empty()) {
            (true, true) => {
                if self.unflushed {
                    ready!(to.poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Ready(Ok(0));
            }
            // Copying a short body costs less than a system call that gathers.
            (false, false) if body.len() <= JOINED_BYTES_MAX => {
                let head_bytes = self.head.len();
                self.head.extend_from_slice(body);
                let sent = to.poll_write(cx, &[IoSlice::new(&self.head[self.head_sent..])]);
                self.head.truncate(head_bytes);
                ready!(sent)?
            }
            (false, false) => ready!(to.poll_write(cx, &[IoSlice::new(head), IoSlice::new(body)]))?,
            (false, true) => ready!(to.poll_write(cx, &[IoSlice::new(head)]))?,
            (true, false) => ready!(to.poll_write(cx, &[IoSlice::new(body)]))?,
        };
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = to.is_tls();
        let of_head = sent.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        if self.head_sent == self.head.len() {
            self.head.clear();
            self.head_sent = 0;
        }
        let of_body = sent - of_head;
        if of_body > 0 {
            seen(&body[..of_body]);
            self.ready -= of_body;
            if let Some(lead) = &mut self.held {
                lead.bytes -= of_body;
            }
            consume(from, of_body);
        }
        Poll::Ready(Ok(sent))
    }
}

/// Drops bytes from the front of a buffer, and gives an empty buffer back.
pub(crate) fn consume(buffer: &mut Option<Buffer>, count: usize) {
    if let Some(full) = buffer {
        full.consume(count);
        if full.len() == 0 {
            *buffer = None;
        }
    }
}
