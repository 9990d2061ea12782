//! The engine: requests that are under way, and their deadlines.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iothub_core::{
    ClientCertificate, CreateError, HttpEngine, HttpError, HttpRequest, HttpResponse, Now, OpId, Readiness, Trust,
};
use tokio::task::AbortHandle;

use crate::clients::Clients;
use crate::exchange::Exchange;
use crate::provider::MakeResolver;
use crate::runtime::SlicedRuntime;

/// How long to wait between two slices while something is under way: reqwest shows no descriptor to wait for.
const TICK: Duration = Duration::from_millis(5);

type Answer = Result<HttpResponse, HttpError>;

pub(crate) struct Engine {
    runtime: SlicedRuntime,
    clients: Clients,
    https_port: u16,
    under_way: BTreeMap<OpId, UnderWay>,
    answers: VecDeque<(OpId, Answer)>,
    /// The time of the last call that told it.
    now: Option<Instant>,
}

struct UnderWay {
    peer: String,
    deadline: Instant,
    task: AbortHandle,
    /// Where the task leaves its answer.
    answer: Arc<Mutex<Option<Answer>>>,
    /// Whether it has not had a slice yet.
    is_new: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Engine {
    pub(crate) fn new(
        https_port: u16,
        resolver: Option<MakeResolver>,
        trust: &Trust,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Self, CreateError> {
        let runtime = SlicedRuntime::new()
            .map_err(|source| CreateError::System { what: "the runtime of the HTTPS engine", source })?;
        let clients = Clients::new(resolver, trust, certificate)?;
        Ok(Self { runtime, clients, https_port, under_way: BTreeMap::new(), answers: VecDeque::new(), now: None })
    }

    fn spawn(&mut self, request: HttpRequest, deadline: Instant) -> Result<UnderWay, HttpError> {
        let client = match &request.socket {
            Some(path) => self.clients.socket(path).map_err(|error| HttpError::Engine(error.to_string()))?,
            None => self.clients.network(),
        };
        let client = client.clone();
        let exchange = Exchange::new(request, self.https_port)?;
        let peer = exchange.peer().to_owned();
        let answer = Arc::new(Mutex::new(None));
        let (place, progress) = (answer.clone(), self.runtime.progress().clone());
        let task = self.runtime.spawn(async move {
            let answer = exchange.run(client, progress.clone()).await;
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            progress.step();
        });
        let task = task.ok_or_else(|| HttpError::Engine("its runtime is gone".to_owned()))?;
        Ok(UnderWay { peer, deadline, task, answer, is_new: true })
    }

    /// Moves what has ended to the answers.
    fn collect(&mut self, now: Instant) {
        let ended: Vec<_> =
            self.under_way.iter().filter_map(|(id, request)| Some((*id, request.outcome(now)?))).collect();
        for (id, answer) in ended {
            self.under_way.remove(&id);
            self.answers.push_back((id, answer));
        }
    }
}

impl UnderWay {
    /// How it ended, if it has.
    fn outcome(&self, now: Instant) -> Option<Answer> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if answer.is_some() {
            return answer;
        }
        if self.task.is_finished() {
            return Some(Err(HttpError::Engine("the task of a request ended without an answer".to_owned())));
        }
        (self.deadline <= now).then(|| Err(HttpError::TimedOut { peer: self.peer.clone() }))
    }
}

impl HttpEngine for Engine {
    fn start(&mut self, id: OpId, request: HttpRequest, deadline: Instant, now: Now) {
        self.now = Some(now.mono);
        match self.spawn(request, deadline) {
            Ok(request) => drop(self.under_way.insert(id, request)),
            Err(error) => self.answers.push_back((id, Err(error))),
        }
    }

    fn cancel(&mut self, id: OpId) {
        self.under_way.remove(&id);
        self.answers.retain(|(answered, _)| *answered != id);
    }

    fn do_work(&mut self, now: Now) {
        self.now = Some(now.mono);
        if self.under_way.is_empty() {
            return;
        }
        self.clients.set_time(now);
        // What is late must not go out any more.
        self.collect(now.mono);
        self.runtime.slice();
        self.under_way.values_mut().for_each(|request| request.is_new = false);
        self.collect(now.mono);
    }

    fn poll(&mut self) -> Option<(OpId, Answer)> {
        self.answers.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = self.now?;
        if !self.answers.is_empty() || self.under_way.values().any(|request| request.is_new) {
            return Some(now);
        }
        let first = self.under_way.values().map(|request| request.deadline).min()?;
        Some(first.min(now + TICK))
    }

    fn readiness(&self, _: &mut Vec<Readiness>) {}

    fn set_tls(&mut self, trust: &Trust, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        self.clients.set_tls(trust, certificate)
    }
}
