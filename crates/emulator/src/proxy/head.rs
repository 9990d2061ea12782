//! The head of a request to a proxy.

/// The longest head.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: Option<String>,
    pub(super) authorization: Option<String>,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A head of this length.
    Whole(Head, usize),
    /// The beginning of one.
    Partial,
    /// None; the status to answer with.
    Bad(u16),
}

pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => {
            let header = |name: &str| {
                let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
                Some(String::from_utf8_lossy(header.value).into_owned())
            };
            let head = Head {
                method: request.method.unwrap_or_default().to_owned(),
                target: request.path.unwrap_or_default().to_owned(),
                host: header("host"),
                authorization: header("proxy-authorization"),
            };
            Parsed::Whole(head, length)
        }
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => Parsed::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Parsed::Bad(431),
        Err(_) => Parsed::Bad(400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECT: &[u8] =
        b"CONNECT hub.localtest:443 HTTP/1.1\r\nHost: hub.localtest:443\r\nPROXY-Authorization: Basic eA==\r\n\r\n";

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let (most, _) = CONNECT.split_at(CONNECT.len() - 1);
        assert_eq!(parse(most), Parsed::Partial);
        let behind = [CONNECT, b"behind"].concat();
        let Parsed::Whole(head, length) = parse(&behind) else { panic!("it is whole") };
        assert_eq!(length, CONNECT.len());
        assert_eq!((head.method.as_str(), head.target.as_str()), ("CONNECT", "hub.localtest:443"));
        assert_eq!(head.host.as_deref(), Some("hub.localtest:443"));
        assert_eq!(head.authorization.as_deref(), Some("Basic eA=="));
    }

    #[test]
    fn what_is_no_head_or_a_huge_one_is_bad() {
        assert_eq!(parse(b"\x16\x03\x01\x02\x00"), Parsed::Bad(400));
        let endless = [b"CONNECT a:1 HTTP/1.1\r\nX: ".as_slice(), &[b'x'; MAX_HEAD]].concat();
        assert_eq!(parse(&endless), Parsed::Bad(431));
        let many = [b"CONNECT a:1 HTTP/1.1\r\n".as_slice(), &b"X: y\r\n".repeat(65), b"\r\n"].concat();
        assert_eq!(parse(&many), Parsed::Bad(431));
    }
}
