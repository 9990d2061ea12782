//! Writes the seeds of the corpora: sessions as the specification and the official SDKs have them, and the mistakes that a
//! peer can make, each in a file whose name says what it is. What a fuzzer found lies beside them under other names.
//!
//! `cargo run --example seeds`, in the folder `fuzz`.
//!
//! Each target's seeds are a module: name and text. In a script a letter is a step, a number one byte, and `<text>` a length
//! and the text; in every text `\xNN` is a byte.

mod amqp_session;
mod connection_string;
mod emulator_amqp;
mod emulator_mqtt;
mod mqtt_session;
mod proxy;
mod topics;
mod twin;
mod websocket;

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    write(&corpora.join("mqtt_session"), mqtt_session::SEEDS, script)?;
    write(&corpora.join("twin"), twin::SEEDS, script)?;
    write(&corpora.join("emulator_mqtt"), emulator_mqtt::SEEDS, script)?;
    write(&corpora.join("websocket"), websocket::SEEDS, script)?;
    write(&corpora.join("proxy"), proxy::SEEDS, unescaped)?;
    write(&corpora.join("emulator_amqp"), emulator_amqp::SEEDS, script)?;
    write(&corpora.join("amqp_session"), amqp_session::SEEDS, script)?;
    write(&corpora.join("connection_string"), connection_string::SEEDS, unescaped)?;
    // A letter, and what stands behind the space.
    write(&corpora.join("topics"), topics::SEEDS, |text| unescaped(&text.replacen(' ', "", 1)))
}

fn write(folder: &Path, seeds: &[(&str, &str)], encode: impl Fn(&str) -> Vec<u8>) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    seeds.iter().try_for_each(|(name, text)| fs::write(folder.join(name), encode(text)))
}

/// A script as bytes.
fn script(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '<' => end_of_text(rest).expect("a `>`"),
            _ => rest.find(' ').unwrap_or(rest.len()),
        };
        let (word, behind) = rest.split_at(end);
        match first {
            '<' => {
                let text = unescaped(&word[1..word.len() - 1]);
                bytes.push(u8::try_from(text.len()).expect("a text of at most 255 bytes"));
                bytes.extend(text);
            }
            '0'..='9' => bytes.push(word.parse().expect("a number of one byte")),
            _ => bytes.extend(word.bytes()),
        }
        rest = behind.trim_start();
    }
    bytes
}

/// Behind the `>` that a space or the end follows.
fn end_of_text(text: &str) -> Option<usize> {
    text.find("> ").map(|at| at + 1).or_else(|| text.ends_with('>').then_some(text.len()))
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x") {
        bytes.extend(before.bytes());
        bytes.push(u8::from_str_radix(&behind[..2], 16).expect("two hex digits"));
        rest = &behind[2..];
    }
    bytes.extend(rest.bytes());
    bytes
}
