//! The end of a proxy that captures.
#[path = "../listener/ending.rs"]
mod plain;
