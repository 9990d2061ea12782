//! A contract's list and its tests must say the same: every number has its test, every test its number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// A list, and the tests that it names.
pub(crate) struct Contract {
    /// The list's file, in the package's folder.
    pub(crate) list: &'static str,
    /// The folder of the tests, below `tests/`.
    pub(crate) tests: &'static str,
    /// What the names of tests begin with, before the number: `m_e`.
    pub(crate) prefix: &'static str,
    /// The numbers that this version of the emulator keeps.
    pub(crate) numbers: RangeInclusive<u32>,
    /// How many numbers may wait, each with its reason.
    pub(crate) most_later: usize,
}

enum Proof {
    Tests(Vec<String>),
    Later,
}

/// Fails where list and tests disagree.
pub(crate) fn check(contract: &Contract) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join(contract.list)).unwrap();
    let tests = tests_in(&root.join("tests").join(contract.tests));
    let problems = problems(contract, &list, &tests);
    assert!(problems.is_empty(), "{} and the tests disagree:\n{}", contract.list, problems.join("\n"));
}

#[test]
fn a_disagreement_between_list_and_tests_is_found() {
    let contract = Contract { list: "", tests: "", prefix: "m_e", numbers: 1..=50, most_later: 2 };
    let tests: BTreeSet<String> = ["m_e01_listed".to_owned(), "m_e01_unlisted".to_owned()].into();
    let list = "# a comment\n\nE01 | first | m_e01_listed, m_e01_missing\nE02 | second | later:\nE99 | unknown | m_e01_listed\nnonsense";
    let found = problems(&contract, list, &tests).join("\n");
    for expected in [
        "E01 names m_e01_missing",
        "E02 says later without a reason",
        "E99 names m_e01_listed, which belongs to another number",
        "no line for E03",
        "m_e01_unlisted is not listed",
        "\"nonsense\" is no line",
    ] {
        assert!(found.contains(expected), "{expected:?} is not among:\n{found}");
    }
    let all_later: String =
        contract.numbers.clone().map(|number| format!("E{number:02} | s | later: not yet\n")).collect();
    let found = problems(&contract, &all_later, &BTreeSet::new()).join("\n");
    assert!(found.contains("50 numbers say later"), "{found}");
}

/// What is wrong, one line each.
fn problems(contract: &Contract, list: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let number_of = |test: &str| number_of(test, contract.prefix);
    let mut problems = Vec::new();
    let lines = lines(list, &mut problems);
    let mut listed = BTreeSet::new();
    let mut later = 0;
    for (number, proof) in &lines {
        match proof {
            Proof::Later => later += 1,
            Proof::Tests(names) => {
                for name in names {
                    if !tests.contains(name) {
                        problems.push(format!("E{number:02} names {name}, and there is no such test"));
                    } else if number_of(name) != Some(*number) {
                        problems.push(format!("E{number:02} names {name}, which belongs to another number"));
                    }
                    listed.insert(name.clone());
                }
            }
        }
    }
    for number in contract.numbers.clone() {
        if !lines.contains_key(&number) {
            problems.push(format!("there is no line for E{number:02}"));
        }
    }
    for test in tests.iter().filter(|test| number_of(test).is_some()) {
        if !listed.contains(test) {
            problems.push(format!("{test} is not listed"));
        }
    }
    if later > contract.most_later {
        problems.push(format!("{later} numbers say later, and {} may", contract.most_later));
    }
    problems
}

fn lines(list: &str, problems: &mut Vec<String>) -> BTreeMap<u32, Proof> {
    let mut lines = BTreeMap::new();
    for line in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [number, summary, proof] = fields[..] else {
            problems.push(format!("{line:?} is no line of number | summary | tests"));
            continue;
        };
        let Some(number) = number.strip_prefix('E').and_then(|digits| digits.parse().ok()) else {
            problems.push(format!("{number:?} is no number"));
            continue;
        };
        if summary.is_empty() {
            problems.push(format!("E{number:02} has no summary"));
        }
        let proof = if let Some(reason) = proof.strip_prefix("later:") {
            if reason.trim().is_empty() {
                problems.push(format!("E{number:02} says later without a reason"));
            }
            Proof::Later
        } else {
            Proof::Tests(proof.split(',').map(|name| name.trim().to_owned()).collect())
        };
        if lines.insert(number, proof).is_some() {
            problems.push(format!("there are two lines for E{number:02}"));
        }
    }
    lines
}

/// The number in a test's name: 5 for `m_e05_session_present`.
fn number_of(test: &str, prefix: &str) -> Option<u32> {
    let (digits, _) = test.strip_prefix(prefix)?.split_once('_')?;
    digits.parse().ok()
}

/// The names of all test functions in the source files of a folder.
fn tests_in(folder: &Path) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let source = fs::read_to_string(path).unwrap();
        let mut is_test = false;
        for line in source.lines() {
            if line == "#[test]" {
                is_test = true;
            } else if let Some(rest) = line.strip_prefix("fn ") {
                if is_test {
                    let (name, _) = rest.split_once('(').unwrap();
                    tests.insert(name.to_owned());
                }
                is_test = false;
            }
        }
    }
    tests
}
