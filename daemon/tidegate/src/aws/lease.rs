//! Who may drive a listener: one daemon among those of all machines, by a lease in a DynamoDB table.
//!
//! On one machine the lock on the state directory does that. Across machines nothing else can: an ALB has no conditional
//! write. A tag on the listener would need no other service, but `AddTags` has no condition either, so two daemons that look
//! at the same moment both find it free. DynamoDB's `PutItem` has one.
//!
//! **The item** of a listener (partition key `listener`, its ARN) says who holds it, for which service, since when, until
//! when, and its generation, one higher with each write. Every write is under the condition that the generation is the one
//! that was read: of two daemons, one writes. A lease that has expired may be taken. Whether it has is judged by the `Date`
//! of AWS's answer, never by the clock of the machine that wants it, and it is written as AWS's clock by that of its holder,
//! which is AWS's to a second or two: [`SLACK`].
//!
//! **Who holds it** renews it each quarter of its length, and counts it as held for half of its length from the *beginning* of
//! the last renewal that succeeded, by the wall clock and by the monotonic one, whichever says less. The other half is for
//! writes that were under way and for clocks that differ. It is renewed for as long as something asks for it: the rounds of
//! checks of a cutover that may still write. One that waits, is done or is over lets it run out; nobody gives it back, so
//! that there is no way to give back what another took over.
//!
//! **What needs it.** A cutover begins, and traffic rises, only while it is held: the check `lease` stands in the way of both,
//! and holds a cutover that runs at its weights when the table cannot be reached. A *revert* is stopped by nothing but
//! another daemon that is known to hold it now. A table that does not answer stops none: it costs a revert one attempt, 3 s.
//! A revert that is stopped ends stuck, with people called, told who holds it, and the way back by hand: a daemon that was
//! away for longer than its lease cannot know what the other one has recorded as the original, and writing over it would
//! take traffic from where a person or a policy put it since. Levers are moved by the rule of a revert, since most of their
//! moves put something back.
//!
//! **The window that remains.** Each attempt to write is looked at right before it is sent ([`Fence`]), the SDK's retries
//! included. A process that is stopped (a suspended machine, SIGSTOP) between that look and the system call, for longer than
//! half of the lease, sends its request when it wakes up. AWS refuses it if it was signed more than five minutes before
//! (IAM user guide, "Signing AWS API requests"); a shorter stop of at least half a lease within these microseconds is not
//! caught here, and is seen by the other daemon as drift.

mod record;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use aws_sdk_elasticloadbalancingv2 as elb;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use cutover::Timestamp;
use cutover::event::{Check, CheckOutcome};
use cutover::policy::LeasePolicy;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::dynamodb::{Dynamodb, Unasked};
use super::{Aws, find};
use crate::clock::{self, Clock, rfc3339};
use crate::outbound::Outbound;
use crate::port::{PortError, in_one_line};
pub use record::Holder;
use record::{KEY, Record};

const PORT: &str = "lease";

/// By how much the clocks of a holder and of AWS may differ: AWS tells its own in whole seconds, twice.
const SLACK: Duration = Duration::from_secs(3);

/// In how many parts of its length a lease is renewed, and for how many of them it counts as held.
const RENEWALS: u32 = 4;
const HELD_PARTS: u32 = 2;

/// For how long a lease is renewed that nothing asked for: checks come each half minute, and one may be missed.
const ASKED_MAX: Duration = Duration::from_mins(3);

/// The shortest real pause between two renewals, where the clock runs fast.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// Which listener.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its ARN; without it, the one that weighs both target groups.
    pub listener: Option<String>,
    /// The source's target group.
    pub source: String,
    /// The target's.
    pub target: String,
}

/// What is known of who holds it.
#[derive(Clone, Debug)]
enum Standing {
    /// Nothing yet, or not any more.
    Unknown,
    /// Nobody, when it was looked at.
    Free,
    /// This process, by the renewal that began then.
    Ours { record: Record, begun: (Timestamp, Instant) },
    /// Somebody else.
    Theirs(Record),
}

/// The lease on one listener. Clones share it.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    table: String,
    expiry: Duration,
    place: Place,
    /// Who would hold it; `None` for who only looks.
    holder: Option<Holder>,
    dynamodb: Dynamodb,
    balancing: elb::Client,
    clock: Clock,
    listener: OnceCell<String>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    standing: Standing,
    /// Why the last renewal failed.
    trouble: Option<String>,
    /// When something asked for it last.
    asked: Instant,
    renewing: JoinSet<()>,
}

impl Lease {
    /// The lease on the listener at `place` by `policy`, for `holder`; without one it is only looked at.
    ///
    /// # Errors
    /// When outgoing TLS cannot be set up, which is a fault of the build.
    pub fn new(
        aws: &Aws,
        policy: &LeasePolicy,
        place: Place,
        holder: Option<Holder>,
        clock: Clock,
    ) -> Result<Self, crate::port::BoxError> {
        let state =
            State { standing: Standing::Unknown, trouble: None, asked: clock::instant(), renewing: JoinSet::new() };
        Ok(Self(Arc::new(Inner {
            table: policy.table.clone(),
            expiry: policy.expiry,
            place,
            holder,
            dynamodb: Dynamodb::new(aws.clone(), Outbound::new()?, clock.clone()),
            balancing: aws.balancing_looks(),
            clock,
            listener: OnceCell::new(),
            asking: tokio::sync::Mutex::new(()),
            state: Mutex::new(state),
        })))
    }

    /// Whether traffic may rise: only while this process holds it.
    ///
    /// # Errors
    /// When it does not, in words.
    pub async fn may_rise(&self) -> Result<(), PortError> {
        self.wanted().await;
        if self.0.is_held() { Ok(()) } else { Err(PortError::later(PORT, self.0.refusal())) }
    }

    /// Whether what stood before may be put back: unless another is known to hold it now.
    ///
    /// # Errors
    /// When another does, in words.
    pub async fn may_revert(&self) -> Result<(), PortError> {
        self.wanted().await;
        match self.0.theirs() {
            None => Ok(()),
            Some(_) => Err(PortError::later(PORT, self.0.refusal())),
        }
    }

    /// The look right before a write is sent that raises traffic.
    pub fn rising(&self) -> Fence {
        Fence { lease: self.clone(), rises: true }
    }

    /// The look right before a write is sent that puts something back.
    pub fn reverting(&self) -> Fence {
        Fence { lease: self.clone(), rises: false }
    }

    /// Who holds it, as a check. For who only looks it is one whether a cutover could begin, and whether the table is right.
    pub async fn check(&self) -> Check {
        const NAME: &str = "lease";
        let inner = &self.0;
        if inner.holder.is_none()
            && let Err(why) = inner.table().await
        {
            return Check::new(NAME, CheckOutcome::Unknown, why, &inner.fix());
        }
        self.wanted().await;
        if let Some(record) = inner.theirs() {
            let fix = "one daemon drives a listener: close its cutover there, or stop it and wait until its lease ends";
            return Check::new(NAME, CheckOutcome::Fail, record.told(), fix);
        }
        let state = inner.state();
        match &state.standing {
            Standing::Ours { record, .. } if inner.is_fresh(&state.standing) => {
                let evidence = format!("this daemon holds it since {}, by `{}`", rfc3339(record.since), inner.table);
                Check::new(NAME, CheckOutcome::Pass, evidence, "")
            }
            Standing::Free => Check::new(NAME, CheckOutcome::Pass, format!("`{}`: nobody holds it", inner.table), ""),
            Standing::Theirs(record) if inner.holder.is_none() => {
                Check::new(NAME, CheckOutcome::Pass, format!("nobody holds it any more: {}", record.told()), "")
            }
            Standing::Theirs(record) => {
                let why = format!("it ends just now: {}", record.told());
                Check::new(NAME, CheckOutcome::Unknown, why, "nothing: it is looked at again soon")
            }
            Standing::Ours { .. } | Standing::Unknown => {
                let why = state.trouble.clone().unwrap_or_else(|| "it was not answered who holds it".to_owned());
                drop(state);
                Check::new(NAME, CheckOutcome::Unknown, why, &inner.fix())
            }
        }
    }

    /// Takes or looks, unless it is known to be held; and goes on renewing it for a while.
    async fn wanted(&self) {
        self.0.state().asked = clock::instant();
        if self.0.holder.is_some() {
            self.renew();
        }
        if self.0.is_held() {
            return;
        }
        let _one = self.0.asking.lock().await;
        // Somebody may have had it answered while this one waited.
        if !self.0.is_held() {
            self.0.turn().await;
        }
    }

    /// Starts the renewals, once.
    fn renew(&self) {
        let mut state = self.0.state();
        if !state.renewing.is_empty() {
            return;
        }
        let lease = Arc::downgrade(&self.0);
        state.renewing.spawn(renewals(lease));
    }
}

/// Renews a lease for as long as it is there.
async fn renewals(lease: Weak<Inner>) {
    loop {
        let Some(inner) = lease.upgrade() else { return };
        let idle = clock::instant().saturating_duration_since(inner.state().asked);
        // What is not held is asked for by who wants it, so that nobody takes it who has nothing to write.
        let ours = matches!(inner.state().standing, Standing::Ours { .. });
        let pause = inner.clock.real(inner.expiry / RENEWALS).max(PAUSE_MIN);
        if ours && inner.clock.shown(idle) < ASKED_MAX {
            let _one = inner.asking.lock().await;
            inner.turn().await;
        }
        drop(inner);
        tokio::time::sleep(pause).await;
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    fn is_held(&self) -> bool {
        self.is_fresh(&self.state().standing)
    }

    /// Whether it is ours and was renewed lately enough. A wall clock that was set back says nothing, so it is not.
    fn is_fresh(&self, standing: &Standing) -> bool {
        let Standing::Ours { begun: (wall, steady), .. } = standing else { return false };
        let half = self.expiry / RENEWALS * HELD_PARTS;
        let now = self.clock.now();
        let ran = self.clock.shown(clock::instant().saturating_duration_since(*steady));
        now >= *wall && now.since(*wall) < half && ran < half
    }

    /// Who else holds it now, as far as is known.
    fn theirs(&self) -> Option<Record> {
        match &self.state().standing {
            Standing::Theirs(record) if self.dynamodb.now() < record.expires => Some(record.clone()),
            _ => None,
        }
    }

    /// Why nothing is written.
    fn refusal(&self) -> String {
        let which = self.listener.get().map_or("the listener", String::as_str);
        if let Some(record) = self.theirs() {
            return format!("nothing is written to `{which}`: {}", record.told());
        }
        let why = self.state().trouble.clone().map(|why| format!(": {why}")).unwrap_or_default();
        format!("nothing rises while the lease on `{which}` is not held{why}")
    }

    fn fix(&self) -> String {
        format!(
            "make the table `{table}` reachable (`tidegate aws iam --feature lease`), or make it: aws dynamodb create-table \
             --table-name {table} --attribute-definitions AttributeName={KEY},AttributeType=S --key-schema \
             AttributeName={KEY},KeyType=HASH --billing-mode PAY_PER_REQUEST",
            table = self.table
        )
    }

    /// Asks once: renews what is ours, takes what is free. What comes of it is in the state.
    async fn turn(&self) {
        let outcome = self.asked().await;
        let mut state = self.state();
        match outcome {
            Ok(standing) => {
                if let Standing::Theirs(record) = &standing
                    && !matches!(&state.standing, Standing::Theirs(_))
                {
                    tracing::warn!(table = %self.table, "{}", record.told());
                }
                (state.standing, state.trouble) = (standing, None);
            }
            Err(why) => {
                // What was ours stays so until its half is over: a table that does not answer gave it to nobody yet.
                if !matches!(state.standing, Standing::Ours { .. }) {
                    state.standing = Standing::Unknown;
                }
                if state.trouble.is_none() {
                    tracing::warn!(table = %self.table, why, "nobody knows who holds the lease");
                }
                state.trouble = Some(why);
            }
        }
    }

    async fn asked(&self) -> Result<Standing, String> {
        let listener = self.listener().await?;
        let begun = (self.clock.now(), clock::instant());
        let stands = self.state().standing.clone();
        if let (Standing::Ours { record, .. }, Some(holder)) = (&stands, &self.holder) {
            match self.put(&listener, holder, record.since, Some(record)).await {
                Ok(record) => return Ok(Standing::Ours { record, begun }),
                Err(Unasked::Condition(Some(item))) => {
                    let found = Record::read(&item).ok_or_else(|| self.unreadable())?;
                    if !found.is_of(holder) {
                        return Ok(Standing::Theirs(found));
                    }
                    // A renewal of ours was carried out and its answer lost: from its generation on.
                }
                // Somebody took the item away; that gives the listener to nobody.
                Err(Unasked::Condition(None)) => {}
                Err(Unasked::Failed(why)) => return Err(why),
            }
        }
        let input = json!({"TableName": self.table, "Key": {KEY: {"S": listener}}, "ConsistentRead": true});
        let answer = self.dynamodb.ask("GetItem", &input).await.map_err(|error| error.to_string())?;
        let found = match answer.body.get("Item") {
            Some(item) => Some(Record::read(item).ok_or_else(|| self.unreadable())?),
            None => None,
        };
        let Some(holder) = &self.holder else {
            return Ok(found.map_or(Standing::Free, Standing::Theirs));
        };
        let at = answer.at.ok_or("the answer of DynamoDB does not say what time it is")?;
        if let Some(other) = &found
            && other.owner != holder.owner
            && at < other.expires.plus(SLACK)
        {
            return Ok(Standing::Theirs(other.clone()));
        }
        let before = found.as_ref().filter(|found| found.owner == holder.owner && at < found.expires);
        let since = before.map_or(at, |found| found.since);
        match self.put(&listener, holder, since, found.as_ref()).await {
            Ok(record) => Ok(Standing::Ours { record, begun }),
            Err(Unasked::Condition(Some(item))) => {
                let found = Record::read(&item).ok_or_else(|| self.unreadable())?;
                if found.is_of(holder) {
                    return Err("a write of ours to the table came late; it is looked at again".to_owned());
                }
                Ok(Standing::Theirs(found))
            }
            Err(Unasked::Condition(None)) => Err("the lease was taken away while it was asked for".to_owned()),
            Err(Unasked::Failed(why)) => Err(why),
        }
    }

    /// Writes that `holder` has it from now on, if what stands is still `found`.
    async fn put(
        &self,
        listener: &str,
        holder: &Holder,
        since: Timestamp,
        found: Option<&Record>,
    ) -> Result<Record, Unasked> {
        let record = Record {
            owner: holder.owner.clone(),
            run: holder.run.clone(),
            place: holder.place.clone(),
            service: holder.service.clone(),
            generation: found.map_or(1, |found| found.generation.saturating_add(1)),
            since,
            expires: self.dynamodb.now().plus(self.expiry),
        };
        self.dynamodb.ask("PutItem", &record.put(&self.table, listener, found)).await?;
        Ok(record)
    }

    /// Whether the table is there, and as it must be.
    async fn table(&self) -> Result<(), String> {
        let input = json!({ "TableName": self.table });
        let answer = self.dynamodb.ask("DescribeTable", &input).await.map_err(|error| error.to_string())?;
        let table = &answer.body["Table"];
        let wanted = [
            ("TableStatus", json!("ACTIVE")),
            ("KeySchema", json!([{"AttributeName": KEY, "KeyType": "HASH"}])),
            ("AttributeDefinitions", json!([{"AttributeName": KEY, "AttributeType": "S"}])),
        ];
        match wanted.iter().find(|(name, value)| table[*name] != *value) {
            None => Ok(()),
            Some((name, value)) => {
                Err(format!("the table `{}` has {name} {}, and it must be {value}", self.table, table[*name]))
            }
        }
    }

    fn unreadable(&self) -> String {
        format!("the item in `{}` is none of Tidegate's", self.table)
    }

    async fn listener(&self) -> Result<String, String> {
        let Place { listener, source, target } = &self.place;
        let found = self.listener.get_or_try_init(|| async {
            match listener {
                Some(arn) => Ok(arn.clone()),
                None => find::listener(&self.balancing, PORT, source, target).await,
            }
        });
        found.await.cloned().map_err(|error| in_one_line(&error))
    }
}

/// Looks at the lease right before each attempt of one call is sent.
#[derive(Clone)]
pub struct Fence {
    lease: Lease,
    rises: bool,
}

impl std::fmt::Debug for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fence").field("rises", &self.rises).finish_non_exhaustive()
    }
}

impl Intercept for Fence {
    fn name(&self) -> &'static str {
        "the lease"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let inner = &self.lease.0;
        let may = if self.rises { inner.is_held() } else { inner.theirs().is_none() };
        if may { Ok(()) } else { Err(inner.refusal().into()) }
    }
}

/// Who a daemon with this state directory is to others, for `service`.
///
/// # Errors
/// When its name, which is kept in that directory, cannot be read or made.
pub fn holder(state_dir: &std::path::Path, service: &str) -> std::io::Result<Holder> {
    let path: PathBuf = state_dir.join("lease-owner");
    Holder::of(&path, state_dir, service)
}

#[cfg(test)]
mod tests;
