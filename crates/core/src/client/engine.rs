//! One turn of the engine: the steps of `do_work`, in their order.

use std::task::Poll;

use super::callbacks::{Callback, CallbackSlot, Callbacks, Confirm};
use super::outbox::{Due, Outbox};
use super::tokens::NoToken;
use crate::answers::{Answer, AnswerKind};
use crate::connection_error::{ConnectionError, ConnectionErrorKind};
use crate::create_error::CreateError;
use crate::event::{Event, Undelivered, UndeliveredReason};
use crate::incoming::IncomingMessage;
use crate::lane::Resolved;
use crate::message::Message;
use crate::platform::Now;
use crate::transport::{Disposition, Feature, Op, OpError, OpId, Reply, Submit, TransportEvent};
use crate::twin::TwinError;

impl<K> Outbox<K> {
    /// Time-outs, answers, renewal, connect, twin, telemetry, the transport's slice, and then what came of it.
    pub(super) fn turn(&mut self) {
        if self.connection.is_closed() {
            return;
        }
        let now = self.platform.now();
        self.platform.clear_wakes();
        self.expire(now);
        self.expire_twin(now);
        self.expire_invocations(now);
        self.submit_answers(now);
        self.renew(now);
        self.connect_if_due(now);
        self.submit_twin(now);
        self.submit_telemetry(now);
        self.awaits_slice = false;
        self.transport.do_work(now);
        self.collect(now);
        self.leave_when_drained(now);
        self.work_on_invocations(now);
        // An acknowledgement of something forgotten makes room without an event.
        if self.window_is_full {
            self.submit_telemetry(now);
        }
        if self.twin_is_full {
            self.submit_twin(now);
        }
        self.tell();
    }

    fn expire(&mut self, now: Now) {
        while let Some(late) = self.telemetry.pop_expired(now.mono) {
            if late.was_submitted {
                self.transport.forget(self.slot, late.id);
            }
            self.conclude(late, Err(UndeliveredReason::TimedOut));
        }
    }

    /// Each kind of answer has its own lane: one that is full holds back its own kind only.
    fn submit_answers(&mut self, now: Now) {
        self.answers.take(&mut self.waiting_answers);
        let (mut settlements_wait, mut methods_wait) = (false, false);
        for answer in std::mem::take(&mut self.waiting_answers) {
            let must_wait = match answer.what {
                AnswerKind::Settlement { .. } => &mut settlements_wait,
                AnswerKind::MethodResponse { .. } => &mut methods_wait,
            };
            if *must_wait {
                self.waiting_answers.push_back(answer);
                continue;
            }
            let id = self.fresh_id();
            match self.transport.submit(self.slot, id, answer.op(), now) {
                Submit::Taken => {
                    self.submitted_answers.insert(id, answer);
                }
                Submit::Full => {
                    *must_wait = true;
                    self.waiting_answers.push_back(answer);
                }
                Submit::Refused(_) => self.report_stale(answer),
            }
        }
    }

    fn connect_if_due(&mut self, now: Now) {
        if self.tokens.is_awaited() && !self.connection.is_online() {
            self.open_connection(now);
        }
        if self.connection.attempt_due(now.mono).is_none_or(|due| due > now.mono) {
            return;
        }
        let change = self.connection.attempt_starts(now.mono);
        self.due.push_back(Due::Event(Event::Status(change)));
        self.open_connection(now);
    }

    /// Starts to connect with a token of now.
    pub(super) fn open_connection(&mut self, now: Now) {
        self.renewal_wanted = false;
        match self.tokens.poll_for_connection(now, &self.platform.waker()) {
            Poll::Ready(Ok(token)) => match self.adopt_trust() {
                Ok(()) => self.transport.connect(self.slot, token.as_ref().map(|token| token.expose()), now),
                Err(error) => self.not_signed(error.to_string(), now),
            },
            Poll::Ready(Err(NoToken::Expired { at })) => self.stop_for_token(at),
            Poll::Ready(Err(NoToken::NotSigned { detail })) => self.not_signed(detail, now),
            Poll::Pending => {}
        }
    }

    fn not_signed(&mut self, detail: String, now: Now) {
        let (host, port) = self.transport.peer();
        self.go_down(ConnectionError::new(host, port, ConnectionErrorKind::NotSigned { detail }), now);
    }

    /// Trusts whom the signer trusts, if the application left that to it.
    fn adopt_trust(&mut self) -> Result<(), CreateError> {
        match self.tokens.take_trust() {
            Some(trust) if self.https.would_adopt(&trust) => {
                self.transport.set_trust(self.slot, &trust)?;
                self.https.set_trust(trust)
            }
            _ => Ok(()),
        }
    }

    fn submit_telemetry(&mut self, now: Now) {
        if !self.connection.is_online() {
            return;
        }
        self.window_is_full = false;
        while let Some(id) = self.alone.front().copied() {
            // One that has ended meanwhile is not in the lane any more.
            if let Some(message) = self.telemetry.submitted(id) {
                match self.transport.submit(self.slot, id, Op::Telemetry(message), now) {
                    Submit::Taken => self.awaits_slice = true,
                    Submit::Full => {
                        self.window_is_full = true;
                        return;
                    }
                    Submit::Refused(error) => self.resolve(id, Err(error.into())),
                }
            }
            self.alone.pop_front();
        }
        while let Some((id, message)) = self.telemetry.front_waiting() {
            match self.transport.submit(self.slot, id, Op::Telemetry(message), now) {
                Submit::Taken => {
                    self.telemetry.mark_submitted(None);
                    self.awaits_slice = true;
                }
                Submit::Full => {
                    self.window_is_full = true;
                    return;
                }
                Submit::Refused(error) => self.resolve(id, Err(error.into())),
            }
        }
    }

    /// Takes over what happened on the transport.
    fn collect(&mut self, now: Now) {
        while let Some(event) = self.transport.poll_event(self.slot) {
            match event {
                TransportEvent::Connected { session_present } => {
                    tracing::debug!(session_present, "connected");
                    self.stats.connections += 1;
                    self.window_is_full = false;
                    let change = self.connection.connected(now.mono);
                    self.due.push_back(Due::Event(Event::Status(change)));
                }
                TransportEvent::Ready => {
                    let change = self.connection.ready();
                    self.due.extend(change.map(|change| Due::Event(Event::Status(change))));
                }
                TransportEvent::SubscriptionRefused { feature, detail } => {
                    self.due.push_back(Due::Event(Event::SubscriptionRefused { feature, detail }));
                }
                TransportEvent::Down(error) => self.go_down(error, now),
                TransportEvent::Disconnected => self.disconnected(now),
                TransportEvent::Done { id, result } => self.operation_done(id, result, now),
                TransportEvent::Message { message, input, delivery } => {
                    self.message_arrived(IncomingMessage::new(message, input, delivery, self.answers.clone()), now);
                }
                TransportEvent::DesiredProperties(json) => self.desired_changed(json),
                TransportEvent::Method { name, body, delivery } => self.method_called(name, body, delivery),
            }
        }
    }

    fn go_down(&mut self, error: ConnectionError, now: Now) {
        tracing::debug!(%error, "connection down");
        self.release_submitted();
        self.tokens.connection_ended();
        let change = match self.tokens.is_replaced() {
            true => self.connection.down_before_a_new_try(error, now.mono),
            false => self.connection.down(error, now.mono),
        };
        self.due.push_back(Due::Event(Event::Status(change)));
    }

    /// The connection is gone with everything that was submitted: telemetry and twin requests wait again in their order,
    /// answers can no longer be given.
    pub(super) fn release_submitted(&mut self) {
        self.stats.resent += self.telemetry.requeue() as u64;
        self.alone.clear();
        self.twin_requests.requeue();
        self.twin_sync.connection_lost();
        // The hub has them again.
        self.unclaimed.clear();
        for (_, answer) in std::mem::take(&mut self.submitted_answers) {
            self.report_stale(answer);
        }
    }

    fn operation_done(&mut self, id: OpId, result: Result<Reply, OpError>, now: Now) {
        if let Err(OpError::BatchRejected(_)) = &result
            && self.telemetry.submitted(id).is_some()
        {
            self.alone.push_back(id);
            return;
        }
        if let Some(resolved) = self.telemetry.resolve(id) {
            self.window_is_full = false;
            let outcome = result.map(drop).map_err(UndeliveredReason::from);
            return self.conclude(resolved, outcome);
        }
        if let Some(answer) = self.submitted_answers.remove(&id) {
            if result.is_err() {
                self.report_stale(answer);
            }
            return;
        }
        self.twin_answered(id, result, now);
    }

    fn message_arrived(&mut self, message: IncomingMessage, now: Now) {
        let feature = if message.input_name().is_some() { Feature::Inputs } else { Feature::CloudToDevice };
        if !self.wanted.contains(&feature) {
            // A session that outlived an earlier subscription. Unanswered, it stays with the hub for who wants it.
            self.stats.unwanted += 1;
            message.abandon();
            return;
        }
        self.stats.received += 1;
        self.last_message = Some(now.wall);
        self.due.push_back(Due::Event(Event::Message(message)));
    }

    /// An answer that the hub never heard. An abandoned message is delivered again either way, so there is nothing to
    /// tell.
    fn report_stale(&mut self, answer: Answer) {
        let event = match answer.what {
            AnswerKind::Settlement { disposition: Disposition::Abandon, .. } => return,
            AnswerKind::Settlement { disposition, message_id } => Event::StaleSettlement { message_id, disposition },
            AnswerKind::MethodResponse { name, status, .. } => Event::StaleMethodResponse { name, status },
        };
        self.stats.stale_answers += 1;
        self.due.push_back(Due::Event(event));
    }

    fn resolve(&mut self, id: OpId, outcome: Result<(), UndeliveredReason>) {
        if let Some(resolved) = self.telemetry.resolve(id) {
            self.conclude(resolved, outcome);
        }
    }

    /// Ends a message with its one outcome.
    fn conclude(
        &mut self,
        resolved: Resolved<Message, Confirm<K, Result<(), Undelivered>>>,
        outcome: Result<(), UndeliveredReason>,
    ) {
        match outcome {
            Ok(()) => self.stats.delivered += 1,
            Err(_) => self.stats.undelivered += 1,
        }
        let Resolved { id, item: message, confirm, was_submitted } = resolved;
        let bytes = if outcome.is_err() { message.size() } else { 0 };
        let outcome = outcome.map_err(|reason| Undelivered { message, reason, maybe_delivered: was_submitted });
        match confirm {
            Confirm::Nobody => {}
            Confirm::Callback(callback) => self.due.push_back(Due::Confirmation(callback, outcome)),
            Confirm::Event => {
                self.telemetry.hold_confirmation(bytes);
                self.due.push_back(Due::Event(Event::Confirmation { id, outcome }));
            }
        }
    }

    /// Everything that has no outcome yet ends as destroyed.
    pub(super) fn destroy_pending(&mut self) {
        while let Some(resolved) = self.telemetry.pop() {
            if resolved.was_submitted {
                self.transport.forget(self.slot, resolved.id);
            }
            self.conclude(resolved, Err(UndeliveredReason::Destroyed));
        }
        while let Some(resolved) = self.twin_requests.pop() {
            if resolved.was_submitted {
                self.transport.forget(self.slot, resolved.id);
            }
            self.conclude_request(resolved, Err(TwinError::Destroyed));
        }
        self.destroy_invocations();
    }

    /// Tells the application, through its callbacks or the event queue.
    pub(super) fn tell(&mut self) {
        while let Some(due) = self.due.pop_front() {
            match due {
                Due::Confirmation(callback, outcome) => callback(outcome, self),
                Due::Twin(callback, outcome) => callback(outcome, self),
                Due::Reported(callback, outcome) => callback(outcome, self),
                Due::Invoked(callback, outcome) => callback(outcome, self),
                Due::Event(event) => self.tell_event(event),
            }
        }
    }

    fn tell_event(&mut self, event: Event) {
        match event {
            Event::Status(change) => {
                if let Some(change) = self.call(|callbacks| &mut callbacks.status, change) {
                    self.events.push(Event::Status(change));
                }
            }
            Event::Message(message) => {
                if let Some(input) = message.input_name().map(str::to_owned) {
                    return self.tell_input(&input, message);
                }
                if let Some(message) = self.call(|callbacks| &mut callbacks.message, message) {
                    self.events.push(Event::Message(message));
                }
            }
            Event::Method(request) => {
                if let Some(request) = self.call(|callbacks| &mut callbacks.method, request) {
                    self.events.push(Event::Method(request));
                }
            }
            Event::Twin(update) => {
                if let Some(update) = self.call(|callbacks| &mut callbacks.twin, update)
                    && !self.events.push_twin(update)
                {
                    self.fetch_twin_anew();
                }
            }
            other => self.events.push(other),
        }
    }

    /// Runs a callback, if one is set; else the event comes back.
    pub(super) fn call<E>(
        &mut self,
        slot: impl Fn(&mut Callbacks<K>) -> &mut CallbackSlot<Callback<K, E>>,
        event: E,
    ) -> Option<E> {
        let Some(mut callback) = slot(&mut self.callbacks).start() else { return Some(event) };
        callback(event, self);
        slot(&mut self.callbacks).finish(callback);
        None
    }
}
