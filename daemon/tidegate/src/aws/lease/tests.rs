//! What needs no AWS: the item and its conditions. Who gets it, loses it and is stopped is shown in `tests/contract`.

use serde_json::json;

use super::*;

fn holder(folder: &std::path::Path) -> Holder {
    super::holder(folder, "search").unwrap()
}

#[test]
fn a_daemon_is_the_same_to_others_after_a_restart() {
    // Proves that the name is kept with the journal, that each process is told apart, and that services are.
    let folder = tempfile::tempdir().unwrap();
    let (one, again) = (holder(folder.path()), holder(folder.path()));
    assert_eq!(one.owner, again.owner);
    assert_ne!(one.run, again.run);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(holder(other.path()).owner, one.owner);
    assert_ne!(super::holder(folder.path(), "orders").unwrap().owner, one.owner);
    std::fs::write(other.path().join("lease-owner"), "").unwrap();
    assert!(super::holder(other.path(), "search").is_err(), "an empty name would be everybody's");
}

#[test]
fn what_is_written_is_read_and_nothing_else_is() {
    // Proves the round trip of the item, that its condition is the record that was found, and that an item of somebody else
    // is not taken for a lease.
    let folder = tempfile::tempdir().unwrap();
    let Holder { owner, run, place, service } = holder(folder.path());
    let record =
        Record { owner, run, place, service, generation: 7, since: Timestamp(1_000), expires: Timestamp(61_000) };
    let first = record.put("leases", "arn:l", None);
    assert_eq!(Record::read(&first["Item"]), Some(record.clone()));
    assert_eq!(first["ConditionExpression"], "attribute_not_exists(#l)");
    let next = Record { generation: 8, ..record.clone() }.put("leases", "arn:l", Some(&record));
    assert_eq!(next["ExpressionAttributeValues"][":g"], json!({"N": "7"}));
    assert_eq!(next["Item"]["generation"], json!({"N": "8"}));
    assert_eq!(Record::read(&json!({"listener": {"S": "arn:l"}, "owner": {"S": "a lock of another program"}})), None);
    for word in ["for the service `search` since 1970-01-01T00:00:01Z", "until 1970-01-01T00:01:01Z"] {
        assert!(record.told().contains(word), "{}", record.told());
    }
}
