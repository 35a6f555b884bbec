//! Tells somebody when the capture of a proxy in this process fails or loses something, and when it is sound again: one
//! episode from the first sign of trouble until the log has taken everything for a while. That the log may have what was
//! refused is trouble too, the smallest, and told as that.
//!
//! It looks from aside, once a second, so that nothing of it is ever in the way of traffic. Losses of an earlier process are
//! no news; they stay on the list, and a cutover that relies on capture asks for that.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use cutover::command::{Episode, Severity};
use cutover::policy::AlertPolicy;
use cutover::{Alert, Timestamp};
use proxy::Handle;
use proxy::api::CaptureStatus;

use crate::alert::Message;
use crate::clock::{self, Clock};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// For how long nothing must have failed or been lost for capture to be sound again.
const SOUND_AFTER: Duration = Duration::from_secs(10);

/// What was seen so far.
#[derive(Debug, Default)]
struct Watch {
    /// What was seen last.
    seen: Lost,
    open: Option<Open>,
    episodes: u32,
}

/// What a list of losses comes to.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    losses: u64,
    unlisted: u64,
    phantoms: u64,
}

/// What is wrong, the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// The log may have what was refused.
    Phantoms,
    /// The log lacks what it should have.
    Losses,
    /// The log takes nothing.
    Fails,
}

/// The episode that is open.
#[derive(Debug)]
struct Open {
    alert: Alert,
    /// The worst of it.
    trouble: Trouble,
    /// When the last sign of trouble was seen.
    last: Instant,
    /// What was lost when it began.
    before: Lost,
}

impl Watch {
    /// One that takes what `captures` have lost until now as known.
    fn from(captures: &[CaptureStatus]) -> Self {
        Self { seen: lost(captures), ..Self::default() }
    }

    /// What people must be told by what is seen now, if anything. `name` begins the ids of episodes.
    fn look(&mut self, name: &str, captures: &[CaptureStatus], now: Instant) -> Option<Alert> {
        let fails: Vec<&CaptureStatus> = captures.iter().filter(|capture| !capture.works).collect();
        let lost = lost(captures);
        let before = std::mem::replace(&mut self.seen, lost);
        let trouble = if !fails.is_empty() {
            Trouble::Fails
        } else if lost.losses > before.losses || lost.unlisted > before.unlisted {
            Trouble::Losses
        } else if lost.phantoms > before.phantoms {
            Trouble::Phantoms
        } else {
            let open = self.open.take_if(|open| now.saturating_duration_since(open.last) >= SOUND_AFTER)?;
            let text = format!("the log takes records; {} meanwhile{}", lost.since(open.before), listed(captures));
            return Some(Alert { change: Episode::Closed, text, ..open.alert });
        };
        let which = |capture: &&CaptureStatus| format!("the {} to {}", capture.side, capture.place);
        let title = match trouble {
            Trouble::Phantoms => format!("{name}: the log may have what was refused"),
            Trouble::Losses => format!("{name}: capture lost something"),
            Trouble::Fails => {
                format!("{name}: capture fails: {}", fails.iter().map(which).collect::<Vec<_>>().join(", "))
            }
        };
        let why: Vec<&str> = fails.iter().filter_map(|capture| capture.failed_why.as_deref()).collect();
        let what = match captures.first().map(|capture| capture.on_failure.as_str()) {
            Some("refuse") => "writes are refused with 503 meanwhile",
            _ => "writes are forwarded uncaptured meanwhile, and no replay will bring them",
        };
        let lost_text = format!("{} since capture began{}", lost.since(Lost::default()), listed(captures));
        let text = if why.is_empty() { lost_text } else { format!("{}; {what}; {lost_text}", why.join("; ")) };
        let change = match &mut self.open {
            Some(open) => {
                open.last = now;
                // Counts rise each second; only what is worse is news, and another log that fails: what was lost while one
                // failed is not.
                if trouble < open.trouble || open.alert.title == title {
                    return None;
                }
                Episode::Updated
            }
            None => Episode::Opened,
        };
        let episode = if let Some(open) = &self.open {
            open.alert.episode.clone()
        } else {
            self.episodes += 1;
            format!("{name}/capture/{}", self.episodes)
        };
        let before = self.open.as_ref().map_or(before, |open| open.before);
        let severity = match trouble {
            Trouble::Phantoms => Severity::Warning,
            Trouble::Losses | Trouble::Fails => Severity::Critical,
        };
        let alert = Alert { episode, change, severity, title, text };
        self.open = Some(Open { alert: alert.clone(), trouble, last: now, before });
        Some(alert)
    }
}

impl Lost {
    /// What came since, for people.
    fn since(self, before: Self) -> String {
        let losses = self.losses.saturating_sub(before.losses);
        match self.phantoms.saturating_sub(before.phantoms) {
            0 => format!("{losses} lost"),
            phantoms => format!("{losses} lost, {phantoms} refused that the log may have and a replay would send"),
        }
    }
}

/// Both sides have one list.
fn lost(captures: &[CaptureStatus]) -> Lost {
    let most = |count: fn(&CaptureStatus) -> u64| captures.iter().map(count).max().unwrap_or(0);
    Lost {
        losses: most(|capture| capture.losses),
        unlisted: most(|capture| capture.losses_unlisted),
        phantoms: most(|capture| capture.phantoms),
    }
}

fn listed(captures: &[CaptureStatus]) -> String {
    captures.first().map_or_else(String::new, |capture| format!(", listed in {}", capture.loss_log))
}

/// Looks after the capture of `proxy` and hands over what somebody must be told, until the future is dropped. `name` is what
/// it is called for people.
pub async fn run(name: &str, proxy: &Handle, clock: &Clock, tell: impl Fn(&Message)) -> Infallible {
    let first = proxy.status();
    let mut watch = Watch::from(&first.capture);
    let mut sent = 0_u64;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(alert) = watch.look(name, &proxy.status().capture, clock::instant()) {
            sent += 1;
            tell(&message(name, &first.instance, sent, clock.now(), alert));
        }
    }
}

fn message(name: &str, instance: &str, number: u64, at: Timestamp, alert: Alert) -> Message {
    Message {
        id: format!("{instance}/capture/{number}"),
        cutover: String::new(),
        service: name.to_owned(),
        at,
        // Set for each receiver.
        to: AlertPolicy::Command { argv: Vec::new() },
        alert,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures(works: bool, losses: u64) -> Vec<CaptureStatus> {
        vec![CaptureStatus {
            side: "source".to_owned(),
            sink: "kafka".to_owned(),
            on_failure: "forward".to_owned(),
            works,
            failed_why: Some("no broker answers".to_owned()),
            failed_times: 0,
            safe: 0,
            lost: 0,
            perhaps_there: 0,
            not_given: 0,
            under_way_bytes: 0,
            life: 0,
            losses,
            losses_unlisted: 0,
            losses_unlisted_before: 0,
            phantoms: 0,
            place: "topic t".to_owned(),
            began_millis: 0,
            loss_log: "/l".to_owned(),
            loss_log_id: String::new(),
            oldest_millis: 0,
            keeps: None,
        }]
    }

    /// Proves that a log that fails is one episode, told once however often it is seen and however much is lost, and closed
    /// only when nothing has failed or been lost for a while.
    #[test]
    fn one_episode_from_the_first_sign_to_the_end() {
        let start = clock::instant();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::from(&captures(true, 5));
        assert_eq!(watch.look("p", &captures(true, 5), at(0)), None, "earlier losses are no news");
        let opened = watch.look("p", &captures(false, 5), at(1)).unwrap();
        assert_eq!((opened.change, &*opened.episode), (Episode::Opened, "p/capture/1"));
        assert_eq!(opened.title, "p: capture fails: the source to topic t");
        assert!(opened.text.starts_with("no broker answers; writes are forwarded uncaptured"), "{}", opened.text);
        assert_eq!(watch.look("p", &captures(false, 80), at(2)), None);
        assert_eq!(watch.look("p", &captures(true, 90), at(3)), None, "what was lost in it is no episode of its own");
        assert_eq!(watch.look("p", &captures(true, 90), at(12)), None);
        let closed = watch.look("p", &captures(true, 90), at(13)).unwrap();
        assert_eq!((closed.change, &closed.episode), (Episode::Closed, &opened.episode));
        assert_eq!(closed.text, "the log takes records; 85 lost meanwhile, listed in /l");
        assert_eq!(watch.look("p", &captures(true, 90), at(14)), None);
        let again = watch.look("p", &captures(true, 91), at(15)).unwrap();
        assert_eq!((&*again.episode, &*again.title), ("p/capture/2", "p: capture lost something"));
        let worse = watch.look("p", &captures(false, 91), at(16)).unwrap();
        assert_eq!((worse.change, &*worse.episode), (Episode::Updated, "p/capture/2"));
    }

    /// Proves that refused requests which the log may have are told as that, below a loss, that those of earlier processes are
    /// no news, and that a loss which follows is told in the same episode, once.
    #[test]
    fn phantoms_are_no_losses() {
        let start = clock::instant();
        let at = |seconds| start + Duration::from_secs(seconds);
        let seen = |works, losses, phantoms| {
            let mut captures = captures(works, losses);
            captures[0].phantoms = phantoms;
            captures
        };
        let mut watch = Watch::from(&seen(true, 0, 4));
        assert_eq!(watch.look("p", &seen(true, 0, 4), at(0)), None);
        let opened = watch.look("p", &seen(true, 0, 6), at(1)).unwrap();
        assert_eq!((opened.change, opened.severity), (Episode::Opened, Severity::Warning));
        assert_eq!(opened.title, "p: the log may have what was refused");
        assert_eq!(
            opened.text,
            "0 lost, 6 refused that the log may have and a replay would send since capture began, listed in /l"
        );
        assert_eq!(watch.look("p", &seen(true, 0, 7), at(2)), None);
        let worse = watch.look("p", &seen(true, 1, 7), at(3)).unwrap();
        assert_eq!((worse.change, worse.severity), (Episode::Updated, Severity::Critical));
        assert_eq!((&worse.episode, &*worse.title), (&opened.episode, "p: capture lost something"));
        assert_eq!(watch.look("p", &seen(true, 2, 8), at(4)), None);
        assert_eq!(watch.look("p", &seen(true, 2, 9), at(5)), None, "less than what is known is no news");
        let closed = watch.look("p", &seen(true, 2, 9), at(15)).unwrap();
        assert_eq!(
            closed.text,
            "the log takes records; 2 lost, 5 refused that the log may have and a replay would send meanwhile, listed in /l"
        );
    }
}
