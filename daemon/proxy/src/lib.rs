//! The data plane: an HTTP/1.1 reverse proxy that relays the client's own bytes and splits requests by weight.
//!
//! It knows weights, sides and counters, and nothing of cutovers: whoever drives it does so over [`api`], in this
//! process through a [`Handle`], in another through a [`client::Client`].
//!
//! # The life of a request
//!
//! 1. `listen`: the system gives the connection to one of the threads, which all listen on the same port. From here to
//!    the end it is that thread's alone.
//! 2. `guest`: after a TLS handshake, if any, the connection waits for a head without holding a buffer. What is no
//!    sound request is refused here, by [`wire`].
//! 3. `exchange`: the head is complete. Its class (read or write) and the weight that holds now decide its side
//!    (`split`), or its sticky value does.
//! 4. `sides`, `pool`: an endpoint of that side, and an idle connection to it or a new one.
//! 5. `relay`: the head goes out without what belongs to one hop; the body follows as it comes, straight from the
//!    buffer it was read into (`buffer`, `flow`). Interim and final responses come back the same way, at the same time.
//! 6. `relay` again: the last byte of the response went to the client, or somebody failed, left, or took too long.
//! 7. `exchange`: a read that failed may be tried once more; else the request is counted once (`count`): whose it was,
//!    how it ended, who failed, how long it took.
//! 8. The upstream connection goes back to the pool and the client's to step 2; or it is a `tunnel` now (WebSocket).
//!
//! Beside the traffic, on a thread of its own: the control API (`control`), the tripwires (`tripwire`) and health
//! checks (`health`).
//!
//! What is captured is taken in step 5: `Relay::frame_request` shows every span of a request to the client's tap before
//! it may go out, and holds the end of a write back until the log has it; `Relay::frame_response` shows every span of a
//! response. What is recorded, and in which bytes, is in [`capture`].

mod answer;
pub mod api;
mod buffer;
pub mod capture;
pub mod class;
pub mod client;
mod clock;
pub mod config;
mod control;
mod count;
mod exchange;
mod flights;
mod flow;
mod guest;
mod handle;
mod health;
mod listen;
mod metrics;
mod pool;
mod relay;
mod sides;
mod socket;
mod split;
mod state;
mod tls;
mod tripwire;
mod tunnel;
pub mod wire;
mod worker;

pub use config::Config;
pub use handle::{Ended, Handle, Proxy, StartError};
pub use state::Refused;
