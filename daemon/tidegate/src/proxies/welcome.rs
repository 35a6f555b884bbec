//! What a proxy is given that came up and awaits its weight (`tidegate proxy --await-weight`), when no write is wanted from it.
//!
//! The fleet itself remembers: a newcomer is given what all the others have, with their tripwires. Where all of them are
//! newcomers, as after a restart of the whole fleet, the journal says what stood. Where the others disagree somebody is
//! moving them, and a newcomer waits for the end of that.
//!
//! A weight means something only between the same two sides. So only those others are asked that stand where the newcomer
//! does, behind one name, and serve the same endpoints; a newcomer unlike all of them is a stranger, as a pod made from another
//! manifest is: it is given nothing, and is not ready, until somebody says which of the two is right.
//!
//! One that does not answer agrees with nobody. While there is one, what the others have is given only where the journal says the
//! same: else what they have may be half of a change.
//!
//! The number of what is given here is the lowest there is, so that every write of a cutover goes over it.

use std::collections::{BTreeMap, BTreeSet};

use cutover::{Share, Weight};
use proxy::api::{Armed, Endpoint, Status};
use proxy::config::WEIGHT_MAX;

use super::{Remote, RemoteError, each};

/// What stood, as the journal knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The share.
    pub share: Share,
    /// Whether it is only to be had with tripwires armed.
    pub armed: bool,
}

/// What a newcomer is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The share.
    pub share: Share,
    /// The tripwires.
    pub armed: Option<Armed>,
}

/// The share that a proxy has.
pub fn share_of(status: &Status) -> Share {
    // A proxy never says more than 1000; one that did would count as having everything.
    let weight = |per_mille| Weight::new(per_mille).unwrap_or(Weight::ALL);
    Share { reads: weight(status.reads), writes: weight(status.writes) }
}

/// A proxy that answered, and what it said.
pub type Answered = (Remote, Status);

/// What the proxies say of themselves, and those that do not answer, with why.
pub async fn asked(remotes: &[Remote]) -> (Vec<Answered>, Vec<(Remote, RemoteError)>) {
    let (mut answered, mut silent) = (Vec::new(), Vec::new());
    for (proxy, answer) in each(remotes, |proxy| async move { proxy.status().await }).await {
        match answer {
            Ok(status) => answered.push((proxy, status)),
            Err(error) => silent.push((proxy, error)),
        }
    }
    (answered, silent)
}

/// What to do about a stranger.
pub const STRANGER_FIX: &str = "bring all proxies behind the name to one source and one target; where the new ones are meant, end \
                                the old ones first, or give one of the new its weight by hand (`PUT /v1/weight`)";

/// In which endpoints two proxies must be alike to be of one fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    /// In those of both sides, since the share moves.
    Whole,
    /// In those of the sides that have requests by the share that stands, or by what a tripwire would put back: a fleet that
    /// has not begun to move may be given another target.
    Serving,
}

fn urls(endpoints: &[Endpoint]) -> BTreeSet<&str> {
    endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect()
}

/// How `one` differs from `other`, if it does.
pub fn differs(one: &Status, other: &Answered, alike: Alike) -> Option<String> {
    let (name, status) = (other.0.name(), &other.1);
    let mut shares = vec![status.reads, status.writes];
    shares.extend(status.armed.iter().flat_map(|armed| [armed.reads, armed.writes]));
    let serves = |side: fn(&u16) -> bool| alike == Alike::Whole || shares.iter().any(side);
    let told = |side: &str, one: &[Endpoint], other: &[Endpoint]| {
        let said = |urls: BTreeSet<&str>| match urls.len() {
            0 => "none".to_owned(),
            _ => urls.into_iter().collect::<Vec<_>>().join(" "),
        };
        let (one, other) = (urls(one), urls(other));
        (one != other).then(|| format!("its {side} is {}, and that of {name} is {}", said(one), said(other)))
    };
    let source = told("source", &one.source, &status.source).filter(|_| serves(|share| *share < WEIGHT_MAX));
    source.or_else(|| told("target", &one.target, &status.target).filter(|_| serves(|share| *share > 0)))
}

/// Those that stand where `newcomer` does; `settled` says whether they were told a weight.
fn beside<'a>(newcomer: &Answered, answers: &'a [Answered], settled: bool) -> Vec<&'a Answered> {
    let place = newcomer.0.place();
    answers.iter().filter(|(proxy, status)| proxy.place() == place && status.awaits_weight != settled).collect()
}

/// The newcomers that are of another fleet than those which stand where they do, by name, with what differs. Where there are
/// only newcomers and they differ, nobody knows which of them are meant.
pub fn strangers(answers: &[Answered], alike: Alike) -> BTreeMap<String, String> {
    let newcomers = answers.iter().filter(|(_, status)| status.awaits_weight);
    let strange = newcomers.filter_map(|newcomer| {
        let settled = beside(newcomer, answers, true);
        let differs = |other: &&Answered| differs(&newcomer.1, other, alike);
        let why = if settled.is_empty() {
            beside(newcomer, answers, false).iter().find_map(differs)
        } else {
            // One that is like it makes it no stranger.
            settled.iter().map(differs).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().next())
        };
        Some((newcomer.0.name().to_owned(), why?))
    });
    strange.collect()
}

/// Tells of strangers that were not told of yet, and remembers them.
pub fn tell(told: &mut BTreeMap<String, String>, strangers: BTreeMap<String, String>) {
    for (proxy, why) in strangers.iter().filter(|(proxy, why)| told.get(*proxy) != Some(why)) {
        tracing::warn!(proxy, why, fix = STRANGER_FIX, "a proxy of another fleet awaits its weight, and is given none");
    }
    *told = strangers;
}

/// What a newcomer that is no stranger is given, among all that answer; `None` while that is open. `silent` says whether there
/// may be others, which do not.
pub fn given(
    newcomer: &Answered,
    answers: &[Answered],
    alike: Alike,
    silent: bool,
    standing: Standing,
) -> Option<Given> {
    let mut settled = beside(newcomer, answers, true);
    settled.retain(|other| differs(&newcomer.1, other, alike).is_none());
    if settled.is_empty() {
        settled.extend(answers.iter().filter(|(_, status)| !status.awaits_weight));
    }
    let Some((_, first)) = settled.first() else {
        return (!standing.armed).then_some(Given { share: standing.share, armed: None });
    };
    let same = |status: &Status| share_of(status) == share_of(first) && status.armed == first.armed;
    let agree = settled.iter().all(|(_, status)| same(status));
    let stood = share_of(first) == standing.share && (first.armed.is_some() || !standing.armed);
    (agree && (!silent || stood)).then(|| Given { share: share_of(first), armed: first.armed.clone() })
}

/// Gives it to one newcomer, tripwires first. Who was told by somebody else meanwhile keeps that.
///
/// # Errors
/// When it does not answer, or has no target to give anything to.
pub async fn give(newcomer: &Remote, given: &Given) -> Result<(), RemoteError> {
    if given.armed.is_some() {
        newcomer.arm(given.armed.as_ref()).await?;
    }
    match newcomer.set_weight(given.share, 0).await {
        Ok(_) => {
            tracing::info!(proxy = newcomer.name(), share = %given.share, "a proxy that awaited its weight was given it");
            Ok(())
        }
        Err(error) if error.outdated => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn proxy(name: &str, place: &str, status: Status) -> Answered {
        let remote = Remote::api(format!("unix:/{name}").parse().unwrap(), None);
        (Remote { place: place.into(), ..remote }, status)
    }

    fn settled(name: &str, share: u16) -> Answered {
        proxy(name, "dns://pods:1", Status { awaits_weight: false, ..testing::status(share) })
    }

    fn newcomer(name: &str) -> Answered {
        proxy(name, "dns://pods:1", Status { awaits_weight: true, ..testing::status(0) })
    }

    fn with(mut proxy: Answered, source: &str, target: &str) -> Answered {
        let side = |url: &str| vec![Endpoint { url: url.to_owned(), healthy: true, note: String::new() }];
        (proxy.1.source, proxy.1.target) = (side(source), side(target));
        proxy
    }

    /// What the last one is given.
    fn of(answers: &[Answered], silent: bool, standing: Standing) -> Option<u16> {
        let newcomer = answers.last().unwrap();
        given(newcomer, answers, Alike::Whole, silent, standing).map(|given| given.share.reads.per_mille())
    }

    const MOVED: Standing = Standing { share: Share::ALL, armed: false };

    /// Proves that newcomers are given what all the others have; nothing while those disagree; and where there are no others,
    /// what the journal says, but not without the tripwires that go with it.
    #[test]
    fn newcomers_are_given_what_the_others_have() {
        let of = |answers: &[Answered], standing| of(answers, false, standing);
        assert_eq!(of(&[settled("a", 300), settled("b", 300), newcomer("c")], MOVED), Some(300));
        assert_eq!(of(&[settled("a", 300), settled("b", 0), newcomer("c")], MOVED), None);
        assert_eq!(of(&[newcomer("a"), newcomer("b")], MOVED), Some(1000));
        assert_eq!(of(&[newcomer("a")], Standing { armed: true, ..MOVED }), None);
        let mut armed = settled("a", 300);
        armed.1.armed = Some(Armed { reads: 0, writes: 0, limits: Vec::new() });
        let both = [armed.clone(), newcomer("b")];
        assert_eq!(given(&both[1], &both, Alike::Whole, false, MOVED).unwrap().armed, armed.1.armed);
        assert_eq!(of(&[armed, settled("b", 300), newcomer("c")], MOVED), None, "its tripwires are on their way");
        // One that stands elsewhere counts where nobody stands here.
        let elsewhere = proxy("a", "unix:/a", testing::status(300));
        assert_eq!(of(&[elsewhere.clone(), newcomer("b")], MOVED), Some(300));
        assert_eq!(of(&[elsewhere, settled("b", 100), newcomer("c")], MOVED), Some(100));
    }

    /// Proves that one that does not answer is not taken for one that agrees: what the others have is given only where the
    /// journal says the same.
    #[test]
    fn one_that_is_silent_agrees_with_nobody() {
        let half = [settled("a", 500), newcomer("b")];
        assert_eq!(of(&half, true, MOVED), None);
        assert_eq!(of(&half, false, MOVED), Some(500));
        let whole = [settled("a", 1000), newcomer("b")];
        assert_eq!(of(&whole, true, MOVED), Some(1000));
        assert_eq!(of(&whole, true, Standing { armed: true, ..MOVED }), None, "its tripwires may be gone");
    }

    /// Proves that a newcomer whose source or target is another than that of those which stand beside it is a stranger, and is
    /// none where one of them is like it, which is then the only one that counts; that newcomers which differ from each other
    /// are; and that an end which gets no requests may differ while nothing moves.
    #[test]
    fn a_newcomer_with_other_sides_is_a_stranger() {
        let strange = |answers: &[Answered], alike| strangers(answers, alike).into_iter().collect::<Vec<_>>();
        let fleet = [with(settled("a", 300), "http://s", "http://t"), with(settled("b", 300), "http://s", "http://t")];
        let [a, b] = fleet.clone();
        let other = with(newcomer("c"), "http://s", "http://u");
        let said = "its target is http://u, and that of unix:/a is http://t".to_owned();
        assert_eq!(strange(&[a.clone(), b, other.clone()], Alike::Serving), [("unix:/c".to_owned(), said)]);
        let fresh = with(newcomer("c"), "http://s", "http://t");
        let odd = with(settled("d", 0), "http://s", "http://u");
        let all = [a.clone(), odd, fresh.clone()];
        assert_eq!((strange(&all, Alike::Whole), of(&all, false, MOVED)), (Vec::new(), Some(300)));
        assert_eq!(strange(&[fresh.clone(), with(newcomer("d"), "http://r", "http://t")], Alike::Serving).len(), 2);
        // Before the first step the target has nothing, and in the end the source.
        for (share, spare) in
            [(0, with(newcomer("c"), "http://s", "http://u")), (1000, with(newcomer("c"), "http://r", "http://t"))]
        {
            let stands = with(settled("a", share), "http://s", "http://t");
            assert_eq!(strange(&[stands.clone(), spare.clone()], Alike::Serving), [], "at {share}");
            assert_eq!(strange(&[stands, spare], Alike::Whole).len(), 1, "at {share}");
        }
        let mut armed = with(settled("a", 1000), "http://s", "http://t");
        armed.1.armed = Some(Armed { reads: 0, writes: 0, limits: Vec::new() });
        assert_eq!(strange(&[armed, with(newcomer("c"), "http://r", "http://t")], Alike::Serving).len(), 1);
        // One that is named by its own address is what its policy says.
        let (one, two) = (proxy("a", "unix:/a", a.1), proxy("b", "unix:/b", other.1));
        assert_eq!(strange(&[one, two], Alike::Whole), []);
    }
}
