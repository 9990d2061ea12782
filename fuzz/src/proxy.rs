//! A proxy's answer: a tunnel is only where a 2xx head is and nothing behind it, every refusal can be printed, and it does
//! not matter in which pieces it comes.

use std::task::Poll;

use iothub_core::{ConnectionErrorKind, Proxy, ProxyError};
use iothub_net::memory;

use super::script::Script;

const PASSWORD: &str = "pass word";

/// Runs one answer: its first byte says how it is cut, and by a bit of it whether credentials were sent.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let cuts = script.number();
    let answer = script.rest();
    let mut proxy = Proxy::new("proxy.example", 3128);
    if cuts & 1 == 1 {
        proxy = proxy.with_credentials("user", PASSWORD);
    }
    let whole = ask(&proxy, &[answer]);
    match &whole {
        Poll::Ready(Ok(())) => is_yes(answer),
        Poll::Ready(Err(error)) => is_told(error),
        Poll::Pending => assert!(answer.len() <= 16 * 1024, "it listens for ever"),
    }
    let cut: Vec<&[u8]> = answer.chunks(1 + cuts / 2).collect();
    let in_pieces = ask(&proxy, &cut);
    if let (Poll::Ready(whole), Poll::Ready(in_pieces)) = (&whole, &in_pieces)
        && !is_followed(whole)
        && !is_followed(in_pieces)
    {
        assert_eq!(whole, in_pieces, "it depends on the cuts");
    }
}

fn ask(proxy: &Proxy, pieces: &[&[u8]]) -> Poll<Result<(), ProxyError>> {
    memory::proxy_answer(proxy, pieces).expect("a good proxy")
}

/// How much follows an answer is known only as far as it has come.
fn is_followed(outcome: &Result<(), ProxyError>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(ProxyError::NotHttp { detail }) => detail.ends_with("follow its answer"),
        Err(_) => false,
    }
}

/// `HTTP/1.x 2xx`, lines, an empty line, the end; empty lines may come before it.
fn is_yes(answer: &[u8]) {
    let start = answer.iter().position(|byte| !b"\r\n".contains(byte)).expect("not only empty lines");
    let answer = &answer[start..];
    assert!(answer.starts_with(b"HTTP/1.") && answer[8] == b' ' && answer[9] == b'2', "{:?}", answer.escape_ascii());
    assert!(answer[10].is_ascii_digit() && answer[11].is_ascii_digit(), "{:?}", answer.escape_ascii());
    let lines: Vec<&[u8]> = answer.split(|byte| *byte == b'\n').collect();
    let [.., last, behind] = &lines[..] else { panic!("{:?}", answer.escape_ascii()) };
    assert!(matches!(last, [] | [b'\r']) && behind.is_empty(), "{:?}", answer.escape_ascii());
}

/// The error names the proxy, can stand in a log, and holds no secret.
fn is_told(error: &ProxyError) {
    let kind = ConnectionErrorKind::Proxy { proxy: "proxy.example:3128".to_owned(), error: error.clone() };
    for text in [kind.to_string(), format!("{kind:?}")] {
        assert!(text.contains("proxy.example:3128"));
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.len() < 500, "{text}");
        assert!(!text.contains(PASSWORD), "{text}");
    }
}
