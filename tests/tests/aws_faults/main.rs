//! Everything that can go wrong between the engine and AWS.
