//! AMQP by hand: the very encoder and decoder of the emulator's contract tests, which share no code with the emulator.

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../crates/emulator/tests/contract_amqp/support/frame.rs"]
pub(crate) mod frame;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../crates/emulator/tests/contract_amqp/support/value.rs"]
pub(crate) mod value;
