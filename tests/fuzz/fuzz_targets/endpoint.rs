//! Addresses and names from flags: what is read prints as what reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::config::{ControlAddress, Sticky, Upstream};
use proxy::wire::Overrides;

fuzz_target!(|text: &str| {
    if let Ok(upstream) = text.parse::<Upstream>() {
        assert!(!upstream.host.is_empty());
        assert_eq!(upstream.to_string().parse::<Upstream>().ok().as_ref(), Some(&upstream), "{upstream}");
    }
    let _ = text.parse::<Sticky>();
    let _ = text.parse::<ControlAddress>();
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let _ = Overrides::new([(name.to_owned(), value.to_owned())]);
});
