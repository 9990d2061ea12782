//! `contract-amqp.txt` and the tests must say the same.

use crate::support::list::{Contract, check};

#[test]
fn every_number_has_a_test() {
    check(&Contract {
        list: "contract-amqp.txt",
        tests: "contract_amqp",
        prefix: "a_e",
        numbers: 1..=45,
        most_later: 2,
    });
}
