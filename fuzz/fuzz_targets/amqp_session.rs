//! The body is `iothub_fuzz::amqp_session::run`; the workspace's own tests run the corpus through it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| iothub_fuzz::amqp_session::run(input));
