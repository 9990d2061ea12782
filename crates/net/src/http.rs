//! The head of an HTTP/1.1 answer, read piece by piece and bounded: what a proxy and the upgrade to a WebSocket begin
//! with.

use std::io::{self, Read};
use std::task::Poll;

/// How long a head may be; proxies that explain themselves do so in the body.
const MAX_HEAD: usize = 16 * 1024;

/// So far a beginning is looked at byte by byte, because it may show that this is no HTTP at all.
const BEGINNING: usize = 32;

/// How many header lines it may have.
const MAX_HEADERS: usize = 64;

/// How much of a text of the other side is shown in errors.
const MAX_SHOWN: usize = 80;

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The words beside the status, as they can be shown.
    pub(crate) reason: String,
    /// Names and values in their order; a value that is not UTF-8 has replacement characters in it.
    headers: Vec<(String, String)>,
}

impl Answer {
    /// The values of a header, a line each.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The elements of a header whose value is a list, over all its lines.
    pub(crate) fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values(name).flat_map(|value| value.split(',')).map(str::trim).filter(|element| !element.is_empty())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The connection failed.
    Io(io::Error),
    /// It ended in the middle.
    Closed,
    /// This is not HTTP, or too much of it.
    Malformed(String),
}

/// Reads one head.
#[derive(Default)]
pub(crate) struct HeadReader {
    received: Vec<u8>,
}

impl HeadReader {
    /// Reads until the head is complete or nothing more comes; with it come the bytes that were read behind it.
    pub(crate) fn poll(&mut self, from: &mut impl Read) -> Poll<Result<(Answer, Vec<u8>), HeadError>> {
        let mut chunk = [0; 1024];
        loop {
            let chunk = match from.read(&mut chunk) {
                Ok(0) => return Poll::Ready(Err(HeadError::Closed)),
                Ok(count) => &chunk[..count],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Poll::Ready(Err(HeadError::Io(error))),
            };
            self.received.extend_from_slice(chunk);
            // A head ends with a line, and reading it anew for every byte would take its time.
            if (self.received.len() <= BEGINNING || chunk.contains(&b'\n'))
                && let Some(outcome) = self.parse()
            {
                return Poll::Ready(outcome);
            }
            if self.received.len() > MAX_HEAD {
                return Poll::Ready(Err(too_long()));
            }
        }
    }

    fn parse(&mut self) -> Option<Result<(Answer, Vec<u8>), HeadError>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(&self.received) {
            Ok(httparse::Status::Complete(length)) if length > MAX_HEAD => return Some(Err(too_long())),
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return None,
            Err(error) => return Some(Err(HeadError::Malformed(error.to_string()))),
        };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let answer = Answer {
            status: response.code.unwrap_or_default(),
            reason: shown(response.reason.unwrap_or_default()),
            headers: response.headers.iter().map(|line| (line.name.to_owned(), text(line.value))).collect(),
        };
        Some(Ok((answer, self.received.split_off(length))))
    }
}

fn too_long() -> HeadError {
    HeadError::Malformed(format!("its head is longer than {} KiB", MAX_HEAD / 1024))
}

/// A text of the other side as it can stand in an error: printable, and not long.
pub(crate) fn shown(text: &str) -> String {
    let printable = text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' });
    let mut shown: String = printable.clone().take(MAX_SHOWN).collect();
    if printable.count() > MAX_SHOWN {
        shown.push_str("...");
    }
    shown
}

/// Host and port as they stand in a request: an IPv6 address has brackets.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives each piece in one read, then nothing.
    struct Pieces<'a>(Vec<&'a [u8]>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.first_mut() {
                None => Err(io::ErrorKind::WouldBlock.into()),
                Some(piece) => {
                    let count = piece.read(buf)?;
                    if piece.is_empty() {
                        self.0.remove(0);
                    }
                    Ok(count)
                }
            }
        }
    }

    fn read(pieces: &[&[u8]]) -> Poll<Result<(Answer, Vec<u8>), HeadError>> {
        HeadReader::default().poll(&mut Pieces(pieces.to_vec()))
    }

    fn malformed(bytes: &[u8]) -> String {
        match read(&[bytes]) {
            Poll::Ready(Err(HeadError::Malformed(text))) => text,
            other => panic!("{other:?}"),
        }
    }

    const HEAD: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: keep-alive, Upgrade\r\nX: 1\r\nconnection: z\r\n\r\n";

    #[test]
    fn a_head_may_come_in_any_pieces_and_what_is_behind_it_is_kept() {
        let whole = [HEAD, b"frames"].concat();
        for split in 0..=whole.len() {
            let pieces: Vec<&[u8]> = [&whole[..split], &whole[split..]].into_iter().filter(|p| !p.is_empty()).collect();
            let mut reader = HeadReader::default();
            let mut from = Pieces(pieces);
            let Poll::Ready(Ok((answer, mut behind))) = reader.poll(&mut from) else { panic!("split at {split}") };
            from.0.iter().for_each(|piece| behind.extend_from_slice(piece));
            assert_eq!((answer.status, &*answer.reason, &*behind), (101, "Switching Protocols", &b"frames"[..]));
            assert_eq!(answer.list("Connection").collect::<Vec<_>>(), ["keep-alive", "Upgrade", "z"]);
            assert_eq!(answer.values("x").collect::<Vec<_>>(), ["1"]);
        }
        let bytes: Vec<&[u8]> = HEAD.chunks(1).collect();
        assert!(matches!(read(&bytes), Poll::Ready(Ok(_))));
        assert!(read(&bytes[..bytes.len() - 1]).is_pending());
    }

    #[test]
    fn what_is_no_http_is_recognised_at_its_first_bytes() {
        for bytes in [&b"\x15\x03\x01\x00\x02"[..], b"SSH-2.0-OpenSSH", b"HTTP/2 200", b"\x00"] {
            assert!(!malformed(bytes).is_empty());
            let alone: Vec<&[u8]> = bytes.chunks(1).collect();
            assert!(matches!(read(&alone), Poll::Ready(Err(HeadError::Malformed(_)))), "{bytes:?}");
        }
    }

    #[test]
    fn a_head_has_a_limit_in_bytes_and_in_lines() {
        let long = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; MAX_HEAD]].concat();
        assert_eq!(malformed(&long), "its head is longer than 16 KiB");
        let many = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: 1\r\n".repeat(MAX_HEADERS + 1)].concat();
        assert_eq!(malformed(&many), "too many headers");
    }

    #[test]
    fn a_text_of_the_other_side_is_shown_printable_and_short() {
        assert_eq!(shown("Not\u{7} f\u{f6}und\n"), "Not? f?und?");
        assert_eq!(shown(&"x".repeat(500)), format!("{}...", "x".repeat(80)));
    }

    #[test]
    fn an_ipv6_address_has_brackets_in_a_request() {
        assert_eq!(authority("::1", 443), "[::1]:443");
        assert_eq!(authority("hub.example", 443), "hub.example:443");
    }
}
