//! What CloudWatch says of connections while a share lags behind its weight, or the source does not fall silent.
//!
//! Connections are counted for the whole balancer, those to its targets among them, and never for a group. So they can
//! tell that clients keep theirs, and what kind of client that is; not whose they are.

use std::time::Duration;

use cutover::Window;
use cutover::event::{Check, CheckOutcome};
use cutover::lag::{PINNED, WEBSOCKETS};

use super::poller::Points;
use super::{Cloudwatch, MINUTE, floor};
use crate::port::PortError;

/// Over how many settled minutes.
const OVER: Duration = Duration::from_mins(10);
/// Above this many open connections for each new one of a minute, clients keep theirs for long.
const KEPT_MIN: f64 = 10.0;
/// Below this many requests a minute for each open connection, most of them carry none.
const IDLE_MAX: f64 = 1.0;

/// Whether clients keep their connections, and whether these carry requests. `open`, `new` and `requests` are a minute's.
fn kept(open: f64, new: f64, requests: f64) -> Option<Check> {
    if open < 1.0 || open / new.max(1.0) < KEPT_MIN {
        return None;
    }
    let each = requests / open;
    let seen = format!("{open:.0} connections are open and {new:.0} a minute are new");
    let (name, evidence, fix) = if each < IDLE_MAX {
        let evidence = format!("{seen}, and each carries {each:.1} requests a minute, as upgraded ones do");
        (
            WEBSOCKETS,
            evidence,
            "an upgraded connection stays where it is until its client ends it: have clients reconnect",
        )
    } else {
        let evidence = format!("{seen}, and each carries {each:.0} requests a minute");
        let fix =
            "let clients reconnect: `keep_alive = \"60s\"` under `[shift]` has the load balancer end old connections";
        (PINNED, evidence, fix)
    };
    Some(Check::new(name, CheckOutcome::Warn, evidence, fix))
}

impl Cloudwatch {
    /// What may keep clients where they are.
    pub(super) async fn lagging(&self) -> Result<Vec<Check>, PortError> {
        let dimensions = self.dimensions().await?;
        let to = floor(self.now().minus(self.groups.settle));
        let of = |metric| dimensions.query(None, metric, "Sum".to_owned());
        let asked = [of("RequestCount"), of("ActiveConnectionCount"), of("NewConnectionCount")];
        let series = self.poller.ask(asked.into(), Window { from: to.minus(OVER), to }, MINUTE).await?;
        let minutes = series.first().map_or(0, Points::len).max(1) as f64;
        // The sum of nothing is -0, which nobody would understand.
        let a_minute = |at: usize| series.get(at).map_or(0.0, |points| points.values().sum::<f64>() + 0.0) / minutes;
        Ok(kept(a_minute(1), a_minute(2), a_minute(0)).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_connections_are_told_by_what_they_carry() {
        // Proves that many new connections are no cause, idle ones are taken for upgraded, and busy ones for pinned.
        assert_eq!(kept(100.0, 50.0, 1e5), None);
        assert_eq!(kept(0.0, 0.0, 0.0), None);
        let idle = kept(500.0, 5.0, 100.0).expect("they are kept");
        assert!(idle.name == WEBSOCKETS && idle.evidence.contains("0.2 requests a minute"), "{idle:?}");
        let busy = kept(500.0, 5.0, 50_000.0).expect("they are kept");
        assert!(busy.name == PINNED && busy.evidence.contains("100 requests a minute"), "{busy:?}");
    }
}
