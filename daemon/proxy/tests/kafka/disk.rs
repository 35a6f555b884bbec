//! A broker whose disk is full, in part: its own log is on a large disk, the topic's on a small one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use proxy::capture::{Position, Refused};

use crate::{
    client::{Client, missing, options, read},
    servers::kafka::broker,
};

/// A disk of so many megabytes, gone with the value.
struct Small(PathBuf);

impl Small {
    /// `None` where we may not mount.
    fn mount(folder: &Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tidegate-test"]).arg(folder).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

/// Proves that a full disk under the topic is a capture failure, and that nothing which was said to be safe is missing.
/// Needs root for the small disk; without, it says so and proves nothing.
#[test]
fn a_full_disk_loses_nothing_that_was_safe() {
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&folder.path().join("small"), 24) else {
        println!("not root: no small disk can be mounted");
        return;
    };
    let large = folder.path().join("large");
    let logs = format!("log.dirs={},{}", large.display(), small.0.join("data").display());
    let metadata = format!("metadata.log.dir={}", large.display());
    let broker =
        broker(folder.path(), &[&logs, &metadata, "log.segment.bytes=2097152", "log.index.size.max.bytes=65536"]);
    // Partitions go to both disks by turns; those on the small one fill it.
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
    // Acknowledged records are read back from what a broker with room finds on the same files.
    let mut broker = broker;
    broker.kill();
    let grown = Command::new("mount").args(["-o", "remount,size=512m"]).arg(&small.0).status().unwrap();
    assert!(grown.success());
    broker.start_again();
    let found = read(&broker.plaintext(), "full");
    println!("full disk: {} missing of {safe}", missing(&client, &sent, &found));
    assert_eq!(missing(&client, &sent, &found), 0);
}
