//! What the decisions must be. The facts of each concern are in `facts`, those of weights that someone else changed in
//! `foreign`, those of captured traffic in `capture`, of settings beside the weights in `levers`, the whole way of a healthy cutover in `walk`, every phase with every event in `transitions`, and chance in
//! `chance`.

mod capture;
mod chance;
mod endings;
mod facts;
mod fast;
mod foreign;
mod gates;
mod levers;
mod stage;
mod transitions;
mod walk;
