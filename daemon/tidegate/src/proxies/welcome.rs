//! What a proxy is given that came up and awaits its weight (`tidegate proxy --await-weight`), when no write is wanted from it.
//!
//! The fleet itself remembers: a newcomer is given what all the others have, with their tripwires. Where all of them are
//! newcomers, as after a restart of the whole fleet, the journal says what stood. Where the others disagree somebody is
//! moving them, and a newcomer waits for the end of that.
//!
//! The number of what is given here is the lowest there is, so that every write of a cutover goes over it.

use cutover::{Share, Weight};
use proxy::api::{Armed, Status};

use super::{Remote, RemoteError};

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

/// What newcomers among these proxies are given; `None` while that is open.
pub fn given<'s>(statuses: impl IntoIterator<Item = &'s Status>, standing: Standing) -> Option<Given> {
    let mut settled = statuses.into_iter().filter(|status| !status.awaits_weight);
    let Some(first) = settled.next() else {
        return (!standing.armed).then_some(Given { share: standing.share, armed: None });
    };
    let same = |status: &Status| share_of(status) == share_of(first) && status.armed == first.armed;
    settled.all(same).then(|| Given { share: share_of(first), armed: first.armed.clone() })
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

    fn status(share: u16, awaits_weight: bool) -> Status {
        Status { awaits_weight, ..testing::status(share) }
    }

    /// Proves that newcomers are given what all the others have; nothing while those disagree; and where there are no others,
    /// what the journal says, but not without the tripwires that go with it.
    #[test]
    fn newcomers_are_given_what_the_others_have() {
        let of = |statuses: &[Status], standing| given(statuses, standing).map(|given| given.share.reads.per_mille());
        let standing = Standing { share: Share::ALL, armed: false };
        assert_eq!(of(&[status(300, false), status(0, true), status(300, false)], standing), Some(300));
        assert_eq!(of(&[status(300, false), status(0, true), status(0, false)], standing), None);
        assert_eq!(of(&[status(0, true), status(0, true)], standing), Some(1000));
        assert_eq!(of(&[status(0, true)], Standing { armed: true, ..standing }), None);
        let mut armed = status(300, false);
        armed.armed = Some(Armed { reads: 0, writes: 0, limits: Vec::new() });
        assert_eq!(given(&[armed.clone(), status(0, true)], standing).unwrap().armed, armed.armed);
        assert_eq!(of(&[armed, status(300, false)], standing), None, "its tripwires are on their way");
    }
}
