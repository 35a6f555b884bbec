//! A fleet on paper, for a lab that carries no traffic: tasks get addresses at which nobody listens, and every target is
//! healthy by the next check. For tests of the control plane alone, and for accounts too large to have sockets for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::model::fleet::TaskState;
use crate::model::{Health, HealthState, Model};
use crate::shared::Shared;

/// Keeps the paper up to date until the lab ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut changes = shared.changes();
    loop {
        changes.mark_unchanged();
        if shared.read(is_behind) {
            shared.happen(|model, _| catch_up(model));
            continue;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn is_behind(model: &Model) -> bool {
    let addressless = model.fleet.tasks.values().any(|task| task.state == TaskState::Pending && task.address.is_none());
    let targets = || model.target_groups.values().flat_map(|group| &group.targets);
    addressless || targets().any(|target| target.health.state == HealthState::Initial)
}

fn catch_up(model: &mut Model) {
    let taken: BTreeSet<SocketAddr> = model.fleet.tasks.values().filter_map(|task| task.address).collect();
    let addresses = (1..=u16::MAX).map(|number| {
        let [high, low] = number.to_be_bytes();
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 9200)
    });
    let mut free = addresses.filter(|address| !taken.contains(address));
    for task in model.fleet.tasks.values_mut() {
        if task.state == TaskState::Pending && task.address.is_none() {
            task.address = free.next();
        }
    }
    for target in model.target_groups.values_mut().flat_map(|group| &mut group.targets) {
        if target.health.state == HealthState::Initial {
            target.health = Health::healthy();
        }
    }
}
