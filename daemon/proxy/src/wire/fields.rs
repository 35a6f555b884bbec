//! Fields by name.
