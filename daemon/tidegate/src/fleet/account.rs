//! Whether whoever Tidegate is to AWS stays so until the cutover ends, and whether its clock is AWS's.
//!
//! Both are looked at with the rest of the fleet, before anything begins and again and again while it runs: what is about to
//! end stops every rise while there is still time to go back, and not when it has ended.

use std::sync::Arc;
use std::time::Duration;

use cutover::Timestamp;
use cutover::event::{Check, CheckOutcome};

use super::Fleet;
use crate::aws::credentials::{Good, Renewed};
use crate::aws::{Aws, AwsClock};
use crate::clock::{Clock, rfc3339};
use crate::port::Answer;

/// How long credentials must be good at any time: a revert, and its being read again.
const LEFT_MIN: Duration = Duration::from_mins(15);

/// From this on the clocks are said to differ: AWS tells its own in whole seconds.
const SKEW_TOLD: Duration = Duration::from_secs(3);

/// Above this nothing rises: half of what CloudWatch calls one minute would be of another.
const SKEW_MAX: Duration = Duration::from_secs(30);

/// Another fleet, and the account by which it is looked at.
pub struct WithAccount {
    fleet: Arc<dyn Fleet>,
    aws: Aws,
    clock: Clock,
    /// When the cutover is expected to have ended.
    end: Timestamp,
}

impl WithAccount {
    /// Looks after `fleet`, and after the credentials of `aws` until `end`.
    pub fn new(fleet: Arc<dyn Fleet>, aws: Aws, clock: Clock, end: Timestamp) -> Self {
        Self { fleet, aws, clock, end }
    }
}

/// Whether credentials last until `end`, and at least a little longer than `now`.
fn lasting(good: Good, now: Timestamp, end: Timestamp) -> Check {
    let name = "credentials";
    let needed = end.max(now.plus(LEFT_MIN));
    let fix = "use credentials that last until the cutover ends, or a role of the machine, which renews them";
    let Some(until) = good.until else {
        return match good.renewed {
            Renewed::ByNobody => Check::new(
                name,
                CheckOutcome::Warn,
                "they are for a session, and nobody says when that ends (`AWS_CREDENTIAL_EXPIRATION` would)",
                fix,
            ),
            _ => Check::new(name, CheckOutcome::Pass, "they do not end", ""),
        };
    };
    let told = format!("they end at {}, and the cutover is expected to end at {}", rfc3339(until), rfc3339(end));
    let (outcome, evidence) = match good.renewed {
        Renewed::ByItself => (CheckOutcome::Pass, format!("they end at {} and are renewed before", rfc3339(until))),
        _ if until >= needed => (CheckOutcome::Pass, told),
        Renewed::WhileItLasts if until >= now.plus(LEFT_MIN) => {
            (CheckOutcome::Warn, format!("{told}; who gave them must be able to give new ones"))
        }
        _ => (CheckOutcome::Fail, told),
    };
    Check::new(name, outcome, evidence, fix)
}

/// Whether our clock is AWS's; nothing where no answer has told AWS's yet, or ours is not meant to be the time of day.
fn together(aws: &AwsClock, ours: &Clock) -> Option<Check> {
    if !aws.is_heard() || ours.runs_fast() {
        return None;
    }
    let ahead = aws.ahead_millis();
    let skew = Duration::from_millis(ahead.unsigned_abs());
    let outcome = match skew {
        _ if skew > SKEW_MAX => CheckOutcome::Fail,
        _ if skew >= SKEW_TOLD => CheckOutcome::Warn,
        _ => CheckOutcome::Pass,
    };
    let way = if ahead < 0 { "ahead of" } else { "behind" };
    let evidence = match outcome {
        CheckOutcome::Pass => "this machine's and AWS's agree within their seconds".to_owned(),
        _ => format!("this machine's is {} s {way} AWS's; {} s is the most", skew.as_secs(), SKEW_MAX.as_secs()),
    };
    let fix = "let this machine's clock be set by NTP: minutes would be counted for the wrong step";
    Some(Check::new("clock", outcome, evidence, fix))
}

impl Fleet for WithAccount {
    fn check(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(async move {
            let (checks, good) = tokio::join!(self.fleet.check(), self.aws.good_until());
            let mut checks = checks?;
            checks.push(match good {
                Ok(good) => lasting(good, self.clock.now(), self.end),
                Err(error) => Check::new(
                    "credentials",
                    CheckOutcome::Fail,
                    error.source.to_string(),
                    "give this program credentials as AWS's own tools find them",
                ),
            });
            checks.extend(together(&self.aws.clock, &self.clock));
            Ok(checks)
        })
    }

    fn beneath(&self) -> Option<&dyn Fleet> {
        Some(&*self.fleet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// Proves that what ends too soon and nobody renews is refused, that a role's is not, and that the rest is reported.
    #[test]
    fn credentials_that_end_before_the_cutover_are_refused() {
        let (now, end) = (Timestamp(0), Timestamp(0).plus(HOUR * 5));
        let of = |until: Option<Duration>, renewed| {
            lasting(Good { until: until.map(|until| now.plus(until)), renewed }, now, end).outcome
        };
        assert_eq!(of(Some(HOUR), Renewed::ByNobody), CheckOutcome::Fail);
        assert_eq!(of(Some(HOUR * 6), Renewed::ByNobody), CheckOutcome::Pass);
        assert_eq!(of(Some(HOUR), Renewed::ByItself), CheckOutcome::Pass);
        assert_eq!(of(Some(HOUR), Renewed::WhileItLasts), CheckOutcome::Warn);
        assert_eq!(of(Some(HOUR / 6), Renewed::WhileItLasts), CheckOutcome::Fail);
        assert_eq!(of(None, Renewed::ByNobody), CheckOutcome::Warn);
        assert_eq!(of(None, Renewed::Never), CheckOutcome::Pass);
        // Long after the expected end a revert must still be possible.
        let late = lasting(Good { until: Some(end.plus(HOUR)), renewed: Renewed::ByNobody }, end.plus(HOUR), end);
        assert_eq!(late.outcome, CheckOutcome::Fail);
    }
}
