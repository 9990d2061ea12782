//! The workload API of the IoT Edge security daemon: it signs with the module's key, and knows the gateway's authority.

use std::path::PathBuf;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;

use super::path_segment;
use crate::endpoint::Trust;
use crate::http_engine::{HttpEngine, HttpMethod, HttpRequest, HttpResponse};
use crate::json;
use crate::platform::{Now, Readiness};
use crate::signer::{SasSigner, SignError};
use crate::transport::OpId;

/// The version of the API that every daemon knows, and that the SDKs ask for.
const API_VERSION: &str = "2018-06-28";

/// How long the daemon may take for trust bundle and signature together. The client itself waits for 30 s.
const TIME_LIMIT: Duration = Duration::from_secs(25);

/// The most characters of the daemon's own words that are repeated in an error.
const MAX_DETAIL: usize = 200;

/// Where the daemon listens, and by which names it knows the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Daemon {
    base: String,
    socket: Option<PathBuf>,
    sign_path: String,
}

impl Daemon {
    /// Reads `unix:///path` or `http://host:port`; the error says what is wrong with it.
    pub(crate) fn new(uri: &str, module_id: &str, generation_id: &str) -> Result<Self, &'static str> {
        let sign_path = format!("/modules/{}/genid/{}/sign", path_segment(module_id), path_segment(generation_id));
        if let Some(path) = uri.strip_prefix("unix://") {
            return match path.is_empty() {
                true => Err("names no socket: unix:///path/of/the.sock"),
                false => Ok(Self { base: "http://localhost".to_owned(), socket: Some(path.into()), sign_path }),
            };
        }
        let authority = uri.strip_prefix("http://").ok_or("begins with neither unix:// nor http://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        if host.is_empty() || host.contains('/') || port.parse::<u16>().ok().is_none_or(|port| port == 0) {
            return Err("is not of the form http://host:port");
        }
        Ok(Self { base: format!("http://{host}:{port}"), socket: None, sign_path })
    }

    fn request(&self, method: HttpMethod, path: &str) -> HttpRequest {
        let mut request = HttpRequest::new(method, format!("{}{path}?api-version={API_VERSION}", self.base));
        request.socket.clone_from(&self.socket);
        request
    }

    fn trust_bundle(&self) -> HttpRequest {
        self.request(HttpMethod::Get, "/trust-bundle")
    }

    fn sign(&self, data: &[u8]) -> HttpRequest {
        // Base64 needs no escape in JSON.
        let body = format!(r#"{{"keyId":"primary","algo":"HMACSHA256","data":"{}"}}"#, BASE64.encode(data));
        self.request(HttpMethod::Post, &self.sign_path)
            .with_header("Content-Type", "application/json; charset=utf-8")
            .with_body(body)
    }
}

/// Lets the daemon sign a module's tokens, and fetches the trust bundle before each signature, so that a connection always
/// trusts whom the daemon trusts now.
pub(crate) struct WorkloadSigner {
    daemon: Daemon,
    engine: Box<dyn HttpEngine>,
    state: State,
    last_id: u64,
    trust: Option<Trust>,
}

/// What has been asked of the daemon.
enum State {
    Idle,
    Asked { id: OpId, what: Question, data: Vec<u8>, until: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    TrustBundle,
    Signature,
}

impl WorkloadSigner {
    pub(crate) fn new(daemon: Daemon, engine: Box<dyn HttpEngine>) -> Self {
        Self { daemon, engine, state: State::Idle, last_id: 0, trust: None }
    }

    fn ask(&mut self, what: Question, data: Vec<u8>, until: Instant, now: Now) {
        let request = match what {
            Question::TrustBundle => self.daemon.trust_bundle(),
            Question::Signature => self.daemon.sign(&data),
        };
        self.last_id += 1;
        let id = OpId(self.last_id);
        self.engine.start(id, request, until, now);
        self.state = State::Asked { id, what, data, until };
    }

    /// The answer to what was asked, if it has come.
    fn answer(&mut self) -> Option<Result<HttpResponse, SignError>> {
        let State::Asked { id: asked, what, .. } = &self.state else { return None };
        let (asked, what) = (*asked, *what);
        while let Some((id, result)) = self.engine.poll() {
            if id == asked {
                let answer = result.map_err(|error| failed(what, &error.to_string()));
                return Some(answer.and_then(|response| check(what, response)));
            }
        }
        None
    }
}

impl SasSigner for WorkloadSigner {
    fn poll_sign(&mut self, data: &[u8], now: Now, _: &Waker) -> Poll<Result<Vec<u8>, SignError>> {
        if !matches!(&self.state, State::Asked { data: asked, .. } if asked == data) {
            self.cancel();
            self.ask(Question::TrustBundle, data.to_vec(), now.mono + TIME_LIMIT, now);
        }
        loop {
            self.engine.do_work(now);
            let Some(answer) = self.answer() else { return Poll::Pending };
            let State::Asked { what, data, until, .. } = std::mem::replace(&mut self.state, State::Idle) else {
                return Poll::Pending;
            };
            match (what, answer) {
                (_, Err(error)) => return Poll::Ready(Err(error)),
                (Question::TrustBundle, Ok(response)) => {
                    self.trust = Some(Trust::Pem(read_trust_bundle(&response.body)?));
                    self.ask(Question::Signature, data, until, now);
                }
                (Question::Signature, Ok(response)) => return Poll::Ready(read_digest(&response.body)),
            }
        }
    }

    fn cancel(&mut self) {
        if let State::Asked { id, .. } = std::mem::replace(&mut self.state, State::Idle) {
            self.engine.cancel(id);
        }
    }

    fn escapes_scope(&self) -> bool {
        true
    }

    fn take_trust(&mut self) -> Option<Trust> {
        self.trust.take()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.engine.next_deadline()
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        self.engine.readiness(out);
    }
}

fn check(what: Question, response: HttpResponse) -> Result<HttpResponse, SignError> {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    if response.is_success() {
        return Ok(response);
    }
    let said = json::read::<Refusal>(&response.body).map(|refusal| refusal.message).unwrap_or_default();
    let said: String = said.chars().take(MAX_DETAIL).collect();
    let colon = if said.is_empty() { "" } else { ": " };
    Err(failed(what, &format!("it answered {}{colon}{said}", response.status)))
}

fn read_trust_bundle(body: &Bytes) -> Result<String, SignError> {
    #[derive(Deserialize)]
    struct Bundle {
        certificate: String,
    }
    let bundle = json::read::<Bundle>(body).map_err(|error| failed(Question::TrustBundle, &error))?;
    Ok(bundle.certificate)
}

fn read_digest(body: &Bytes) -> Result<Vec<u8>, SignError> {
    #[derive(Deserialize)]
    struct Signature {
        digest: String,
    }
    let unusable = |detail: String| failed(Question::Signature, &detail);
    let signature = json::read::<Signature>(body).map_err(unusable)?;
    BASE64.decode(signature.digest).map_err(|_| unusable("its digest is not base64".to_owned()))
}

fn failed(what: Question, detail: &str) -> SignError {
    let what = match what {
        Question::TrustBundle => "the trust bundle",
        Question::Signature => "a signature",
    };
    SignError::new(format!("the IoT Edge security daemon was asked for {what}; {detail}"))
}

#[cfg(test)]
mod tests;
