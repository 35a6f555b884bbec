//! What a hostile client and a hostile upstream send, and odd things that are sound: as data.
//!
//! The framing's own tests read these tables, and so can whoever wants to send them to a listening proxy. Nothing of this
//! is in the product.

mod requests;
mod responses;

pub use requests::requests;
pub use responses::responses;

/// Bytes of a client, from the first byte of its connection on.
#[derive(Clone, Debug)]
pub struct RequestCase {
    /// What is odd about it; unique in the table.
    pub name: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What they are, one word a span: `S2` an empty line skipped, `H` a head, `D5` body bytes, `L3` a chunk line, `C5`
    /// chunk bytes, `E2` the CRLF behind them, `T2` trailers, `.` the end of a request. `!400` at the end is a refusal with
    /// that status; otherwise the connection goes on, and waits for more within a request when the last word is no `.`.
    pub outcome: &'static str,
}

impl RequestCase {
    /// The status it is refused with, if it is.
    ///
    /// # Panics
    ///
    /// When the table is wrong.
    pub fn refused(&self) -> Option<u16> {
        self.outcome.split_once('!').map(|(_, status)| status.parse().expect("a status stands behind `!`"))
    }
}

/// What a response answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// GET, or the like.
    Get,
    /// HEAD.
    Head,
    /// An upgrade to WebSocket.
    Upgrade,
    /// CONNECT.
    Connect,
}

/// Bytes of an upstream in answer to one request.
#[derive(Clone, Debug)]
pub struct ResponseCase {
    /// What is odd about it; unique in the table.
    pub name: &'static str,
    /// What it answers.
    pub asked: Asked,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether the upstream closes its end behind them.
    pub closes: bool,
    /// What they are, as in [`RequestCase::outcome`]; `!` without a status is a refusal.
    pub outcome: &'static str,
}
