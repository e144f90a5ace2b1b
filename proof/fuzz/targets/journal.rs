//! The journal decoder. What is done with the bytes is in the proof itself, so that its tests do the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| stepladder_proof::hostile::journal(input));
