//! The listener's helpers, but every proxy that they start has its source captured, and every stream that it closes is
//! held against the rules of the format.

#[path = "../listener/support.rs"]
#[expect(dead_code, reason = "the listener needs more of them")]
mod plain;

use std::{net::SocketAddr, sync::Arc};

use proxy::{Config, Handle, capture::Verdict};

pub(crate) use plain::{PATIENCE, Peer, client, counted, echo, get, nobody, ok, post, side, upstream, weigh};

use crate::{kept::Kept, rig::Setup};

/// A captured proxy in front of a source alone.
pub(crate) fn proxy_for(source: SocketAddr) -> Handle {
    proxy_with(source, None, |_| ())
}

/// A proxy in front of both sides, both captured; `change` sets what else the test needs.
pub(crate) fn proxy_with(source: SocketAddr, target: Option<SocketAddr>, change: impl FnOnce(&mut Config)) -> Handle {
    plain::proxy_with(source, target, |config| {
        change(config);
        for side in [Some(&mut config.source), config.target.as_mut()].into_iter().flatten() {
            let log = Arc::new(Kept::forgetful());
            log.answer_soon(|| Verdict::Safe);
            side.capture = Some(Setup::default().captured(log).0);
        }
    })
}

/// The same, captured only where the test says so.
pub(crate) fn plain_with(source: SocketAddr, target: Option<SocketAddr>, change: impl FnOnce(&mut Config)) -> Handle {
    plain::proxy_with(source, target, change)
}
