//! An HTTP engine without a network: tests see what is asked, and answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::*;

type Answer = Result<HttpResponse, HttpError>;

/// Makes scripted engines; the tests' hold on all of them.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    engines: Arc<Mutex<Vec<Arc<Mutex<Script>>>>>,
    /// Set when no engine can be made.
    pub(crate) broken: bool,
}

/// One engine.
pub(crate) struct Script {
    pub(crate) trust: Trust,
    pub(crate) certificate: Option<String>,
    pub(crate) under_way: Vec<UnderWay>,
    pub(crate) cancelled: Vec<OpId>,
    answers: VecDeque<(OpId, Answer)>,
}

pub(crate) struct UnderWay {
    pub(crate) id: OpId,
    pub(crate) request: HttpRequest,
    pub(crate) deadline: Instant,
    started: Instant,
}

impl Scripted {
    pub(crate) fn engines(&self) -> usize {
        self.engines.lock().unwrap().len()
    }

    /// The engine that was made as the n-th.
    pub(crate) fn script(&self, n: usize) -> Arc<Mutex<Script>> {
        self.engines.lock().unwrap()[n].clone()
    }

    /// The only request of an engine.
    pub(crate) fn request(&self, engine: usize) -> HttpRequest {
        let script = self.script(engine);
        let script = lock(&script);
        let [only] = &script.under_way[..] else { panic!("{} requests", script.under_way.len()) };
        only.request.clone()
    }

    /// Answers the only request of an engine.
    pub(crate) fn answers(&self, engine: usize, answer: Answer) {
        let script = self.script(engine);
        let mut script = lock(&script);
        let id = script.under_way.first().expect("a request").id;
        script.answer(id, answer);
    }

    pub(crate) fn answers_with(&self, engine: usize, status: u16, body: impl Into<String>) {
        self.answers(engine, Ok(HttpResponse::new(status, body.into())));
    }
}

impl Script {
    pub(crate) fn answer(&mut self, id: OpId, answer: Answer) {
        self.under_way.retain(|request| request.id != id);
        self.answers.push_back((id, answer));
    }
}

impl UnderWay {
    /// How long it may take.
    pub(crate) fn time_limit(&self) -> Duration {
        self.deadline - self.started
    }
}

pub(crate) fn lock(engine: &Mutex<Script>) -> MutexGuard<'_, Script> {
    engine.lock().unwrap()
}

impl HttpProvider for Scripted {
    fn engine(
        &self,
        trust: &Trust,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Box<dyn HttpEngine>, CreateError> {
        if self.broken {
            return Err(CreateError::Certificate { what: "trusted_certs", detail: "it is odd".to_owned() });
        }
        let script = Script {
            trust: trust.clone(),
            certificate: certificate.map(|certificate| certificate.chain_pem().to_owned()),
            under_way: Vec::new(),
            cancelled: Vec::new(),
            answers: VecDeque::new(),
        };
        let script = Arc::new(Mutex::new(script));
        self.engines.lock().unwrap().push(script.clone());
        Ok(Box::new(Engine(script)))
    }
}

struct Engine(Arc<Mutex<Script>>);

impl HttpEngine for Engine {
    fn start(&mut self, id: OpId, request: HttpRequest, deadline: Instant, now: Now) {
        lock(&self.0).under_way.push(UnderWay { id, request, deadline, started: now.mono });
    }

    fn cancel(&mut self, id: OpId) {
        let mut script = lock(&self.0);
        script.under_way.retain(|request| request.id != id);
        script.answers.retain(|(answered, _)| *answered != id);
        script.cancelled.push(id);
    }

    fn do_work(&mut self, now: Now) {
        let mut script = lock(&self.0);
        let late: Vec<_> = script.under_way.iter().filter(|request| request.deadline <= now.mono).collect();
        let late: Vec<_> = late.into_iter().map(|late| (late.id, late.request.peer())).collect();
        for (id, peer) in late {
            script.answer(id, Err(HttpError::TimedOut { peer }));
        }
    }

    fn poll(&mut self) -> Option<(OpId, Answer)> {
        lock(&self.0).answers.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let script = lock(&self.0);
        let answered =
            script.under_way.iter().map(|request| request.started).min().filter(|_| !script.answers.is_empty());
        answered.or(script.under_way.iter().map(|request| request.deadline).min())
    }

    /// One descriptor for each request.
    fn readiness(&self, out: &mut Vec<Readiness>) {
        let source = Arc::new(std::io::stdin());
        let watched = |_: &UnderWay| Readiness { source: source.clone(), read: true, write: false };
        out.extend(lock(&self.0).under_way.iter().map(watched));
    }

    fn set_tls(&mut self, trust: &Trust, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        let mut script = lock(&self.0);
        script.trust = trust.clone();
        script.certificate = certificate.map(|certificate| certificate.chain_pem().to_owned());
        Ok(())
    }
}
