//! An HTTP proxy on the way to the hub.

use std::fmt;

use crate::secret::Secret;

/// An HTTP proxy that connects on to the hub (`CONNECT`, RFC 9110, 9.3.6).
///
/// TLS runs from the client to the hub, so the proxy sees the hub's name and port and nothing else. It looks the hub's
/// name up; this machine only looks up the proxy's. Every transport can use it, plain MQTT too, if the proxy allows the
/// port.
///
/// ```
/// use iothub_core::Proxy;
///
/// let proxy = Proxy::new("proxy.example", 3128).with_credentials("user", "a password");
/// assert_eq!(proxy.to_string(), "proxy.example:3128");
/// assert!(!format!("{proxy:?}").contains("a password"));
/// ```
#[doc(alias = "proxy_data")]
#[doc(alias = "HTTP_PROXY_OPTIONS")]
#[doc(alias = "IOTHUB_PROXY_OPTIONS")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxy {
    /// Its name or address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// User name and password, if it wants them.
    pub credentials: Option<(String, Secret)>,
}

impl Proxy {
    /// A proxy that asks nobody who he is. Host and port are checked when the client is created.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, credentials: None }
    }

    /// The same proxy with a user name and a password (Basic, RFC 7617), which are sent with every connection.
    ///
    /// They go to the proxy as they are, without TLS, as with every HTTP proxy. A user name cannot have a colon, and
    /// neither can have control characters.
    #[must_use]
    pub fn with_credentials(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { credentials: Some((user.into(), Secret::new(password))), ..self }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
