//! Fuzzes the evaluation of CEL expressions on events. The checks are in the `proof` crate, so that
//! its tests run the same code.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| stepladder_proof::hostile::cel(input));
