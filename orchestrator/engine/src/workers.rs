//! Workers: pull wakes from the queue and let the engine hop, many at a time.
