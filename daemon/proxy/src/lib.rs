//! The data plane: an HTTP/1.1 reverse proxy that relays the client's own bytes and splits requests by weight.
//!
//! It knows weights, sides and counters, and nothing of cutovers: whoever drives it does so over [`api`], in this
//! process through a [`Handle`], in another through a [`client::Client`].

pub mod api;
pub mod class;
pub mod client;
mod clock;
pub mod config;
mod count;
mod handle;
mod split;
mod state;
pub mod wire;

pub use config::Config;
pub use handle::{Handle, Proxy, StartError};
pub use state::Refused;
