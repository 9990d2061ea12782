//! The body is `iothub_fuzz::emulator_amqp::run`; the workspace's own tests run the corpus through it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| iothub_fuzz::emulator_amqp::run(input));
