//! The back end of a run: it does each of its parts as soon as the device has subscribed to it, in whatever order that is.
//! So a step that a script leaves out holds up no other one.

use iothub_emulator::{Activity, FeedbackMode, Hub, MethodCall, MethodError, MethodResult, PendingMethod};

use super::record::{DESIRED_CHANGES, METHODS};
use super::story::{Method, Story};
use super::subject::Subject;
use super::{LIMIT, routing};

/// What the back end has yet to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    ChangeDesired,
    CallMethods,
    SendMessage,
}

#[derive(Debug)]
pub(crate) struct BackEnd<'a> {
    hub: &'a Hub,
    subject: &'a Subject,
    story: &'a Story,
    to_do: Vec<Part>,
    calls: Vec<Result<PendingMethod, MethodError>>,
}

/// How a call ended; `None` if it has not.
pub(crate) type Outcome = Option<Result<MethodResult, MethodError>>;

impl<'a> BackEnd<'a> {
    /// Sets what is desired before the device connects.
    pub(crate) fn new(hub: &'a Hub, subject: &'a Subject, story: &'a Story) -> Result<Self, String> {
        hub.patch_desired(subject.who(), story.desired.clone()).map_err(|error| error.to_string())?;
        let to_do = vec![Part::ChangeDesired, Part::CallMethods, Part::SendMessage];
        Ok(Self { hub, subject, story, to_do, calls: Vec::new() })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.to_do.is_empty()
    }

    /// Whether the device has subscribed to something that is yet to be done.
    pub(crate) fn has_work(&self) -> bool {
        self.to_do.iter().any(|part| self.is_ready(*part))
    }

    pub(crate) fn work(&mut self) -> Result<(), String> {
        for part in self.to_do.clone() {
            if self.is_ready(part) {
                self.act(part)?;
                self.to_do.retain(|other| *other != part);
            }
        }
        Ok(())
    }

    /// How the calls ended so far.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |call: &Result<PendingMethod, MethodError>| match call {
            Ok(call) => call.try_result(),
            Err(error) => Some(Err(error.clone())),
        };
        self.calls.iter().map(outcome).collect()
    }

    fn is_ready(&self, part: Part) -> bool {
        let wanted = match part {
            Part::ChangeDesired => DESIRED_CHANGES.to_owned(),
            Part::CallMethods => METHODS.to_owned(),
            Part::SendMessage => self.subject.messages(),
        };
        let is_it = |entry: &Activity| matches!(entry, Activity::Subscribed { filter, .. } if *filter == wanted);
        self.hub.activity(self.subject.who()).iter().any(is_it)
    }

    fn act(&mut self, part: Part) -> Result<(), String> {
        let (hub, who) = (self.hub, self.subject.who());
        match part {
            Part::ChangeDesired => hub.patch_desired(who, self.story.change.clone()).map(drop),
            Part::CallMethods => {
                self.calls = self.story.methods.iter().map(|method| hub.start_method(who, call(method))).collect();
                Ok(())
            }
            Part::SendMessage => {
                let message = self.story.message.to_c2d();
                match who.module {
                    None => hub.send_c2d(who.device, message.ack(FeedbackMode::Full)),
                    Some(_) => hub.send_input(who, routing::COMMANDS, message.sender(routing::sender(self.subject))),
                }
                .map(drop)
            }
        }
        .map_err(|error| format!("{part:?}: {error}"))
    }
}

fn call(method: &Method) -> MethodCall {
    let call = MethodCall::new(method.name).response_timeout(LIMIT);
    match &method.request {
        Some(payload) => call.payload(payload.clone()),
        None => call,
    }
}
