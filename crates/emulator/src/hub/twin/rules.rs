//! What a twin may hold (docs/hub-over-mqtt.md 4.3, and the hub's documentation of twins): names, values, depth, size.

use serde_json::Value;

use super::Object;

/// The longest name, in bytes.
const MAX_KEY: usize = 1024;
/// The longest text, in bytes.
const MAX_TEXT: usize = 4096;
/// How many objects or arrays may be inside each other, below the section itself.
const MAX_DEPTH: usize = 10;
/// Integers are at most this far from zero; one less upwards.
const MAX_INTEGER: i64 = 4_503_599_627_370_496;
/// What a number and a boolean count, in bytes.
const NUMBER_SIZE: usize = 8;
const BOOLEAN_SIZE: usize = 4;

/// The patch, or what is wrong with it.
pub(super) fn checked(patch: Value, arrays: bool) -> Result<Object, String> {
    let Value::Object(patch) = patch else { return Err("the patch is not a JSON object".to_owned()) };
    Checker { arrays }.object(&patch, 0)?;
    Ok(patch)
}

/// Refuses a change that makes the section larger than it may be. One that makes it smaller is welcome however large it is.
pub(super) fn check_size(before: &Object, after: &Object, limit: usize) -> Result<(), String> {
    let size = size_of_object(after);
    if size > limit && size > size_of_object(before) {
        return Err(format!("the section would be {size} bytes; {limit} are allowed"));
    }
    Ok(())
}

struct Checker {
    arrays: bool,
}

impl Checker {
    fn object(&self, object: &Object, depth: usize) -> Result<(), String> {
        object.iter().try_for_each(|(key, value)| {
            check_key(key)?;
            self.value(key, value, depth)
        })
    }

    fn value(&self, key: &str, value: &Value, depth: usize) -> Result<(), String> {
        let bad = |problem: String| Err(format!("the value of '{}' {problem}", shown(key)));
        match value {
            Value::Object(_) | Value::Array(_) if depth >= MAX_DEPTH => {
                bad(format!("is nested deeper than {MAX_DEPTH}"))
            }
            Value::Object(object) => self.object(object, depth + 1),
            Value::Array(_) if !self.arrays => bad("is an array".to_owned()),
            Value::Array(values) => values.iter().try_for_each(|value| self.value(key, value, depth + 1)),
            Value::String(text) if text.len() > MAX_TEXT => {
                bad(format!("has {} bytes; {MAX_TEXT} are allowed", text.len()))
            }
            Value::Number(number) if !integer_fits(number) => {
                bad(format!("is {number}; integers from -{MAX_INTEGER} to {} are allowed", MAX_INTEGER - 1))
            }
            _ => Ok(()),
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let problem = if key.is_empty() {
        "is empty"
    } else if key.len() > MAX_KEY {
        "is longer than 1024 bytes"
    } else if key.contains(['.', '$', ' ']) {
        "has '.', '$' or a space"
    } else if key.contains(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(format!("the name '{}' {problem}", shown(key)))
}

/// Fractions and numbers beyond 64 bits are not integers here.
fn integer_fits(number: &serde_json::Number) -> bool {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => (-MAX_INTEGER..MAX_INTEGER).contains(&number),
        (None, Some(_)) => false,
        (None, None) => true,
    }
}

pub(super) fn size_of_object(object: &Object) -> usize {
    object.iter().map(|(key, value)| size_of_text(key) + size_of(value)).sum()
}

fn size_of(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => BOOLEAN_SIZE,
        Value::Number(_) => NUMBER_SIZE,
        Value::String(text) => size_of_text(text),
        Value::Array(values) => values.iter().map(size_of).sum(),
        Value::Object(object) => size_of_object(object),
    }
}

/// Control characters do not count.
fn size_of_text(text: &str) -> usize {
    text.chars().filter(|c| !c.is_control()).map(char::len_utf8).sum()
}

/// A name in an error: its beginning, readable.
fn shown(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_debug).collect()
}
