//! Bodies of the control API: what is read can be written and read again, and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::api::{Armed, CloseConnections, Counters, SetWeight, Status};
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|data: &[u8]| {
    round::<SetWeight>(data);
    round::<Armed>(data);
    round::<CloseConnections>(data);
    round::<Counters>(data);
    round::<Status>(data);
});

/// Compared as text: a number may be no number that equals itself.
fn round<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(data) else { return };
    let once = serde_json::to_string(&value).expect("what was read can be written");
    let again: T = serde_json::from_str(&once).expect("what was written can be read");
    assert_eq!(once, serde_json::to_string(&again).expect("what was read can be written"));
}
