//! One turn of the engine: the steps of `do_work`, in their order.

use super::callbacks::Confirm;
use super::outbox::{Due, Outbox};
use crate::connection_error::ConnectionError;
use crate::event::{Event, Undelivered, UndeliveredReason};
use crate::incoming::{Answer, IncomingMessage};
use crate::message::Message;
use crate::platform::Now;
use crate::queue::Resolved;
use crate::transport::{Delivery, Disposition, Feature, Op, OpError, OpId, Submit, TransportEvent};

impl<K> Outbox<K> {
    /// Time-outs, answers, connect, telemetry, the transport's slice, and then what came of it.
    pub(super) fn turn(&mut self) {
        if self.connection.is_closed() {
            return;
        }
        let now = self.platform.now();
        self.platform.clear_wakes();
        self.expire(now);
        self.submit_answers(now);
        self.connect_if_due(now);
        self.submit_telemetry(now);
        self.awaits_slice = false;
        self.transport.do_work(now);
        self.collect(now);
        if self.window_is_full {
            // An acknowledgement of something forgotten makes room without an event.
            self.submit_telemetry(now);
        }
        self.tell();
    }

    fn expire(&mut self, now: Now) {
        while let Some(late) = self.queue.pop_expired(now.mono) {
            if late.was_submitted {
                self.transport.forget(self.slot, late.id);
            }
            self.conclude(late, Err(UndeliveredReason::TimedOut));
        }
    }

    fn submit_answers(&mut self, now: Now) {
        self.answers.take(&mut self.waiting_answers);
        while let Some(answer) = self.waiting_answers.pop_front() {
            let id = self.fresh_id();
            let op = Op::Settle { delivery: answer.delivery, disposition: answer.disposition };
            match self.transport.submit(self.slot, id, op, now) {
                Submit::Taken => {
                    self.submitted_answers.insert(id, answer);
                }
                Submit::Full => {
                    self.waiting_answers.push_front(answer);
                    return;
                }
                Submit::Refused(_) => self.report_stale(answer),
            }
        }
    }

    fn connect_if_due(&mut self, now: Now) {
        if self.connection.attempt_due(now.mono).is_none_or(|due| due > now.mono) {
            return;
        }
        let change = self.connection.attempt_starts(now.mono);
        self.due.push_back(Due::Event(Event::Status(change)));
        match self.tokens.for_connection(now.wall) {
            Ok(token) => self.transport.connect(self.slot, token.as_ref().map(|token| token.expose()), now),
            Err(kind) => {
                let (host, port) = self.transport.peer();
                self.go_down(ConnectionError::new(host, port, kind), now);
            }
        }
    }

    fn submit_telemetry(&mut self, now: Now) {
        if !self.connection.is_online() {
            return;
        }
        self.window_is_full = false;
        while let Some((id, message)) = self.queue.front_waiting() {
            match self.transport.submit(self.slot, id, Op::Telemetry(message), now) {
                Submit::Taken => {
                    self.queue.mark_submitted();
                    self.awaits_slice = true;
                }
                Submit::Full => {
                    self.window_is_full = true;
                    return;
                }
                Submit::Refused(error) => self.resolve(id, Err(UndeliveredReason::Rejected(error.to_string()))),
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
                    if let Some(change) = self.connection.ready() {
                        self.due.push_back(Due::Event(Event::Status(change)));
                    }
                }
                TransportEvent::SubscriptionRefused { feature, detail } => {
                    self.due.push_back(Due::Event(Event::SubscriptionRefused { feature, detail }));
                }
                TransportEvent::Down(error) => self.go_down(error, now),
                TransportEvent::Disconnected => {}
                TransportEvent::Done { id, result } => self.operation_done(id, result),
                TransportEvent::Message { message, delivery } => self.message_arrived(message, delivery, now),
            }
        }
    }

    fn go_down(&mut self, error: ConnectionError, now: Now) {
        tracing::debug!(%error, "connection down");
        self.stats.resent += self.queue.requeue() as u64;
        for (_, answer) in std::mem::take(&mut self.submitted_answers) {
            self.report_stale(answer);
        }
        let change = self.connection.down(error, now.mono);
        self.due.push_back(Due::Event(Event::Status(change)));
    }

    fn operation_done(&mut self, id: OpId, result: Result<(), OpError>) {
        if let Some(answer) = self.submitted_answers.remove(&id) {
            if result.is_err() {
                self.report_stale(answer);
            }
            return;
        }
        self.window_is_full = false;
        self.resolve(id, result.map_err(|error| UndeliveredReason::Rejected(error.to_string())));
    }

    fn message_arrived(&mut self, message: Message, delivery: Delivery, now: Now) {
        let incoming = IncomingMessage::new(message, delivery, self.answers.clone());
        if !self.wanted.contains(&Feature::CloudToDevice) {
            // A session that outlived an earlier subscription. Unanswered, it stays with the hub for who wants it.
            self.stats.unwanted += 1;
            incoming.abandon();
            return;
        }
        self.stats.received += 1;
        self.last_message = Some(now.wall);
        self.due.push_back(Due::Event(Event::Message(incoming)));
    }

    /// An answer that the hub never heard. An abandoned message is delivered again either way, so there is nothing to
    /// tell.
    fn report_stale(&mut self, answer: Answer) {
        if answer.disposition != Disposition::Abandon {
            self.stats.stale_settlements += 1;
            let Answer { message_id, disposition, .. } = answer;
            self.due.push_back(Due::Event(Event::StaleSettlement { message_id, disposition }));
        }
    }

    fn resolve(&mut self, id: OpId, outcome: Result<(), UndeliveredReason>) {
        if let Some(resolved) = self.queue.resolve(id) {
            self.conclude(resolved, outcome);
        }
    }

    /// Ends a message with its one outcome.
    fn conclude(&mut self, resolved: Resolved<Confirm<K>>, outcome: Result<(), UndeliveredReason>) {
        match outcome {
            Ok(()) => self.stats.delivered += 1,
            Err(_) => self.stats.undelivered += 1,
        }
        let Resolved { id, message, confirm, was_submitted } = resolved;
        let bytes = if outcome.is_err() { message.size() } else { 0 };
        let outcome = outcome.map_err(|reason| Undelivered { message, reason, maybe_delivered: was_submitted });
        match confirm {
            Confirm::Nobody => {}
            Confirm::Callback(callback) => self.due.push_back(Due::Confirmation(callback, outcome)),
            Confirm::Event => {
                self.queue.hold_confirmation(bytes);
                self.due.push_back(Due::Event(Event::Confirmation { id, outcome }));
            }
        }
    }

    /// Every message that is still here ends as destroyed.
    pub(super) fn destroy_pending(&mut self) {
        while let Some(resolved) = self.queue.pop() {
            if resolved.was_submitted {
                self.transport.forget(self.slot, resolved.id);
            }
            self.conclude(resolved, Err(UndeliveredReason::Destroyed));
        }
    }

    /// Tells the application, through its callbacks or the event queue.
    pub(super) fn tell(&mut self) {
        while let Some(due) = self.due.pop_front() {
            match due {
                Due::Confirmation(callback, outcome) => callback(outcome, self),
                Due::Event(event) => self.tell_event(event),
            }
        }
    }

    fn tell_event(&mut self, event: Event) {
        match event {
            Event::Status(change) => match self.callbacks.status.start() {
                Some(mut callback) => {
                    callback(change, self);
                    self.callbacks.status.finish(callback);
                }
                None => self.events.push(Event::Status(change)),
            },
            Event::Message(message) => match self.callbacks.message.start() {
                Some(mut callback) => {
                    callback(message, self);
                    self.callbacks.message.finish(callback);
                }
                None => self.events.push(Event::Message(message)),
            },
            other => self.events.push(other),
        }
    }
}
