//! What n8n sends: any bytes, cut anywhere.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| worker::fuzz::lines(data));
