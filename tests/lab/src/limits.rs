//! How many calls AWS takes: token buckets that refill in lab time.

use std::sync::{Mutex, PoisonError};

use crate::clock::Time;

/// One bucket.
#[derive(Debug)]
struct Bucket {
    size: f64,
    a_second: f64,
    state: Mutex<(f64, Option<Time>)>,
}

impl Bucket {
    fn new(size: f64, a_second: f64) -> Self {
        Self { size, a_second, state: Mutex::new((size, None)) }
    }

    /// Takes a token, if there is one.
    fn take(&self, now: Time) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, last) = *state;
        let gained = last.map_or(0.0, |last| now.since(last).as_secs_f64() * self.a_second);
        let tokens = (tokens + gained).min(self.size);
        let taken = tokens >= 1.0;
        *state = (if taken { tokens - 1.0 } else { tokens }, Some(now));
        taken
    }
}

/// The buckets of an account.
#[derive(Debug)]
pub struct Limits {
    elb_reads: Bucket,
    elb_writes: Bucket,
    metrics: Bucket,
    on: bool,
}

impl Limits {
    /// Full buckets; with `on` false they never run out.
    pub fn new(on: bool) -> Self {
        Self {
            // The user guide of Elastic Load Balancing: 40 tokens, 10 a second, for calls that change nothing.
            elb_reads: Bucket::new(40.0, 10.0),
            // No page says how large this one is; it is known to be smaller.
            elb_writes: Bucket::new(20.0, 4.0),
            // CloudWatch's quota for GetMetricData: 50 a second.
            metrics: Bucket::new(50.0, 50.0),
            on,
        }
    }

    /// Whether a call may pass.
    pub fn pass(&self, service: &str, operation: &str, now: Time) -> bool {
        if !self.on {
            return true;
        }
        match (service, operation) {
            ("elasticloadbalancing", operation) if operation.starts_with("Describe") => self.elb_reads.take(now),
            ("elasticloadbalancing", _) => self.elb_writes.take(now),
            ("monitoring", "GetMetricData") => self.metrics.take(now),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that forty reads pass at once, the next does not, and ten more do a second later.
    #[test]
    fn forty_at_once_and_ten_a_second() {
        let limits = Limits::new(true);
        let pass = |now| limits.pass("elasticloadbalancing", "DescribeListeners", Time(now));
        assert!((0..40).all(|_| pass(1_000)));
        assert!(!pass(1_000));
        assert_eq!((0..20).filter(|_| pass(2_000)).count(), 10);
        assert!(
            limits.pass("elasticloadbalancing", "ModifyListener", Time(2_000)),
            "writes have a bucket of their own"
        );
    }
}
