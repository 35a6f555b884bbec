//! What the tests and their programs share: the simulated worlds.

pub mod clock;
pub mod sim;
