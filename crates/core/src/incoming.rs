//! A received message in the application's hands.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::answers::{Answer, AnswerKind, Answers};
use crate::event::Refused;
use crate::message::Message;
use crate::transport::{Delivery, Disposition, Unsupported};

/// A cloud-to-device message, or one to a module's input, to be answered once: [`complete`](Self::complete), [`abandon`](Self::abandon) or
/// [`reject`](Self::reject).
///
/// The answer may come at once or later, from any thread; dropping the message unanswered abandons it. Until it is
/// answered the hub keeps it, and over MQTT it holds back the acknowledgements of later messages: after 50 of them, or
/// 60 s, the client reconnects once so that the hub delivers again.
///
/// ```no_run
/// # fn run(client: &mut iothub_core::DeviceClient) {
/// client.set_message_callback(|message, _outbox| {
///     println!("{}", String::from_utf8_lossy(message.payload()));
///     message.complete();
/// });
/// # }
/// ```
///
/// Answering twice does not compile:
///
/// ```compile_fail,E0382
/// # fn run(message: iothub_core::IncomingMessage) {
/// message.complete();
/// message.abandon();
/// # }
/// ```
#[doc(alias = "IOTHUBMESSAGE_DISPOSITION_RESULT")]
#[must_use = "dropping a message abandons it"]
pub struct IncomingMessage {
    message: Message,
    input: Option<String>,
    delivery: Delivery,
    /// `None` once answered.
    answers: Option<Arc<Answers>>,
}

impl IncomingMessage {
    pub(crate) fn new(message: Message, input: Option<String>, delivery: Delivery, answers: Arc<Answers>) -> Self {
        Self { message, input, delivery, answers: Some(answers) }
    }

    /// The input of the module that it came to; `None` for a cloud-to-device message.
    #[doc(alias = "IoTHubMessage_GetInputName")]
    pub fn input_name(&self) -> Option<&str> {
        self.input.as_deref()
    }

    /// The message itself.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Done: the hub deletes the message.
    #[doc(alias = "IoTHubDeviceClient_LL_SendMessageDisposition")]
    #[doc(alias = "IoTHubModuleClient_LL_SendMessageDisposition")]
    pub fn complete(mut self) {
        self.answer(Disposition::Accept);
    }

    /// Not now: the hub delivers the message again. Over MQTT that happens after the next reconnect.
    pub fn abandon(mut self) {
        self.answer(Disposition::Abandon);
    }

    /// Refused: the hub deletes the message and tells its sender.
    ///
    /// # Errors
    ///
    /// MQTT has no way to say this; the error hands the message back.
    #[expect(clippy::result_large_err, reason = "the error hands the message back")]
    pub fn reject(mut self) -> Result<(), Refused<Self>> {
        let unsupported = match &self.answers {
            Some(answers) if !answers.dispositions.contains(&Disposition::Reject) => {
                Unsupported::Disposition { disposition: Disposition::Reject, transport: answers.transport }
            }
            _ => {
                self.answer(Disposition::Reject);
                return Ok(());
            }
        };
        Err(Refused { value: self, reason: unsupported.into() })
    }

    fn answer(&mut self, disposition: Disposition) {
        if let Some(answers) = self.answers.take() {
            let message_id = self.message.message_id().map(str::to_owned);
            let what = AnswerKind::Settlement { disposition, message_id };
            answers.push(Answer { delivery: self.delivery, what });
        }
    }
}

impl Deref for IncomingMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Drop for IncomingMessage {
    fn drop(&mut self) {
        self.answer(Disposition::Abandon);
    }
}

impl fmt::Debug for IncomingMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingMessage")
            .field("message", &self.message)
            .field("input", &self.input)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}
