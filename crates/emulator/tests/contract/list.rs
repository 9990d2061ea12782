//! `contract.txt` and the tests must say the same.

use crate::support::list::{Contract, check};

#[test]
fn every_number_has_a_test() {
    check(&Contract { list: "contract.txt", tests: "contract", prefix: "m_e", numbers: 1..=50, most_later: 2 });
}
