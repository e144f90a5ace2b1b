//! Cron lines and their ticks. What is done with the bytes is in the proof itself, so that its tests do the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| stepladder_proof::hostile::cron(input));
