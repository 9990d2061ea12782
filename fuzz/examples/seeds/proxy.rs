//! What a proxy answers. The first byte says how the answer is cut; odd, there were credentials.

pub(crate) const SEEDS: &[(&str, &str)] = &[
    ("yes", "\\x00HTTP/1.1 200 Connection established\\x0D\\x0A\\x0D\\x0A"),
    ("yes-byte-by-byte", "\\x01HTTP/1.0 200 OK\\x0D\\x0AVia: x\\x0D\\x0A\\x0D\\x0A"),
    ("yes-with-another-2xx", "\\x06HTTP/1.1 204 No Content\\x0D\\x0A\\x0D\\x0A"),
    ("yes-without-a-reason", "\\x02HTTP/1.1 200\\x0D\\x0A\\x0D\\x0A"),
    ("yes-with-bare-newlines", "\\x02HTTP/1.1 200 OK\\x0AA: b\\x0A\\x0A"),
    ("yes-after-empty-lines", "\\x02\\x0D\\x0A\\x0AHTTP/1.1 200 OK\\x0D\\x0A\\x0D\\x0A"),
    ("yes-with-a-length", "\\x02HTTP/1.1 200 OK\\x0D\\x0AContent-Length: 5\\x0D\\x0A\\x0D\\x0A"),
    ("yes-and-more", "\\xFEHTTP/1.1 200 OK\\x0D\\x0A\\x0D\\x0Ahello"),
    ("half-of-a-yes", "\\x04HTTP/1.1 200 OK\\x0D\\x0A\\x0D"),
    (
        "credentials-wanted",
        "\\x08HTTP/1.1 407 Proxy Authentication Required\\x0D\\x0AProxy-Authenticate: Basic realm=\\x22x\\x22\\x0D\\x0A\\x0D\\x0A",
    ),
    (
        "credentials-refused",
        "\\x09HTTP/1.1 407 No\\x0D\\x0AProxy-Authenticate: Basic realm=\\x22x\\x22\\x0D\\x0A\\x0D\\x0A",
    ),
    (
        "credentials-of-another-kind",
        "\\x09HTTP/1.1 407 No\\x0D\\x0Aproxy-authenticate: Negotiate\\x0D\\x0APROXY-AUTHENTICATE: NTLM TlRM\\x0D\\x0A\\x0D\\x0A",
    ),
    ("credentials-of-no-kind", "\\x09HTTP/1.1 407 No\\x0D\\x0AProxy-Authenticate:\\x0D\\x0A\\x0D\\x0A"),
    ("credentials-not-utf-8", "\\x09HTTP/1.1 407 No\\x0D\\x0AProxy-Authenticate: \\xFF\\xC3\\x0D\\x0A\\x0D\\x0A"),
    ("refused", "\\x02HTTP/1.1 403 Forbidden\\x0D\\x0A\\x0D\\x0A<html>no</html>"),
    (
        "refused-with-a-long-reason",
        "\\x02HTTP/1.1 502 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\x0D\\x0A\\x0D\\x0A",
    ),
    ("refused-with-a-reason-not-ascii", "\\x02HTTP/1.1 503 n\\xC3\\xB6\\x0D\\x0A\\x0D\\x0A"),
    ("switching", "\\x02HTTP/1.1 101 Switching Protocols\\x0D\\x0A\\x0D\\x0A"),
    ("continue-first", "\\x02HTTP/1.1 100 Continue\\x0D\\x0A\\x0D\\x0AHTTP/1.1 200 OK\\x0D\\x0A\\x0D\\x0A"),
    ("http-2", "\\x02HTTP/2 200\\x0D\\x0A\\x0D\\x0A"),
    ("http-0-9", "\\x02<html>hello</html>"),
    ("ssh", "\\x02SSH-2.0-OpenSSH_9.2\\x0D\\x0A"),
    ("tls", "\\x02\\x15\\x03\\x01\\x00\\x02\\x02\\x28"),
    ("status-of-two-digits", "\\x02HTTP/1.1 20 OK\\x0D\\x0A\\x0D\\x0A"),
    ("header-without-a-colon", "\\x02HTTP/1.1 200 OK\\x0D\\x0Anonsense\\x0D\\x0A\\x0D\\x0A"),
    ("header-with-a-nul", "\\x02HTTP/1.1 200 OK\\x0D\\x0AA: \\x00\\x0D\\x0A\\x0D\\x0A"),
    ("empty", "\\x00"),
    ("empty-lines-only", "\\x02\\x0D\\x0A\\x0D\\x0A\\x0D\\x0A"),
];
