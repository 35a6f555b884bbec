//! Free ports for programs that cannot be asked to take any.

use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range that the kernel hands to outgoing connections (32768 and up), of which a load test makes thousands.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port on 127.0.0.1 that nobody listens on, and that no other caller in this process was given.
///
/// Another process may take it before the caller does: the caller's server then says so and the test fails by name.
///
/// # Panics
/// If none of the range is free.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Processes start far apart, so that tests that run side by side do not meet.
    let start = (process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    (0..COUNT)
        .map(|_| FIRST + (start.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed))) % COUNT)
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("one of 20,000 ports is free")
}
