//! One suite of checks for every adapter.
