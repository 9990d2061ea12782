//! Who a client is and how it proves that, from a connection string or from parameters.

use crate::connection_string::{Authentication, ConnectionString, Gateway, host_problem, id_problem};
use crate::create_error::CreateError;
use crate::credential::{Credential, CredentialError, SharedAccessKey, SharedAccessSignature};
use crate::endpoint::ClientCertificate;
use crate::identity::Identity;
use crate::secret::Secret;

/// Where the answers come from.
#[derive(Debug)]
pub(super) enum Origin {
    ConnectionString { text: Secret, certificate: Option<ClientCertificate> },
    Parameters { identity: Identity, credential: Credential },
}

/// The answers.
pub(super) struct Origins {
    pub(super) identity: Identity,
    pub(super) gateway: Option<Gateway>,
    pub(super) credential: Credential,
}

impl Origin {
    pub(super) fn resolve(self, is_module: bool) -> Result<Origins, CreateError> {
        let origins = match self {
            Self::ConnectionString { text, certificate } => from_connection_string(&text, certificate)?,
            Self::Parameters { identity, credential } => {
                check(&identity)?;
                Origins { identity, gateway: None, credential }
            }
        };
        match (is_module, origins.identity.module_id.is_some()) {
            (false, true) => Err(CreateError::ModuleIdentity),
            (true, false) => Err(CreateError::DeviceIdentity),
            _ => Ok(origins),
        }
    }
}

fn from_connection_string(text: &Secret, certificate: Option<ClientCertificate>) -> Result<Origins, CreateError> {
    let parsed: ConnectionString = text.expose().parse()?;
    let mut identity = Identity::device(parsed.host_name(), parsed.device_id());
    identity.module_id = parsed.module_id().map(str::to_owned);
    let credential = credential(&parsed, certificate)?;
    Ok(Origins { identity, gateway: parsed.gateway().cloned(), credential })
}

fn credential(
    parsed: &ConnectionString,
    certificate: Option<ClientCertificate>,
) -> Result<Credential, CredentialError> {
    match (parsed.authentication(), certificate) {
        (Authentication::X509, Some(certificate)) => Ok(Credential::X509(certificate)),
        (Authentication::X509, None) => Err(CredentialError::CertificateMissing),
        (_, Some(_)) => Err(CredentialError::CertificateUnexpected),
        (Authentication::SharedAccessKey(key), None) => {
            Ok(Credential::SharedAccessKey(SharedAccessKey::from_base64(key)?))
        }
        (Authentication::SharedAccessSignature(token), None) => {
            Ok(Credential::SharedAccessSignature(SharedAccessSignature::parse(token.clone())?))
        }
    }
}

fn check(identity: &Identity) -> Result<(), CreateError> {
    let wrong = |name| move |problem| Err(CreateError::Parameter { name, problem });
    host_problem(&identity.hub).map_or(Ok(()), wrong("host name"))?;
    id_problem(&identity.device_id).map_or(Ok(()), wrong("device id"))?;
    identity.module_id.as_deref().and_then(id_problem).map_or(Ok(()), wrong("module id"))
}
