//! A proxy in this process: started from a [`Config`], driven through a [`Handle`].
//!
//! The control API of a proxy in another process does the same over HTTP ([`crate::client::Client`]).

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    api::{Armed, CloseConnections, Counters, SetWeight, Status},
    clock,
    config::{Config, ConfigError, ControlAddress},
    state::{Refused, State},
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
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listener could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The control API could not be bound.
    #[error("cannot listen for the control API on {address}: {source}")]
    Control {
        /// Where.
        address: ControlAddress,
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

impl Proxy {
    /// Binds the listener and the control API and starts the threads. When it returns, clients can connect.
    ///
    /// # Errors
    /// A configuration that contradicts itself, an address in use, a certificate that cannot be read.
    pub fn start(config: Config) -> Result<Handle, StartError> {
        config.check()?;
        let local_addr = config.listen;
        let workers =
            config.workers.map_or_else(|| std::thread::available_parallelism().map_or(1, Into::into), Into::into);
        let state = Arc::new(State::new(config, workers));
        Ok(Handle { running: Arc::new(Running { state, local_addr, control_addr: None }) })
    }
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
        Ok(())
    }

    /// Stops accepting, closes idle connections, lets what is under way end within `timeout`, and returns when
    /// every thread has ended.
    pub async fn drain(&self, timeout: Duration) {
        self.running.state.drain(clock::now() + timeout);
    }
}
