//! What the tests and their programs share: the simulated worlds, the judges compared, what hostile peers send, and real
//! servers.

pub mod clock;
pub mod hostile;
pub mod judged;
pub mod servers;
pub mod sim;
