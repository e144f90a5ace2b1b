//! Ingest: events in, runs out.
