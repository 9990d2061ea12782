//! What must hold for whatever input is made up, ten thousand inputs a test.
//!
//! An input that failed is made small and kept in `tests/proptest-regressions`, from where it is tried first ever after:
//! commit it with the repair.

#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as the tests do")]

mod connection_strings;
mod options;
mod pnp;

use proptest::string::{RegexGeneratorStrategy, string_regex};
use proptest::test_runner::Config;

fn ten_thousand() -> Config {
    Config::with_cases(10_000)
}

/// Texts that match. (A bare pattern is a strategy too, but one that is parsed anew for every text.)
fn text(pattern: &str) -> RegexGeneratorStrategy<String> {
    string_regex(pattern).unwrap()
}
