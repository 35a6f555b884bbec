//! Policy files: no text makes the reader panic, every problem lies in the text, and what is accepted is sound enough to
//! be journalled and read back.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match cutover::policy::read(text, "fuzz.toml") {
        Ok(policy) => {
            let journalled = serde_json::to_string(&policy).expect("a policy can be journalled");
            let read: cutover::Policy = serde_json::from_str(&journalled).expect("a journalled policy can be read");
            assert_eq!(read, policy);
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a problem");
            for problem in problems {
                assert!(problem.span.start <= problem.span.end && problem.line > 0 && problem.column > 0);
            }
        }
    }
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
    cutover::policy::parse_variable(&keys, value, "TIDEGATE_POLICY");
});
