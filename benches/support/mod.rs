//! What the benchmarks share: the sink that they talk to, the clients that they compare, and the figures.

#![allow(dead_code, reason = "each benchmark uses its part")]

pub(crate) mod figures;
pub(crate) mod ours;
pub(crate) mod rival;
pub(crate) mod sink;
