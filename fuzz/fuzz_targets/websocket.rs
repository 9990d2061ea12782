//! The body is `iothub_fuzz::websocket::run`; the workspace's own tests run the corpus through it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| iothub_fuzz::websocket::run(input));
