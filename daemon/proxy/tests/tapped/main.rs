//! The tap at work: a whole proxy, clients and upstreams on real sockets, and a log that answers when a test says so.
//!
//! What is proven here is what a client, a cluster and a reader of the log can see together: that a write's end is held
//! back until the log has it, that what was recorded is what was sent, and what becomes of both when the log fails. The
//! tests of the listener run here once more, each with a captured source: capture may change nothing of what they prove.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail where it stands")]

#[path = "../listener/bytes.rs"]
mod bytes;
#[path = "../../../../tests/src/hostile/mod.rs"]
#[expect(unreachable_pub, reason = "shared with the package of the end-to-end tests, where it is reachable")]
mod cases;
mod chance;
#[path = "../listener/clock.rs"]
mod clock;
#[path = "../listener/counting.rs"]
mod counting;
mod early;
mod ending;
#[path = "../listener/every_case.rs"]
mod every_case;
#[path = "../listener/failures.rs"]
mod failures;
#[path = "../capture/grammar.rs"]
mod grammar;
mod held;
#[path = "../listener/hostile.rs"]
mod hostile;
mod kept;
mod kept_out;
mod losses;
mod recorded;
mod redacted;
#[path = "../capture/reference.rs"]
#[expect(dead_code, reason = "only what decodes is needed here")]
mod reference;
mod rig;
mod sides;
mod support;
#[path = "../listener/tls.rs"]
mod tls;
#[path = "../listener/weights.rs"]
mod weights;
