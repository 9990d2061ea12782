//! Creating a client: every option in one place, checked before anything happens.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::callbacks::Callbacks;
use super::connection::Connection;
use super::face::Face;
use super::https::Https;
use super::invoke::Invocations;
use super::origin::{Origin, Origins};
use super::sampling::Sampling;
use super::tokens::{DEFAULT_LIFETIME, Tokens};
use super::twin_requests::MAX_REQUESTS;
use super::twin_sync::TwinSync;
use super::{Client, Outbox, Stats};
use crate::answers::Answers;
use crate::connection_string::{ConnectionStringError, Gateway};
use crate::create_error::CreateError;
use crate::credential::Credential;
use crate::endpoint::{ClientCertificate, Endpoint, Trust};
use crate::event::EventQueue;
use crate::http_engine::HttpProvider;
use crate::identity::Identity;
use crate::lane::{Bounds, Lane};
use crate::limits::MIN_TOKEN_LIFETIME_SECS;
use crate::platform::Platform;
use crate::proxy::Proxy;
use crate::retry::RetryConfig;
use crate::secret::Secret;
use crate::transport::{Provider, Registration};

/// Options of a client, and [`build`](Self::build), which creates it.
///
/// ```no_run
/// # fn run(provider: &dyn iothub_core::Provider, connection_string: &str, ca: String) -> Result<(), iothub_core::CreateError> {
/// use std::time::Duration;
/// use iothub_core::DeviceClient;
///
/// let client = DeviceClient::builder(connection_string)
///     .trusted_certs(ca)
///     .message_timeout(Duration::from_secs(120))
///     .build(provider)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder<K> {
    origin: Origin,
    gateway: Option<String>,
    trust: Trust,
    proxy: Option<Proxy>,
    product_info: Option<String>,
    model_id: Option<String>,
    token_lifetime: Duration,
    message_timeout: Option<Duration>,
    bounds: Bounds,
    retry: RetryConfig,
    platform: PlatformChoice,
    https: HttpsChoice,
    kind: PhantomData<fn(K)>,
}

/// `None` takes the provider's.
struct PlatformChoice(Option<Box<dyn Platform>>);

impl std::fmt::Debug for PlatformChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "given" } else { "the transport's" })
    }
}

struct HttpsChoice(Option<Arc<dyn HttpProvider>>);

impl std::fmt::Debug for HttpsChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "given" } else { "none" })
    }
}

impl<K: Face> ClientBuilder<K> {
    pub(super) fn from_connection_string(text: &str) -> Self {
        Self::new(Origin::ConnectionString { text: Secret::new(text), certificate: None })
    }

    pub(super) fn from_parameters(identity: Identity, credential: Credential) -> Self {
        Self::new(Origin::Parameters { identity, credential })
    }

    fn new(origin: Origin) -> Self {
        Self {
            origin,
            gateway: None,
            trust: Trust::System,
            proxy: None,
            product_info: None,
            model_id: None,
            token_lifetime: DEFAULT_LIFETIME,
            message_timeout: None,
            bounds: Bounds { count: 10_000, bytes: 16 << 20 },
            retry: RetryConfig::default(),
            platform: PlatformChoice(None),
            https: HttpsChoice(None),
            kind: PhantomData,
        }
    }

    /// The certificate and its key, for a connection string with `x509=true`.
    #[doc(alias = "x509certificate")]
    #[doc(alias = "x509privatekey")]
    pub fn certificate(mut self, new: ClientCertificate) -> Self {
        match &mut self.origin {
            Origin::ConnectionString { certificate, .. } => *certificate = Some(new),
            Origin::Parameters { credential, .. } => *credential = Credential::X509(new),
        }
        self
    }

    /// The gateway to connect through instead of straight to the hub: a host name, with `:port` if it is not the
    /// transport's own. It goes before `GatewayHostName` in a connection string.
    #[doc(alias = "GatewayHostName")]
    #[doc(alias = "protocolGatewayHostName")]
    pub fn gateway(self, gateway: impl Into<String>) -> Self {
        Self { gateway: Some(gateway.into()), ..self }
    }

    /// The root certificates, as PEM text, that may vouch for the hub or gateway, instead of the system's.
    #[doc(alias = "TrustedCerts")]
    pub fn trusted_certs(self, pem: impl Into<String>) -> Self {
        Self { trust: Trust::Pem(pem.into()), ..self }
    }

    pub(super) fn trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// What speaks HTTPS for the client, for what its transport cannot do: calling methods through an Edge gateway.
    pub fn https(self, provider: impl HttpProvider + 'static) -> Self {
        self.https_provider(Arc::new(provider))
    }

    pub(super) fn https_provider(self, provider: Arc<dyn HttpProvider>) -> Self {
        Self { https: HttpsChoice(Some(provider)), ..self }
    }

    /// The HTTP proxy to connect through, on every transport. Default: none; the environment is not asked.
    #[doc(alias = "proxy_data")]
    pub fn proxy(self, proxy: Proxy) -> Self {
        Self { proxy: Some(proxy), ..self }
    }

    /// A text that stands before the client's own name in what it tells the hub about itself.
    pub fn product_info(self, product: impl Into<String>) -> Self {
        Self { product_info: Some(product.into()), ..self }
    }

    /// The device's Plug and Play model: `dtmi:com:example:Thermostat;1`.
    pub fn model_id(self, model_id: impl Into<String>) -> Self {
        Self { model_id: Some(model_id.into()), ..self }
    }

    /// How long a token that the client signs is valid: default 1 h, at least 5 s (C SDK).
    #[doc(alias = "sas_token_lifetime")]
    pub fn token_lifetime(self, lifetime: Duration) -> Self {
        Self { token_lifetime: lifetime, ..self }
    }

    /// How long a message may take from `send_event` to the hub's confirmation. Default: without limit.
    #[doc(alias = "messageTimeout")]
    pub fn message_timeout(self, timeout: Duration) -> Self {
        Self { message_timeout: Some(timeout), ..self }
    }

    /// How many messages the client holds without an outcome: default 10,000, at least 1.
    pub fn max_queued_messages(mut self, messages: usize) -> Self {
        self.bounds.count = messages;
        self
    }

    /// How many bytes of messages the client holds without an outcome: default 16 MiB, at least 256 KiB.
    pub fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// When to try again after a failure. Default: exponential back-off with jitter, without limit.
    pub fn retry_policy(self, retry: impl Into<RetryConfig>) -> Self {
        Self { retry: retry.into(), ..self }
    }

    /// Another clock and poller than the transport's: for tests, and for systems that have their own.
    pub fn platform(self, platform: Box<dyn Platform>) -> Self {
        Self { platform: PlatformChoice(Some(platform)), ..self }
    }

    /// Creates the client. Nothing goes on the wire before the first `do_work`.
    ///
    /// # Errors
    ///
    /// [`CreateError`] names the key, option or certificate that is wrong.
    pub fn build(self, provider: &dyn Provider) -> Result<Client<K>, CreateError> {
        self.check_ranges()?;
        let Origins { identity, gateway, credential } = self.origin.resolve(K::IS_MODULE)?;
        let gateway = match self.gateway {
            Some(text) => Some(Gateway::parse(&text).map_err(wrong_gateway)?),
            None => gateway,
        };
        let mut endpoint = Endpoint::new(gateway.as_ref().map_or(identity.hub.as_str(), |gateway| &gateway.host));
        endpoint.port = gateway.as_ref().and_then(|gateway| gateway.port);
        endpoint.trust = self.trust;
        endpoint.proxy = self.proxy;
        if let Credential::X509(certificate) = &credential {
            endpoint.certificate = Some(certificate.clone());
        }

        let https = Https::new(self.https.0, endpoint.trust.clone(), endpoint.certificate.clone());
        let mut transport = provider.transport(&endpoint)?;
        let platform = match self.platform.0 {
            Some(platform) => platform,
            None => provider.platform()?,
        };
        let mut registration =
            Registration::new(identity.clone(), product_info(self.product_info.as_deref()), platform.waker());
        registration.model_id = self.model_id;
        let slot = transport.register(registration)?;
        let answers = Answers::new(platform.waker(), transport.capabilities());

        Ok(Client {
            outbox: Outbox {
                transport,
                slot,
                platform,
                tokens: Tokens::new(credential, &identity, self.token_lifetime),
                identity,
                connection: Connection::new(self.retry),
                telemetry: Lane::new(self.bounds),
                alone: VecDeque::new(),
                window_is_full: false,
                twin_is_full: false,
                awaits_slice: false,
                twin_requests: Lane::new(Bounds { count: MAX_REQUESTS, bytes: usize::MAX }),
                twin_sync: TwinSync::default(),
                invocations: Invocations::new(gateway.map(|gateway| gateway.host)),
                https,
                answers,
                waiting_answers: VecDeque::new(),
                submitted_answers: BTreeMap::new(),
                wanted: Vec::new(),
                callbacks: Callbacks::default(),
                unclaimed_inputs_are_events: false,
                unclaimed: Vec::new(),
                due: VecDeque::new(),
                events: EventQueue::default(),
                last_id: 0,
                sampling: Sampling::default(),
                message_timeout: self.message_timeout,
                last_message: None,
                stats: Stats::default(),
                renewal_wanted: false,
                closing: false,
                kind: PhantomData,
            },
        })
    }

    fn check_ranges(&self) -> Result<(), CreateError> {
        let wrong = |option, value: String, allowed| Err(CreateError::Option { option, value, allowed });
        if self.token_lifetime < Duration::from_secs(MIN_TOKEN_LIFETIME_SECS) {
            return wrong("token_lifetime", format!("{:?}", self.token_lifetime), "at least 5 s");
        }
        if self.bounds.count == 0 {
            return wrong("max_queued_messages", "0".into(), "at least 1");
        }
        if self.bounds.bytes < crate::limits::MAX_TELEMETRY_SIZE {
            return wrong(
                "max_queued_bytes",
                self.bounds.bytes.to_string(),
                "at least 262144, one message of full size",
            );
        }
        Ok(())
    }
}

fn wrong_gateway(error: ConnectionStringError) -> CreateError {
    match error {
        ConnectionStringError::Value { problem, .. } => CreateError::Parameter { name: "gateway", problem },
        other => other.into(),
    }
}

/// What the client says about itself: the product, then the client's name, version and platform.
fn product_info(product: Option<&str>) -> String {
    let own = format!(
        "iothub-client-rust/{} ({}; {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    match product {
        Some(product) => format!("{product} {own}"),
        None => own,
    }
}
