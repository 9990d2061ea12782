use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::edge::scripted::{Scripted, lock};
use crate::{HttpError, HttpProvider};

const DATA: &[u8] = b"hub%2Fdevices%2Fd\n1700003600";

struct Bench {
    http: Scripted,
    signer: WorkloadSigner,
    now: Now,
}

impl Bench {
    fn at(uri: &str) -> Self {
        let http = Scripted::default();
        let daemon = Daemon::new(uri, "filter", "63 8").unwrap();
        let engine = http.engine(&Trust::Nobody, None).unwrap();
        let now = Now { mono: Instant::now(), wall: SystemTime::now().max(UNIX_EPOCH) };
        Self { signer: WorkloadSigner::new(daemon, engine), http, now }
    }

    fn new() -> Self {
        Self::at("unix:///run/workload.sock")
    }

    fn sign(&mut self) -> Poll<Result<Vec<u8>, SignError>> {
        self.signer.poll_sign(DATA, self.now, Waker::noop())
    }

    fn pends(&mut self) {
        assert_eq!(self.sign(), Poll::Pending);
    }

    /// Up to the signing request.
    fn trusted() -> Self {
        let mut bench = Self::new();
        bench.pends();
        bench.http.answers_with(0, 200, r#"{"certificate":"roots"}"#);
        bench.pends();
        bench
    }

    fn error(&mut self) -> String {
        match self.sign() {
            Poll::Ready(Err(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_trust_bundle_comes_before_the_signature() {
    let mut bench = Bench::new();
    bench.pends();
    let request = bench.http.request(0);
    assert_eq!(request.method, HttpMethod::Get);
    assert_eq!(request.url, "http://localhost/trust-bundle?api-version=2018-06-28");
    assert_eq!(request.socket, Some("/run/workload.sock".into()));
    assert_eq!(bench.signer.take_trust(), None);

    bench.http.answers_with(0, 200, r#"{"certificate":"roots"}"#);
    bench.pends();
    let request = bench.http.request(0);
    assert_eq!(request.method, HttpMethod::Post);
    assert_eq!(request.url, "http://localhost/modules/filter/genid/63%208/sign?api-version=2018-06-28");
    let body = std::str::from_utf8(&request.body).unwrap();
    let data = BASE64.encode(DATA);
    assert_eq!(body, format!(r#"{{"keyId":"primary","algo":"HMACSHA256","data":"{data}"}}"#));
    assert_eq!(request.headers[0].0, "Content-Type");
    assert_eq!(request.headers[0].1.expose(), "application/json; charset=utf-8");

    bench.http.answers_with(0, 200, r#"{"digest":"AQID"}"#);
    assert_eq!(bench.sign(), Poll::Ready(Ok(vec![1, 2, 3])));
    assert_eq!(bench.signer.take_trust(), Some(Trust::Pem("roots".to_owned())));
    assert_eq!(bench.signer.take_trust(), None);
}

#[test]
fn a_daemon_on_tcp_is_asked_there() {
    for (uri, base) in [
        ("http://127.0.0.1:15580", "http://127.0.0.1:15580"),
        ("http://edged:15580/", "http://edged:15580"),
        ("http://edged", "http://edged:80"),
        ("http://[::1]:15580", "http://[::1]:15580"),
    ] {
        let mut bench = Bench::at(uri);
        bench.pends();
        let request = bench.http.request(0);
        assert_eq!(request.url, format!("{base}/trust-bundle?api-version=2018-06-28"));
        assert_eq!(request.socket, None);
    }
}

#[test]
fn both_requests_together_have_25_seconds() {
    let mut bench = Bench::new();
    bench.pends();
    assert_eq!(lock(&bench.http.script(0)).under_way[0].time_limit(), TIME_LIMIT);
    bench.now = bench.now + Duration::from_secs(10);
    bench.http.answers_with(0, 200, r#"{"certificate":"roots"}"#);
    bench.pends();
    assert_eq!(lock(&bench.http.script(0)).under_way[0].time_limit(), Duration::from_secs(15));
    assert_eq!(bench.signer.next_deadline(), Some(bench.now.mono + Duration::from_secs(15)));
    bench.now = bench.now + Duration::from_secs(15);
    let text = bench.error();
    assert!(text.contains("for a signature; unix:/run/workload.sock did not answer in time"), "{text}");
}

#[test]
fn a_failure_says_what_was_asked_and_what_happened_and_the_next_try_begins_anew() {
    let mut bench = Bench::new();
    bench.pends();
    let detail = "No such file or directory".to_owned();
    bench.http.answers(0, Err(HttpError::Socket { peer: "unix:/run/workload.sock".to_owned(), detail }));
    let text = bench.error();
    assert!(text.contains("for the trust bundle; unix:/run/workload.sock cannot be opened (No such file"), "{text}");

    bench.pends();
    assert!(bench.http.request(0).url.contains("/trust-bundle"));
}

#[test]
fn what_the_daemon_says_of_an_error_is_repeated() {
    let refused = |body: &str| {
        let mut bench = Bench::trusted();
        bench.http.answers_with(0, 404, body);
        bench.error()
    };
    let text = refused(r#"{"message":"Module not found"}"#);
    assert!(text.ends_with("asked for a signature; it answered 404: Module not found"), "{text}");
    assert!(refused("gone").ends_with("it answered 404"));
    assert!(refused(&format!(r#"{{"message":"{}"}}"#, "x".repeat(5000))).len() < 400);
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    for body in ["", "{}", r#"{"digest":1}"#, r#"{"digest":"not base64!"}"#, "\u{0}"] {
        let mut bench = Bench::trusted();
        bench.http.answers_with(0, 200, body);
        assert!(bench.error().contains("for a signature; "));
    }
    for body in ["", "{}", r#"{"certificate":null}"#] {
        let mut bench = Bench::new();
        bench.pends();
        bench.http.answers_with(0, 200, body);
        assert!(bench.error().contains("for the trust bundle; "));
        bench.pends();
    }
}

#[test]
fn nobody_waits_for_the_answer_after_a_cancel_or_to_other_data() {
    let mut bench = Bench::trusted();
    bench.signer.cancel();
    assert!(lock(&bench.http.script(0)).under_way.is_empty());
    bench.signer.cancel();
    assert_eq!(lock(&bench.http.script(0)).cancelled.len(), 1);

    let mut bench = Bench::trusted();
    assert_eq!(bench.signer.poll_sign(b"other", bench.now, Waker::noop()), Poll::Pending);
    assert!(bench.http.request(0).url.contains("/trust-bundle"));
}

#[test]
fn the_scope_is_escaped_as_a_whole() {
    assert!(Bench::new().signer.escapes_scope());
}
