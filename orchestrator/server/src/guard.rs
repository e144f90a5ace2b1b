//! What a request must pass before a handler sees it: secrets, its origin, what its route takes,
//! and how much the server takes in at a time.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod inputs;
pub(crate) mod intake;
pub(crate) mod origin;
