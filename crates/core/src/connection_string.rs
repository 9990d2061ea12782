//! The connection string: a strict reader of `HostName=...;DeviceId=...;SharedAccessKey=...`.
//!
//! The C SDK's parser skips what it does not understand and can silently create another client than was meant; here
//! every mistake is an error that names the key.

use std::fmt;
use std::str::FromStr;

use crate::limits;
use crate::secret::Secret;

/// A parsed connection string of a device or module.
///
/// Keys are case-sensitive, as in the C SDK. `Debug` shows no secret.
///
/// ```
/// let parsed: iothub_core::ConnectionString =
///     "HostName=contoso.azure-devices.net;DeviceId=dev-1;SharedAccessKey=c2VjcmV0".parse()?;
/// assert_eq!(parsed.device_id(), "dev-1");
/// # Ok::<(), iothub_core::ConnectionStringError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionString {
    host_name: String,
    device_id: String,
    module_id: Option<String>,
    gateway: Option<Gateway>,
    authentication: Authentication,
}

/// How the connection string says that the client proves its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authentication {
    /// `SharedAccessKey`: the client signs its own tokens.
    SharedAccessKey(Secret),
    /// `SharedAccessSignature`: a ready token.
    SharedAccessSignature(Secret),
    /// `x509=true`: a certificate, which is given separately.
    X509,
}

/// `GatewayHostName`, with the port that it may carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The host.
    pub host: String,
    /// The port, if one was given.
    pub port: Option<u16>,
}

/// A connection string that cannot be used. No value of a secret is part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStringError {
    /// A part has no `=`.
    #[error("part {position} of the connection string is not of the form key=value")]
    NotAPair {
        /// Which part, counted from 1.
        position: usize,
    },
    /// A key appears twice.
    #[error("the connection string has {0} twice")]
    Duplicate(&'static str),
    /// A value is empty.
    #[error("the connection string has {0} without a value")]
    Empty(&'static str),
    /// A required key is missing.
    #[error("the connection string has no {0}")]
    Missing(&'static str),
    /// A key that is not part of a device's or module's connection string.
    #[error(
        "the connection string has the unknown key {0:?}; known are HostName, DeviceId, ModuleId, GatewayHostName, SharedAccessKey, SharedAccessSignature and x509 (keys are case-sensitive)"
    )]
    UnknownKey(String),
    /// A key that belongs to a connection string of the service side.
    #[error(
        "the connection string has {0}, so it is one of the hub's own for back-end services; a device needs its own, with DeviceId"
    )]
    ServiceKey(&'static str),
    /// A value does not have the form that its key asks for.
    #[error("the value of {key} in the connection string {problem}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// None, or more than one, of the ways to authenticate.
    #[error(
        "the connection string must have exactly one of SharedAccessKey, SharedAccessSignature and x509=true; it has {0}"
    )]
    Authentication(usize),
}

impl ConnectionString {
    /// The hub's host name.
    pub fn host_name(&self) -> &str {
        &self.host_name
    }

    /// The device id.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// The module id, if it is a module's connection string.
    pub fn module_id(&self) -> Option<&str> {
        self.module_id.as_deref()
    }

    /// The gateway, if the client is to connect through one.
    pub fn gateway(&self) -> Option<&Gateway> {
        self.gateway.as_ref()
    }

    /// How the client proves its identity.
    pub fn authentication(&self) -> &Authentication {
        &self.authentication
    }
}

/// The values as they are collected; each may be set once.
#[derive(Default)]
struct Fields<'a> {
    host_name: Option<&'a str>,
    device_id: Option<&'a str>,
    module_id: Option<&'a str>,
    gateway: Option<&'a str>,
    key: Option<&'a str>,
    signature: Option<&'a str>,
    x509: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, ConnectionStringError> {
        let mut fields = Self::default();
        let text = text.strip_suffix(';').unwrap_or(text);
        for (index, part) in text.split(';').enumerate() {
            let Some((key, value)) = part.split_once('=') else {
                return Err(ConnectionStringError::NotAPair { position: index + 1 });
            };
            let (name, field) = fields.slot(key)?;
            if field.is_some() {
                return Err(ConnectionStringError::Duplicate(name));
            }
            if value.is_empty() {
                return Err(ConnectionStringError::Empty(name));
            }
            *field = Some(value);
        }
        Ok(fields)
    }

    fn slot(&mut self, key: &str) -> Result<(&'static str, &mut Option<&'a str>), ConnectionStringError> {
        Ok(match key {
            "HostName" => ("HostName", &mut self.host_name),
            "DeviceId" => ("DeviceId", &mut self.device_id),
            "ModuleId" => ("ModuleId", &mut self.module_id),
            "GatewayHostName" => ("GatewayHostName", &mut self.gateway),
            "SharedAccessKey" => ("SharedAccessKey", &mut self.key),
            "SharedAccessSignature" => ("SharedAccessSignature", &mut self.signature),
            "x509" => ("x509", &mut self.x509),
            "SharedAccessKeyName" => return Err(ConnectionStringError::ServiceKey("SharedAccessKeyName")),
            other => return Err(ConnectionStringError::UnknownKey(shorten(other))),
        })
    }

    fn authentication(&self) -> Result<Authentication, ConnectionStringError> {
        let x509 = match self.x509 {
            Some("true") => Some(Authentication::X509),
            Some("false") | None => None,
            Some(_) => return Err(ConnectionStringError::Value { key: "x509", problem: "is neither true nor false" }),
        };
        let key = self.key.map(|key| Authentication::SharedAccessKey(Secret::new(key)));
        let signature = self.signature.map(|text| Authentication::SharedAccessSignature(Secret::new(text)));
        let mut given: Vec<_> = [key, signature, x509].into_iter().flatten().collect();
        match (given.len(), given.pop()) {
            (1, Some(authentication)) => Ok(authentication),
            (count, _) => Err(ConnectionStringError::Authentication(count)),
        }
    }
}

impl FromStr for ConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields = Fields::read(text)?;
        let host_name = fields.host_name.ok_or(ConnectionStringError::Missing("HostName"))?;
        let device_id = fields.device_id.ok_or(ConnectionStringError::Missing("DeviceId"))?;
        check_host("HostName", host_name)?;
        check_id("DeviceId", device_id)?;
        if let Some(module_id) = fields.module_id {
            check_id("ModuleId", module_id)?;
        }
        Ok(Self {
            host_name: host_name.to_owned(),
            device_id: device_id.to_owned(),
            module_id: fields.module_id.map(str::to_owned),
            gateway: fields.gateway.map(Gateway::parse).transpose()?,
            authentication: fields.authentication()?,
        })
    }
}

impl Gateway {
    pub(crate) fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => {
                let problem = "has a port that is not a number from 1 to 65535";
                let error = ConnectionStringError::Value { key: "GatewayHostName", problem };
                (host, Some(port.parse().ok().filter(|port| *port != 0).ok_or(error)?))
            }
            None => (text, None),
        };
        check_host("GatewayHostName", host)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

fn check_host(key: &'static str, host: &str) -> Result<(), ConnectionStringError> {
    host_problem(host).map_or(Ok(()), |problem| Err(ConnectionStringError::Value { key, problem }))
}

fn check_id(key: &'static str, id: &str) -> Result<(), ConnectionStringError> {
    id_problem(id).map_or(Ok(()), |problem| Err(ConnectionStringError::Value { key, problem }))
}

/// What is wrong with a host name or an IPv4 address: it must be able to stand in a certificate and in an MQTT user name.
pub(crate) fn host_problem(host: &str) -> Option<&'static str> {
    let labels_are_filled = host.split('.').all(|label| !label.is_empty());
    let characters_are_good = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    let is_good = labels_are_filled && characters_are_good;
    (!is_good).then_some("is not a host name: give the bare name, without scheme and path")
}

/// What is wrong with an id. The hub's rule: ASCII letters, digits and `- . % _ * ? ! ( ) , : = @ $ ' + #`. Of these, `#` and
/// `+` are MQTT wildcards that would make topics ambiguous, so they are refused.
pub(crate) fn id_problem(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        Some("is empty")
    } else if id.len() > limits::MAX_DEVICE_ID {
        Some("is longer than 128 characters")
    } else if !id.chars().all(|c| c.is_ascii_alphanumeric() || "-.%_*?!(),:=@$'".contains(c)) {
        Some("has a character that is not allowed: letters, digits and - . % _ * ? ! ( ) , : = @ $ ' are")
    } else {
        None
    }
}

/// The length of the longest known key, `SharedAccessSignature`.
const LONGEST_KEY: usize = 21;

/// An unknown key may be a secret that lost its `SharedAccessKey=`: of one that is longer than any known key, the
/// beginning is enough to find it. (The shortest device key has 16 bytes, so 22 characters before its `==`.)
fn shorten(key: &str) -> String {
    match key.chars().count() > LONGEST_KEY {
        true => format!("{}...", key.chars().take(8).collect::<String>()),
        false => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> ConnectionStringError {
        text.parse::<ConnectionString>().unwrap_err()
    }

    #[test]
    fn every_part_is_read() {
        let text = "HostName=h.example;DeviceId=d;ModuleId=m;GatewayHostName=edge:8884;SharedAccessKey=YQ==;";
        let parsed: ConnectionString = text.parse().unwrap();
        assert_eq!((parsed.host_name(), parsed.device_id(), parsed.module_id()), ("h.example", "d", Some("m")));
        assert_eq!(parsed.gateway(), Some(&Gateway { host: "edge".into(), port: Some(8884) }));
        assert_eq!(parsed.authentication(), &Authentication::SharedAccessKey(Secret::new("YQ==")));
    }

    #[test]
    fn a_shared_access_signature_keeps_its_equal_signs() {
        let token = "SharedAccessSignature sr=h%2Fdevices%2Fd&sig=a%3D&se=1";
        let parsed: ConnectionString = format!("HostName=h;DeviceId=d;SharedAccessSignature={token}").parse().unwrap();
        assert_eq!(parsed.authentication(), &Authentication::SharedAccessSignature(Secret::new(token)));
    }

    #[test]
    fn each_mistake_is_named() {
        use ConnectionStringError as E;
        assert_eq!(error(""), E::NotAPair { position: 1 });
        assert_eq!(error("HostName=h;;DeviceId=d"), E::NotAPair { position: 2 });
        assert_eq!(error("HostName=h;HostName=h"), E::Duplicate("HostName"));
        assert_eq!(error("HostName=h;DeviceId=;SharedAccessKey=k"), E::Empty("DeviceId"));
        assert_eq!(error("DeviceId=d;SharedAccessKey=k"), E::Missing("HostName"));
        assert_eq!(error("HostName=h;SharedAccessKey=k"), E::Missing("DeviceId"));
        assert_eq!(error("hostname=h;DeviceId=d"), E::UnknownKey("hostname".into()));
        assert_eq!(error("HostName=h;SharedAccessKeyName=iothubowner"), E::ServiceKey("SharedAccessKeyName"));
        assert!(matches!(error("HostName=https://h;DeviceId=d;x509=true"), E::Value { key: "HostName", .. }));
        assert!(matches!(error("HostName=h;DeviceId=a/b;x509=true"), E::Value { key: "DeviceId", .. }));
        assert!(matches!(error("HostName=h;DeviceId=d;x509=yes"), E::Value { key: "x509", .. }));
        assert!(matches!(error("HostName=h;DeviceId=d;GatewayHostName=g:0;x509=true"), E::Value { .. }));
    }

    #[test]
    fn exactly_one_way_to_authenticate_is_needed() {
        use ConnectionStringError as E;
        assert_eq!(error("HostName=h;DeviceId=d"), E::Authentication(0));
        assert_eq!(error("HostName=h;DeviceId=d;x509=false"), E::Authentication(0));
        assert_eq!(error("HostName=h;DeviceId=d;SharedAccessKey=k;x509=true"), E::Authentication(2));
    }

    #[test]
    fn a_module_is_not_lost_behind_a_switch_that_is_off() {
        let parsed: ConnectionString = "HostName=h;DeviceId=d;SharedAccessKey=k;x509=false;ModuleId=m".parse().unwrap();
        assert_eq!(parsed.module_id(), Some("m"));
    }

    #[test]
    fn ids_have_a_length() {
        let with = |n: usize| format!("HostName=h;DeviceId={};x509=true", "d".repeat(n)).parse::<ConnectionString>();
        assert!(with(128).is_ok());
        assert!(with(129).is_err());
    }

    #[test]
    fn a_long_unknown_key_is_cut_between_characters() {
        let key = "aaaaaaaéaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(error(&format!("HostName=h;{key}=x")), ConnectionStringError::UnknownKey("aaaaaaaé...".into()));
    }

    #[test]
    fn no_secret_is_shown() {
        let parsed: ConnectionString = "HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0".parse().unwrap();
        assert!(!format!("{parsed:?}").contains("c2VjcmV0"));
        let lost = error("HostName=h;DeviceId=d;c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0=");
        assert!(!format!("{lost} {lost:?}").contains("c2VjcmV0c2VjcmV0"), "{lost}");
        let shortest = error("HostName=h;DeviceId=d;c2hvcnQga2V5IG9mIDE2IQ==");
        assert!(!shortest.to_string().contains("c2hvcnQga2V5IG9mIDE2IQ"), "{shortest}");
    }
}
