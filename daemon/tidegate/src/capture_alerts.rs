//! Tells somebody when the capture of a proxy in this process fails or loses something, and when it is sound again: one
//! episode from the first sign of trouble until the log has taken everything for a while.
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
    /// The most losses that were seen.
    losses: u64,
    unlisted: u64,
    open: Option<Open>,
    episodes: u32,
}

/// The episode that is open.
#[derive(Debug)]
struct Open {
    alert: Alert,
    /// When the last sign of trouble was seen.
    last: Instant,
    /// Losses when it began.
    before: u64,
}

impl Watch {
    /// One that takes what `captures` have lost until now as known.
    fn from(captures: &[CaptureStatus]) -> Self {
        Self { losses: losses(captures), unlisted: unlisted(captures), ..Self::default() }
    }

    /// What people must be told by what is seen now, if anything. `name` begins the ids of episodes.
    fn look(&mut self, name: &str, captures: &[CaptureStatus], now: Instant) -> Option<Alert> {
        let fails: Vec<&CaptureStatus> = captures.iter().filter(|capture| !capture.works).collect();
        let (lost, unlisted) = (losses(captures), unlisted(captures));
        let fresh = lost.saturating_sub(self.losses) + unlisted.saturating_sub(self.unlisted);
        let before = self.losses;
        (self.losses, self.unlisted) = (lost, unlisted);
        if fails.is_empty() && fresh == 0 {
            let open = self.open.take_if(|open| now.saturating_duration_since(open.last) >= SOUND_AFTER)?;
            let meanwhile = lost - open.before;
            let text =
                format!("the log takes records again; {meanwhile} requests were lost meanwhile{}", listed(captures));
            return Some(Alert { change: Episode::Closed, text, ..open.alert });
        }
        let which = |capture: &&CaptureStatus| format!("the {} to {}", capture.side, capture.place);
        let title = match fails.as_slice() {
            [] => format!("{name}: requests were not captured"),
            fails => format!("{name}: capture fails: {}", fails.iter().map(which).collect::<Vec<_>>().join(", ")),
        };
        let why: Vec<&str> = fails.iter().filter_map(|capture| capture.failed_why.as_deref()).collect();
        let what = match captures.first().map(|capture| capture.on_failure.as_str()) {
            Some("refuse") => "writes are refused with 503 meanwhile",
            _ => "writes are forwarded uncaptured meanwhile, and no replay will bring them",
        };
        let lost_text = format!("{lost} requests lost since capture began{}", listed(captures));
        let text = if why.is_empty() { lost_text } else { format!("{}; {what}; {lost_text}", why.join("; ")) };
        let change = match &mut self.open {
            Some(open) => {
                open.last = now;
                // Counts rise each second; only another title is news, and what was lost while the log failed is not.
                if open.alert.title == title || fails.is_empty() {
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
        let alert = Alert { episode, change, severity: Severity::Critical, title, text };
        self.open = Some(Open { alert: alert.clone(), last: now, before });
        Some(alert)
    }
}

/// Both sides have one list.
fn losses(captures: &[CaptureStatus]) -> u64 {
    captures.iter().map(|capture| capture.losses).max().unwrap_or(0)
}

fn unlisted(captures: &[CaptureStatus]) -> u64 {
    captures.iter().map(|capture| capture.losses_unlisted).max().unwrap_or(0)
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
        assert_eq!(closed.text, "the log takes records again; 85 requests were lost meanwhile, listed in /l");
        assert_eq!(watch.look("p", &captures(true, 90), at(14)), None);
        let again = watch.look("p", &captures(true, 91), at(15)).unwrap();
        assert_eq!((&*again.episode, &*again.title), ("p/capture/2", "p: requests were not captured"));
        let worse = watch.look("p", &captures(false, 91), at(16)).unwrap();
        assert_eq!((worse.change, &*worse.episode), (Episode::Updated, "p/capture/2"));
    }
}
