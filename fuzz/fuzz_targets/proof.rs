//! Proofs of signed calls, near to good ones.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::fuzz::proof(data));
