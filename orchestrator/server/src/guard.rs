//! What is checked before a handler receives a request: secrets, the origin, the parameters and the
//! body, and the load of the server.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod inputs;
pub(crate) mod intake;
pub(crate) mod origin;
