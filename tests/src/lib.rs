//! What the tests and their programs share: the simulated worlds, the judges compared, what hostile peers send, real
//! servers, and roads to them that can be made bad.

pub mod clock;
pub mod hostile;
pub mod judged;
pub mod relay;
pub mod servers;
pub mod sim;
