//! Who wants in, and with what.

use std::fmt;

use crate::hub::registry::Identity;
use crate::who::Who;

/// How a device connects without a network: the identity, its token, and what it says about itself.
///
/// ```
/// use iothub_emulator::{Emulator, LocalLogin};
/// use std::task::Waker;
/// use std::time::Duration;
///
/// let emulator = Emulator::start()?;
/// let device = emulator.create_device("thermometer")?;
/// let login = LocalLogin::new("thermometer").token(device.sas_token(Duration::from_secs(3600)));
/// let connection = emulator.connect_local(login, Waker::noop())?;
/// assert!(emulator.connected("thermometer"));
/// # drop(connection);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until it is given to `Hub::connect_local`"]
pub struct LocalLogin {
    pub(super) identity: Identity,
    pub(super) token: Option<String>,
    pub(super) clean_session: bool,
    pub(super) client_type: Option<String>,
    pub(super) model_id: Option<String>,
}

impl LocalLogin {
    /// A device, `"d"`, or a module, `("d", "m")`, without a token: it is refused. Where a certificate is the credential it is refused in any case: only
    /// TLS can prove that somebody has the key.
    pub fn new<'a>(who: impl Into<Who<'a>>) -> Self {
        let identity = Identity::from(who.into());
        Self { identity, token: None, clean_session: false, client_type: None, model_id: None }
    }

    /// The shared access signature: `SharedAccessSignature sr=..&sig=..&se=..`. It is checked as over MQTT: form, scope, signature, expiry.
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// Whether the session begins empty and ends with the connection, as the flag of that name in CONNECT. Default no: what an earlier connection of the
    /// identity has subscribed to, over MQTT too, is still subscribed.
    pub fn clean_session(self, clean: bool) -> Self {
        Self { clean_session: clean, ..self }
    }

    /// What the client says about itself: `DeviceClientType`.
    pub fn client_type(self, text: impl Into<String>) -> Self {
        Self { client_type: Some(text.into()), ..self }
    }

    /// The Plug and Play model, with which the hub stamps the telemetry.
    pub fn model_id(self, model: impl Into<String>) -> Self {
        Self { model_id: Some(model.into()), ..self }
    }
}

impl fmt::Debug for LocalLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLogin")
            .field("identity", &format_args!("{}", self.identity))
            .field("token", &self.token.as_ref().map(|_| "<redacted>"))
            .field("clean_session", &self.clean_session)
            .finish_non_exhaustive()
    }
}
