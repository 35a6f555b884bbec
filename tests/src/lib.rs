//! What the tests and their programs share: the simulated worlds, and what hostile peers send.

pub mod clock;
pub mod hostile;
pub mod sim;
