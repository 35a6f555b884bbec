//! `tidegate demo`: a whole cutover on one machine, with clusters and clients of its own.
//!
//! Nothing in here is known to the core, the judge, the proxy or the controller: they run as they run in production, on
//! a policy file like any other. What is made up is only what stands around them: two clusters ([`upstream`], each a
//! process of its own), the clients ([`load`]) and the way the target breaks ([`fault`]); [`stage`] puts them together. With
//! `--aws`, in `cloud`, an AWS on loopback stands there in place of our own proxy and clusters.

#[cfg(feature = "lab")]
mod cloud;
pub mod corpus;
pub mod fault;
pub mod load;
pub mod stage;
pub mod upstream;
