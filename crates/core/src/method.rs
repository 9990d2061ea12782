//! A direct method in the application's hands.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::answers::{Answer, AnswerKind, Answers};
use crate::event::{Refused, RefusedReason};
use crate::json;
use crate::limits::MAX_METHOD_PAYLOAD;
use crate::transport::Delivery;

/// The status of a method that was dropped unanswered.
const UNANSWERED: i32 = 500;

/// A call of a direct method, to be answered once: [`respond`](Self::respond).
///
/// The answer may come at once or later, from any thread; dropped unanswered it answers 500. The caller waits for 30 s
/// unless it chose otherwise (5 s to 300 s). An answer after the connection was lost is not sent, and reported as
/// [`Event::StaleMethodResponse`](crate::Event::StaleMethodResponse).
///
/// ```no_run
/// # fn run(client: &mut iothub_core::DeviceClient) {
/// client.set_method_callback(|request, _outbox| {
///     let (status, body) = match request.name() {
///         "reboot" => (200, r#"{"in":"5 s"}"#),
///         _ => (404, r#"{"message":"no such method"}"#),
///     };
///     if let Err(refused) = request.respond(status, body) {
///         println!("{refused}");
///     }
/// });
/// # }
/// ```
///
/// Answering twice does not compile:
///
/// ```compile_fail,E0382
/// # fn run(request: iothub_core::MethodRequest) {
/// let _ = request.respond(200, "1");
/// let _ = request.respond(200, "2");
/// # }
/// ```
#[doc(alias = "METHOD_HANDLE")]
#[must_use = "dropping a method request answers 500"]
pub struct MethodRequest {
    name: String,
    payload: Bytes,
    delivery: Delivery,
    /// `None` once answered.
    answers: Option<Arc<Answers>>,
}

impl MethodRequest {
    pub(crate) fn new(name: String, payload: Bytes, delivery: Delivery, answers: Arc<Answers>) -> Self {
        answers.method_opened();
        Self { name, payload, delivery, answers: Some(answers) }
    }

    /// The method's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The payload: JSON text, or nothing.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Answers the call. The status is the application's, as in HTTP by convention; an empty body is sent as `null`.
    ///
    /// # Errors
    ///
    /// A body that is not JSON or larger than 128 KiB is refused, and the request comes back.
    #[doc(alias = "IoTHubClient_LL_DeviceMethodResponse")]
    #[doc(alias = "IoTHubDeviceClient_LL_DeviceMethodResponse")]
    pub fn respond(mut self, status: i32, body: impl Into<Bytes>) -> Result<(), Refused<Self>> {
        let body = match body.into() {
            empty if empty.is_empty() => Bytes::from_static(b"null"),
            body => body,
        };
        let reason = if body.len() > MAX_METHOD_PAYLOAD {
            RefusedReason::MethodResponseTooLarge { size: body.len(), limit: MAX_METHOD_PAYLOAD }
        } else if let Err(error) = json::read::<IgnoredAny>(&body) {
            RefusedReason::NotJson(error)
        } else {
            self.answer(status, body);
            return Ok(());
        };
        Err(Refused { value: self, reason })
    }

    pub(crate) fn answer(&mut self, status: i32, body: Bytes) {
        if let Some(answers) = self.answers.take() {
            answers.method_answered();
            let name = std::mem::take(&mut self.name);
            answers.push(Answer { delivery: self.delivery, what: AnswerKind::MethodResponse { name, status, body } });
        }
    }
}

impl Drop for MethodRequest {
    fn drop(&mut self) {
        self.answer(UNANSWERED, Bytes::from_static(br#"{"message":"the device did not answer"}"#));
    }
}

// The payload is the application's, and may be secret.
impl fmt::Debug for MethodRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodRequest")
            .field("name", &self.name)
            .field("payload_bytes", &self.payload.len())
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}
