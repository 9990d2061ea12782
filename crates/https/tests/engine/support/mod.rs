//! What the tests stand on: a server that does as it is told, and a client's loop around an engine.

pub(crate) mod authority;
pub(crate) mod server;

use std::time::{Duration, Instant};

use iothub_core::{
    HttpEngine, HttpError, HttpMethod, HttpProvider, HttpRequest, HttpResponse, Now, OpId, Platform, Trust,
};
use iothub_https::Https;
use iothub_net::SystemPlatform;

/// The time after which a test gives up waiting.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) type Answer = Result<HttpResponse, HttpError>;

/// An engine, and the loop of a client around it.
pub(crate) struct Bench {
    pub(crate) engine: Box<dyn HttpEngine>,
    platform: SystemPlatform,
    last_id: u64,
}

impl Bench {
    /// Without any trust: for plain HTTP.
    pub(crate) fn plain() -> Self {
        Self::with(&Https::new(), &Trust::Nobody)
    }

    pub(crate) fn with(https: &Https, trust: &Trust) -> Self {
        Self { engine: https.engine(trust, None).unwrap(), platform: SystemPlatform::new().unwrap(), last_id: 0 }
    }

    pub(crate) fn start(&mut self, request: HttpRequest) -> OpId {
        self.last_id += 1;
        let (id, now) = (OpId(self.last_id), Now::system());
        self.engine.start(id, request, now.mono + 2 * LIMIT, now);
        id
    }

    /// Drives as a client does until something has its answer.
    pub(crate) fn next(&mut self) -> (OpId, Answer) {
        let limit = Instant::now() + LIMIT;
        loop {
            self.engine.do_work(Now::system());
            if let Some(answer) = self.engine.poll() {
                return answer;
            }
            assert!(Instant::now() < limit, "no answer came");
            let due = self.engine.next_deadline().expect("something is under way");
            self.platform.park(&[], Some(due));
        }
    }

    /// Drives until this is so.
    pub(crate) fn drive_until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let limit = Instant::now() + LIMIT;
        while !done() {
            assert!(Instant::now() < limit, "{what} did not happen");
            self.engine.do_work(Now::system());
            self.platform.park(&[], self.engine.next_deadline());
        }
    }

    pub(crate) fn ask(&mut self, request: HttpRequest) -> Answer {
        let id = self.start(request);
        let (answered, answer) = self.next();
        assert_eq!(answered, id);
        answer
    }

    pub(crate) fn get(&mut self, url: &str) -> Answer {
        self.ask(get(url))
    }
}

pub(crate) fn get(url: &str) -> HttpRequest {
    HttpRequest::new(HttpMethod::Get, url)
}
