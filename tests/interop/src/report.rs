//! Counts checks and tells each as it is made.

use std::process::ExitCode;

use serde_json::Value;

/// The checks so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Tells something that is no check.
    pub(crate) fn note(&self, text: &str) {
        println!("     {text}");
    }

    /// Counts and tells a check. An error says what is missing, with the values that were found.
    pub(crate) fn check(&mut self, what: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {what}");
            }
            Err(problem) => {
                self.failed += 1;
                println!("FAIL {what}");
                for line in problem.lines() {
                    println!("         {line}");
                }
            }
        }
    }

    /// The number of failed checks.
    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    /// Tells the sum. A run without any check is no success.
    pub(crate) fn close(self, name: &str) -> ExitCode {
        println!("{name}: {} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A check that two values are the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, expected {expected:?}")) }
}

/// The same of JSON, which is told as such.
pub(crate) fn same_json(what: &str, found: &Value, expected: &Value) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found}, expected {expected}")) }
}
