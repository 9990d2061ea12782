//! What a transport does not have, as a file says it: each behaviour with a reason, and where that is explained.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::suite::Behaviour;

/// The behaviours that do not apply to a transport.
///
/// They are kept in a TOML file, which several transports may share:
///
/// ```toml
/// [[absent]]
/// transports = ["mine"]
/// reason = "it has no packets, so none can be halved"
/// section = "README.md, How it works"
/// behaviours = ["c2d::half_a_message_is_none_and_the_whole_comes_after_the_reconnect"]
/// ```
#[derive(Clone, Debug, Default)]
pub struct Absent {
    rows: BTreeMap<String, Row>,
}

/// A row of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Row {
    /// The transports that it is about.
    pub transports: Vec<String>,
    /// Why the behaviours do not apply to them.
    pub reason: String,
    /// Where that is explained: a file and the heading of a section, with a comma between.
    pub section: String,
    /// The full names of the behaviours.
    pub behaviours: Vec<String>,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AbsentError {
    /// It is no TOML, or has other keys.
    #[error("the file of absent behaviours cannot be read: {0}")]
    Unreadable(String),
    /// A row without reason, section, transports or behaviours.
    #[error("a row has no {what}: {row}")]
    Empty {
        /// What is missing.
        what: &'static str,
        /// The row.
        row: String,
    },
    /// There is no behaviour of this name.
    #[error("`{0}` is named as absent, and there is no such behaviour")]
    Unknown(String),
    /// A behaviour is named twice for one transport.
    #[error("`{behaviour}` is named twice for {transport}")]
    Twice {
        /// The behaviour.
        behaviour: String,
        /// The transport.
        transport: String,
    },
}

impl Absent {
    /// What the file says of one transport. All of the file is checked.
    ///
    /// # Errors
    ///
    /// [`AbsentError`] names what is wrong with the file.
    pub fn of(transport: &str, file: &str) -> Result<Self, AbsentError> {
        let mut rows = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for row in Self::rows(file)? {
            for behaviour in &row.behaviours {
                if Behaviour::named(behaviour).is_none() {
                    return Err(AbsentError::Unknown(behaviour.clone()));
                }
                for named in &row.transports {
                    if !seen.insert((named.clone(), behaviour.clone())) {
                        return Err(AbsentError::Twice { behaviour: behaviour.clone(), transport: named.clone() });
                    }
                }
                if row.transports.iter().any(|named| named == transport) {
                    rows.insert(behaviour.clone(), row.clone());
                }
            }
        }
        Ok(Self { rows })
    }

    /// All rows of the file.
    ///
    /// # Errors
    ///
    /// [`AbsentError`] if it is no TOML, or a row is incomplete.
    pub fn rows(file: &str) -> Result<Vec<Row>, AbsentError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default)]
            absent: Vec<Row>,
        }
        let file: File = toml::from_str(file).map_err(|error| AbsentError::Unreadable(error.to_string()))?;
        for row in &file.absent {
            let parts = [
                ("reason", row.reason.trim().is_empty()),
                ("section", row.section.trim().is_empty()),
                ("transports", row.transports.is_empty()),
                ("behaviours", row.behaviours.is_empty()),
            ];
            if let Some((what, _)) = parts.iter().find(|(_, is_empty)| *is_empty) {
                return Err(AbsentError::Empty { what, row: format!("{row:?}") });
            }
        }
        Ok(file.absent)
    }

    /// The row that says why the behaviour of this name does not apply; `None` if it does.
    #[must_use]
    pub fn why(&self, behaviour: &str) -> Option<&Row> {
        self.rows.get(behaviour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "telemetry::an_empty_payload_arrives";

    fn row(behaviours: &str, reason: &str, section: &str) -> String {
        format!(
            "[[absent]]\ntransports = [\"one\", \"two\"]\nreason = \"{reason}\"\nsection = \"{section}\"\nbehaviours = [{behaviours}]\n"
        )
    }

    #[test]
    fn a_row_is_for_the_transports_that_it_names() {
        let file = row(&format!("\"{NAME}\""), "because", "there");
        let one = Absent::of("one", &file).unwrap();
        assert_eq!(one.why(NAME).map(|row| row.reason.as_str()), Some("because"));
        assert!(Absent::of("three", &file).unwrap().why(NAME).is_none());
        assert!(Absent::of("one", "").unwrap().why(NAME).is_none());
    }

    #[test]
    fn a_file_that_is_not_in_order_is_an_error_for_every_transport() {
        let quoted = format!("\"{NAME}\"");
        let wrong = |file: String| Absent::of("three", &file).unwrap_err();
        assert!(matches!(wrong(row(&quoted, " ", "there")), AbsentError::Empty { what: "reason", .. }));
        assert!(matches!(wrong(row(&quoted, "because", "")), AbsentError::Empty { what: "section", .. }));
        assert!(matches!(wrong(row("", "because", "there")), AbsentError::Empty { what: "behaviours", .. }));
        assert_eq!(wrong(row("\"no::such\"", "because", "there")), AbsentError::Unknown("no::such".to_owned()));
        let twice = row(&quoted, "because", "there").repeat(2);
        assert!(matches!(wrong(twice), AbsentError::Twice { transport, .. } if transport == "one"));
        assert!(matches!(wrong("[[absent]]\nreason = 1".to_owned()), AbsentError::Unreadable(_)));
    }
}
