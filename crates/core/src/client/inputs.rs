//! Modules: messages to outputs, and messages from inputs.

use std::collections::BTreeMap;

use super::callbacks::{Callback, CallbackSlot, Confirm};
use super::face::Module;
use super::outbox::{Due, Outbox};
use crate::event::{Event, Refused, Undelivered};
use crate::incoming::IncomingMessage;
use crate::message::Message;
use crate::system_property::SystemProperty;
use crate::transport::{Feature, OpId, Redelivery, Unsupported};

/// How many messages to inputs without a callback are kept: half of what a transport lets be undecided (AMQP: 50), so
/// that those to other inputs have room beside them.
pub(super) const MAX_UNCLAIMED: usize = 25;

/// Callbacks by the exact name of their input.
pub(super) type InputCallbacks<K> = BTreeMap<String, CallbackSlot<Callback<K, IncomingMessage>>>;

impl Outbox<Module> {
    /// Queues a message for one of the module's outputs, from where the routes of the Edge hub take it on. As
    /// [`send_event`](Self::send_event) else.
    ///
    /// # Errors
    ///
    /// As for `send_event`, and if the output's name is empty or has characters other than printable ASCII. The message
    /// that comes back is the one that was given.
    #[doc(alias = "IoTHubModuleClient_LL_SendEventToOutputAsync")]
    pub fn send_event_to_output(&mut self, message: impl Into<Message>, output: &str) -> Result<(), Refused<Message>> {
        self.enqueue_to_output(message.into(), output, Confirm::Nobody).map(|_| ())
    }

    /// Queues a message for an output, and calls back with its outcome: see [`send_event_with`](Self::send_event_with).
    pub fn send_event_to_output_with(
        &mut self,
        message: impl Into<Message>,
        output: &str,
        callback: impl FnOnce(Result<(), Undelivered>, &mut Outbox<Module>) + Send + 'static,
    ) -> Result<(), Refused<Message>> {
        self.enqueue_to_output(message.into(), output, Confirm::Callback(Box::new(callback))).map(|_| ())
    }

    /// Queues a message for an output; its outcome comes as an event: see
    /// [`send_event_tracked`](Self::send_event_tracked).
    pub fn send_event_to_output_tracked(
        &mut self,
        message: impl Into<Message>,
        output: &str,
    ) -> Result<OpId, Refused<Message>> {
        self.enqueue_to_output(message.into(), output, Confirm::Event)
    }

    fn enqueue_to_output(
        &mut self,
        mut message: Message,
        output: &str,
        confirm: Confirm<Module, Result<(), Undelivered>>,
    ) -> Result<OpId, Refused<Message>> {
        const OUTPUT: SystemProperty = SystemProperty::OutputName;
        if let Err(error) = Message::check_system(OUTPUT, output) {
            return Err(Refused { value: message, reason: error.into() });
        }
        let before = message.take_system(OUTPUT);
        message.put_system(OUTPUT, output.to_owned());
        self.enqueue(message, confirm).map_err(|mut refused| {
            refused.value.take_system(OUTPUT);
            if let Some(output) = before {
                refused.value.put_system(OUTPUT, output);
            }
            refused
        })
    }

    /// Receives messages to the module's inputs, and calls back from within `do_work` with each for whose input there is
    /// no callback of its own. A callback that is set already is replaced.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if the transport has no module inputs; a callback that was set stays.
    #[doc(alias = "IoTHubModuleClient_LL_SetMessageCallback")]
    pub fn set_message_callback(
        &mut self,
        callback: impl FnMut(IncomingMessage, &mut Outbox<Module>) + Send + 'static,
    ) -> Result<(), Unsupported> {
        self.want(Feature::Inputs)?;
        self.callbacks.message = CallbackSlot::Set(Box::new(callback));
        self.claim(|_| true);
        Ok(())
    }

    /// Removes the callback for inputs without one of their own.
    pub fn clear_message_callback(&mut self) {
        self.callbacks.message = CallbackSlot::Empty;
        self.unsubscribe_unused_inputs();
    }

    /// Receives messages to the module's inputs, and calls back from within `do_work` with each that comes to this one
    /// (the exact name). A callback that is set already for this input is replaced; those of other inputs stay.
    ///
    /// A message for whose input there is no callback goes to the one of
    /// [`set_message_callback`](Self::set_message_callback); without that to [`next_event`](Self::next_event) if
    /// [`Feature::Inputs`] was subscribed to. Else it is counted in [`stats`](Self::stats) and left to the hub, which over
    /// MQTT sends it again after the next reconnect. Over AMQP, where the hub would send it again at once until it gives
    /// it up, the client keeps up to 25 of them undecided, for who claims their input before the connection ends.
    ///
    /// ```no_run
    /// # fn run(client: &mut iothub_core::ModuleClient) -> Result<(), Box<dyn std::error::Error>> {
    /// client.set_input_callback("temperatures", |message, outbox| {
    ///     match outbox.send_event_to_output(message.payload().clone(), "alerts") {
    ///         Ok(()) => message.complete(),
    ///         Err(_) => message.abandon(),
    ///     }
    /// })?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if the transport has no module inputs; a callback that was set stays.
    #[doc(alias = "IoTHubModuleClient_LL_SetInputMessageCallback")]
    pub fn set_input_callback(
        &mut self,
        input: impl Into<String>,
        callback: impl FnMut(IncomingMessage, &mut Outbox<Module>) + Send + 'static,
    ) -> Result<(), Unsupported> {
        self.want(Feature::Inputs)?;
        let input = input.into();
        self.claim(|message| message.input_name() == Some(&input));
        self.callbacks.inputs.insert(input, CallbackSlot::Set(Box::new(callback)));
        Ok(())
    }

    /// Removes the callback of one input.
    pub fn clear_input_callback(&mut self, input: &str) {
        self.callbacks.inputs.remove(input);
        self.unsubscribe_unused_inputs();
    }

    fn unsubscribe_unused_inputs(&mut self) {
        let has_default = !matches!(self.callbacks.message, CallbackSlot::Empty);
        if !has_default && self.callbacks.inputs.is_empty() && !self.unclaimed_inputs_are_events {
            self.unsubscribe(Feature::Inputs);
        }
    }
}

impl<K> Outbox<K> {
    /// Hands a message to the callback of its input, the default one, or the events.
    pub(super) fn tell_input(&mut self, input: &str, message: IncomingMessage) {
        let Some(message) = self.call_input(input, message) else { return };
        let Some(message) = self.call(|callbacks| &mut callbacks.message, message) else { return };
        if self.unclaimed_inputs_are_events {
            return self.events.push(Event::Message(message));
        }
        self.stats.unwanted += 1;
        let comes_at_once = self.transport.capabilities().redelivery == Redelivery::AtOnce;
        if comes_at_once && self.unclaimed.len() < MAX_UNCLAIMED {
            self.unclaimed.push(message);
        } else {
            message.abandon();
        }
    }

    /// Hands out what came before there was somebody who wants it, older than anything that waits to be told.
    pub(super) fn claim(&mut self, wants: impl FnMut(&IncomingMessage) -> bool) {
        let (claimed, rest): (Vec<_>, _) = std::mem::take(&mut self.unclaimed).into_iter().partition(wants);
        self.unclaimed = rest;
        claimed.into_iter().rev().for_each(|message| self.due.push_front(Due::Event(Event::Message(message))));
    }

    /// Runs the input's own callback, if one is set; else the message comes back.
    fn call_input(&mut self, input: &str, message: IncomingMessage) -> Option<IncomingMessage> {
        let Some(mut callback) = self.callbacks.inputs.get_mut(input).and_then(CallbackSlot::start) else {
            return Some(message);
        };
        callback(message, self);
        if let Some(slot) = self.callbacks.inputs.get_mut(input) {
            slot.finish(callback);
        }
        None
    }
}
