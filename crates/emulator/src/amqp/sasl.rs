//! SASL: the mechanisms, and who comes in by PLAIN (docs/hub-over-amqp.md 1; E2-E4).

use std::time::SystemTime;

use fe2o3_amqp_types::sasl::{SaslCode, SaslInit, SaslMechanisms, SaslOutcome};
use percent_encoding::percent_decode_str;
use serde_amqp::primitives::{Array, Symbol};

use crate::activity::{Activity, DisconnectReason, RefusalReason};
use crate::amqp::frame::{self, Layer};
use crate::amqp::{Head, Stage, State};
use crate::auth::{self, Authenticated, Peer};
use crate::clock::Now;
use crate::hub::registry::Identity;
use crate::hub::{HubState, NOBODY};
use crate::policy::{self, Rights};

/// In the real hub's order (docs/hub-over-amqp.md 1).
const MECHANISMS: [&str; 4] = ["EXTERNAL", "MSSBCBS", "ANONYMOUS", "PLAIN"];

/// What the layer below has shown of who it is.
#[derive(Clone, Debug, Default)]
pub(super) enum Login {
    /// There was no SASL.
    #[default]
    None,
    /// A mechanism that shows nothing by itself.
    Sasl(&'static str),
    /// PLAIN with a device's or module's token.
    Identity { identity: Identity, authenticated: Authenticated },
    /// PLAIN with a policy's token or key.
    Policy { name: String, rights: Rights, expires: Option<SystemTime> },
}

impl Head {
    pub(super) fn offer_mechanisms(&mut self, now: Now) {
        let mechanisms = Array::from(MECHANISMS.map(Symbol::from).to_vec());
        let offer = SaslMechanisms { sasl_server_mechanisms: mechanisms };
        self.push(now, frame::write(Layer::Sasl, 0, &offer, &[]));
    }

    pub(super) fn sasl_init(&mut self, hub: &mut HubState, now: Now, init: &SaslInit) {
        let response = init.initial_response.as_ref().map(|response| &response[..]).unwrap_or_default();
        let login = match init.mechanism.as_str() {
            "MSSBCBS" => Ok(Login::Sasl("MSSBCBS")),
            "ANONYMOUS" => Ok(Login::Sasl("ANONYMOUS")),
            "EXTERNAL" if self.peer.certificates.is_empty() => Err(RefusalReason::CredentialMissing),
            "EXTERNAL" => Ok(Login::Sasl("EXTERNAL")),
            "PLAIN" => plain(hub, &self.peer, now, response),
            other => Err(RefusalReason::UserName(format!("there is no SASL mechanism {other}"))),
        };
        match login {
            Ok(login) => {
                self.say_outcome(now, SaslCode::Ok);
                self.decoder.expect_header();
                if let State::Opening { stage, .. } = &mut self.state {
                    *stage = Stage::Header(Some(login));
                }
            }
            Err(why) => {
                self.say_outcome(now, SaslCode::Auth);
                hub.note(&NOBODY, Activity::SaslRefused { at: now.wall, connection: self.id, why });
                self.close(hub, now, DisconnectReason::Refused);
            }
        }
    }

    fn say_outcome(&mut self, now: Now, code: SaslCode) {
        let additional_data = (code == SaslCode::Ok).then(|| b"Welcome!".to_vec().into());
        let outcome = SaslOutcome { code, additional_data };
        self.push(now, frame::write(Layer::Sasl, 0, &outcome, &[]));
    }
}

/// `authzid NUL authcid NUL password` (RFC 4616).
fn plain(hub: &HubState, peer: &Peer, now: Now, response: &[u8]) -> Result<Login, RefusalReason> {
    let malformed = || RefusalReason::UserName("it is not a PLAIN response of three parts".to_owned());
    let parts: Vec<&[u8]> = response.split(|byte| *byte == 0).collect();
    let [_, user, password] = parts[..] else { return Err(malformed()) };
    let user = std::str::from_utf8(user).map_err(|_| malformed())?;
    if policy::rights(user).is_some() {
        // The event stream's own form: policy name and key (docs/hub-over-amqp.md 4).
        let rights = auth::authenticate_policy_key(&hub.config, user, password)?;
        return Ok(Login::Policy { name: user.to_owned(), rights, expires: None });
    }
    let (id, hub_name) = user.rsplit_once('@').ok_or_else(malformed)?;
    if let Some(name) = hub_name.strip_prefix("sas.root.") {
        check_hub(&hub.config.host_names, name)?;
        let (rights, expiry) = auth::authenticate_policy(&hub.config, id, password, now.wall)?;
        return Ok(Login::Policy { name: id.to_owned(), rights, expires: expiry.checked_add(hub.config.sas_grace) });
    }
    check_hub(&hub.config.host_names, hub_name.strip_prefix("sas.").unwrap_or(hub_name))?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let identity = match id.split_once("/modules/") {
        Some((device, module)) => Identity { device: decode(device), module: Some(decode(module)) },
        None => Identity::device(&decode(id)),
    };
    let authenticated = auth::authenticate(hub, &identity, Some(password), peer, now.wall)?;
    let authenticated = authenticated.with_grace(hub.config.sas_grace);
    Ok(Login::Identity { identity, authenticated })
}

/// The hub's name may be its whole host name or the first label of it.
fn check_hub(host_names: &[String], name: &str) -> Result<(), RefusalReason> {
    let is = |host: &String| {
        host.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && (host.len() == name.len() || host.as_bytes()[name.len()] == b'.')
    };
    if host_names.iter().any(is) {
        return Ok(());
    }
    Err(RefusalReason::UserName(format!("'{}' is not this hub", name.chars().take(64).collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hubs_name_may_be_short_or_whole() {
        let hosts = ["hub.example.net".to_owned()];
        for name in ["hub", "HUB.example", "hub.example.net"] {
            assert!(check_hub(&hosts, name).is_ok(), "{name}");
        }
        for name in ["", "hu", "hub.", "hub.example.net.x", "other"] {
            assert!(check_hub(&hosts, name).is_err(), "{name}");
        }
    }
}
