//! A broker whose disk is full: whole, or in part, where its own log is on a large disk and the topic's on a small one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use proxy::capture::{Position, Refused};

use crate::{
    client::{Client, PATIENCE, missing, options, read},
    servers::kafka::{Broker, broker},
};

/// A disk of so many megabytes, gone with the value.
struct Small(PathBuf);

impl Small {
    /// `None` where we may not mount.
    fn mount(folder: &Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tidegate-test"]).arg(folder).output();
        let mounted = mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(folder.to_owned()));
        if mounted.is_none() {
            println!("not root: no small disk can be mounted");
        }
        mounted
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

/// Proves that a full disk under the topic alone is a capture failure while the broker goes on, and that nothing which was
/// said to be safe is missing. Needs root for the small disk; without, it says so and proves nothing.
#[test]
fn a_disk_full_in_part_loses_nothing_that_was_safe() {
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&folder.path().join("small"), 24) else { return };
    let large = folder.path().join("large");
    let logs = format!("log.dirs={},{}", large.display(), small.0.join("data").display());
    let metadata = format!("metadata.log.dir={}", large.display());
    // Partitions go to both disks by turns; those on the small one fill it.
    fill(&small, broker(folder.path(), &[&logs, &metadata, SEGMENT, INDEX]), Broker::kill);
}

/// Proves the same where everything of the broker's is on the full disk, and the broker ends because of it.
#[test]
fn a_disk_full_whole_loses_nothing_that_was_safe() {
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&folder.path().join("small"), 24) else { return };
    let logs = format!("log.dirs={}", small.0.join("data").display());
    fill(&small, broker(folder.path(), &[&logs, SEGMENT, INDEX]), |broker| {
        broker.process.wait(PATIENCE);
    });
}

const SEGMENT: &str = "log.segment.bytes=2097152";
const INDEX: &str = "log.index.size.max.bytes=65536";

/// Fills the disk with records until the log fails, ends the broker, makes room, and reads back what was said to be safe.
fn fill(small: &Small, mut broker: Broker, end: impl FnOnce(&mut Broker)) {
    let mut client = Client::start(options(&broker.plaintext(), "full", 4)).unwrap();
    let mut sent = BTreeMap::new();
    for stream in 0..4000 {
        let key = format!("stream-{stream}");
        match client.send(&key, 0, 100_000) {
            Ok(tag) => drop(sent.insert(tag, (key, 0))),
            Err(Refused::BudgetSpent) => drop(client.wait()),
            Err(Refused::BreakerOpen) => break,
            Err(refused) => panic!("{refused}"),
        }
    }
    client.settle();
    let (safe, lost) = (client.safe(), client.outcomes.len() - client.safe());
    println!("full disk: {safe} safe, {lost} lost, {:?}", client.capture.figures().opened_why);
    assert!(safe > 0 && lost > 0);
    assert_ne!(client.breaker.position(), Position::Closed);
    end(&mut broker);
    // What the files hold is what a broker with room finds in them.
    let grown = Command::new("mount").args(["-o", "remount,size=512m"]).arg(&small.0).status().unwrap();
    assert!(grown.success());
    broker.start_again();
    // Two looks tell a broker that has not read all its files yet from records that are gone.
    let first = missing(&client, &sent, &read(&broker.plaintext(), "full"));
    let second = missing(&client, &sent, &read(&broker.plaintext(), "full"));
    println!("full disk: {first} missing of {safe}, {second} at a second look");
    assert_eq!((first, second), (0, 0), "acknowledged records that are missing at the first look and at the second");
}
