//! Fuzzes cron expressions and their ticks. The checks are in the `proof` crate, so that its tests
//! run the same code.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| stepladder_proof::hostile::cron(input));
