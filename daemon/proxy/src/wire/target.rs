//! Targets and authorities.
