//! What can be changed after creation: the retry policy, options, and a token of the application.

use std::time::Duration;

use super::outbox::Outbox;
use super::sampling::Sampling;
use crate::create_error::CreateError;
use crate::credential::{Credential, CredentialError};
use crate::limits::MIN_TOKEN_LIFETIME_SECS;
use crate::options::{ClientOption, OptionError};
use crate::retry::RetryConfig;
use crate::secret::Secret;

impl<K> Outbox<K> {
    /// Replaces the retry policy with all its parameters. A client that waits for its next attempt, or has stopped,
    /// tries again at once.
    #[doc(alias = "IoTHubClient_LL_SetRetryPolicy")]
    #[doc(alias = "IoTHubDeviceClient_LL_SetRetryPolicy")]
    #[doc(alias = "IoTHubModuleClient_LL_SetRetryPolicy")]
    #[doc(alias = "IoTHubTransport_SetRetryPolicy")]
    pub fn set_retry_policy(&mut self, config: impl Into<RetryConfig>) {
        self.connection.set_retry(config.into());
    }

    /// The retry policy in force.
    #[doc(alias = "IoTHubClient_LL_GetRetryPolicy")]
    #[doc(alias = "IoTHubDeviceClient_LL_GetRetryPolicy")]
    #[doc(alias = "IoTHubModuleClient_LL_GetRetryPolicy")]
    pub fn retry_policy(&self) -> &RetryConfig {
        self.connection.retry_config()
    }

    /// Puts another shared access signature in place of the one that the client was given, and connects with it: at once
    /// if the client had stopped because the old one expired, else by a planned renewal.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if the text is no token, or the client uses a key or a certificate.
    pub fn set_shared_access_signature(&mut self, token: impl Into<String>) -> Result<(), CredentialError> {
        self.tokens.replace(Secret::new(token))?;
        self.renewal_wanted = true;
        self.connection.reconnect();
        Ok(())
    }

    /// Proves the client's identity otherwise from now on: by another key, token, signer or certificate. A live connection
    /// is replaced by a planned renewal, in which nothing is lost; a client that waits or has stopped tries at once.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if a certificate cannot be used; the old credential stays in force.
    pub fn set_credential(&mut self, credential: impl Into<Credential>) -> Result<(), CreateError> {
        let credential = credential.into();
        let certificate = match &credential {
            Credential::X509(certificate) => Some(certificate),
            _ => None,
        };
        if certificate.is_some() || self.tokens.is_x509() {
            self.transport.set_certificate(self.slot, certificate)?;
            self.https.set_certificate(certificate)?;
        }
        self.tokens.replace_credential(credential);
        self.renewal_wanted = true;
        // For a connection that waits for a token of the old one.
        self.awaits_slice = true;
        self.connection.reconnect();
        Ok(())
    }

    /// Sets an option. See [`ClientOption`] for ranges and for when each takes effect.
    ///
    /// # Errors
    ///
    /// [`OptionError`] names the option that is out of range or that the transport does not have.
    #[doc(alias = "IoTHubClient_LL_SetOption")]
    #[doc(alias = "IoTHubDeviceClient_LL_SetOption")]
    #[doc(alias = "IoTHubModuleClient_LL_SetOption")]
    pub fn set_option(&mut self, option: ClientOption) -> Result<(), OptionError> {
        let range = |option, value: Duration, allowed| {
            Err(OptionError::Range { option, value: format!("{} s", value.as_secs_f64()), allowed })
        };
        let retry = *self.connection.retry_config();
        match option {
            ClientOption::MessageTimeout(timeout) => self.message_timeout = timeout,
            ClientOption::TokenLifetime(life) if life < Duration::from_secs(MIN_TOKEN_LIFETIME_SECS) => {
                return range("sas_token_lifetime", life, "at least 5 s");
            }
            ClientOption::TokenLifetime(life) => self.tokens.set_lifetime(life),
            ClientOption::RetryInterval(delay) if delay < Duration::from_secs(1) => {
                return range("retry_interval_sec", delay, "at least 1 s");
            }
            ClientOption::RetryInterval(delay) => self.connection.adjust_retry(retry.with_initial_delay(delay)),
            ClientOption::RetryMaxDelay(delay) if delay < retry.initial_delay => {
                return range("retry_max_delay_secs", delay, "at least the retry interval");
            }
            ClientOption::RetryMaxDelay(delay) => self.connection.adjust_retry(retry.with_max_delay(delay)),
            ClientOption::DiagnosticSampling { percent } if percent > 100 => {
                let (option, value) = ("diag_sampling_percentage", format!("{percent} %"));
                return Err(OptionError::Range { option, value, allowed: "from 0 to 100" });
            }
            ClientOption::DiagnosticSampling { percent } => self.sampling = Sampling::new(percent),
            ClientOption::Transport(option) => self.transport.set_option(&option)?,
        }
        Ok(())
    }
}
