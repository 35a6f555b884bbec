//! One upstream connection: its socket, the reader of its responses, and where it came from.

use std::{sync::Arc, time::Instant};

use crate::{
    buffer::Buffer,
    count::{SideName, Tally},
    socket::Socket,
    wire::ResponseReader,
};

/// A connection to one endpoint of one side, in use by one exchange or idle.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) reader: ResponseReader,
    /// What came and was not moved on yet.
    pub(crate) input: Option<Buffer>,
    pub(crate) side: SideName,
    /// The endpoint's place in its side.
    pub(crate) endpoint: usize,
    /// Whether a request was answered on it before.
    pub(crate) reused: bool,
    pub(crate) idle_since: Instant,
    /// Counts the connection as open for as long as it lives.
    _open: Open,
}

struct Open {
    tally: Arc<Tally>,
    side: SideName,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.tally.upstream_closed(self.side);
    }
}

impl Connection {
    /// A connection that was just opened; boxed, since it goes to an exchange and back into the pool again and again.
    pub(crate) fn new(
        socket: Socket,
        reader: ResponseReader,
        side: SideName,
        endpoint: usize,
        tally: &Arc<Tally>,
        now: Instant,
    ) -> Box<Self> {
        tally.upstream_opened(side);
        let open = Open { tally: Arc::clone(tally), side };
        Box::new(Self { socket, reader, input: None, side, endpoint, reused: false, idle_since: now, _open: open })
    }
}
