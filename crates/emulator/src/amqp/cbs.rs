//! Tokens: `put-token` on `$cbs` and its reply (docs/hub-over-amqp.md 2; E10-E15).

use fe2o3_amqp_types::messaging::{MessageId, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;

use crate::activity::{Activity, AmqpLink, RefusalReason};
use crate::amqp::address;
use crate::amqp::grants::PolicyGrant;
use crate::amqp::link::Place;
use crate::amqp::message::{Incoming, Outgoing};
use crate::amqp::transfer::Received;
use crate::amqp::{Head, State, message};
use crate::auth::{self, Authenticated, sas};
use crate::clock::Now;
use crate::faults::{CbsFault, DropPoint, Fault};
use crate::hub::registry::Identity;
use crate::hub::{HubState, NOBODY};

/// The only type of token (docs/hub-over-amqp.md 2).
const SAS_TOKEN: &str = "servicebus.windows.net:sastoken";

/// What an accepted token opens.
enum Grant {
    Identity(Identity, Authenticated),
    Policy(String, PolicyGrant),
}

/// Why a token is not accepted.
struct Refused {
    status: i32,
    why: RefusalReason,
}

impl Refused {
    fn bad_request(problem: &'static str) -> Self {
        Self { status: 400, why: RefusalReason::TokenMalformed(problem) }
    }

    /// The status for a credential that was checked.
    fn checked(hub: &HubState, why: RefusalReason) -> Self {
        let status = match why {
            RefusalReason::UnknownDevice if hub.config.cbs_unknown_device_unauthorized => 401,
            RefusalReason::UnknownDevice => 404,
            _ => 401,
        };
        Self { status, why }
    }
}

impl Head {
    pub(super) fn put_token(&mut self, hub: &mut HubState, now: Now, received: &Received, request: &Incoming) {
        let name = request.application("name").and_then(message::text).unwrap_or_default();
        let audience = name_path(&hub.config.host_names, &name);
        let identity = audience.as_deref().ok().and_then(identity_of);
        let owner = identity.as_ref().filter(|identity| hub.registry.knows(identity)).unwrap_or(&NOBODY).clone();
        if self.drops(hub, now, &owner, DropPoint::PutTokenReceived) {
            return;
        }
        let fault = match self.take_fault(hub, now, &owner, |fault| matches!(fault, Fault::Cbs(_))) {
            Some(Fault::Cbs(fault)) => Some(fault),
            _ => None,
        };
        // The outcome of the transfer goes before the reply: some SDKs count on it (docs/hub-over-amqp.md 2).
        self.settle(hub, now, received, None);
        let result = match fault {
            Some(CbsFault::Status(status)) if !(200..300).contains(&status) => {
                Err(Refused { status, why: RefusalReason::Fault })
            }
            _ => check(hub, now, self, request, audience, identity),
        };
        let State::Open(open) = &mut self.state else { return };
        let grace = hub.config.sas_grace;
        let (mut status, why) = match result {
            Ok(Grant::Identity(identity, authenticated)) => {
                open.grants.grant(identity, authenticated.with_grace(grace));
                (200, None)
            }
            Ok(Grant::Policy(name, grant)) => {
                open.grants.grant_policy(name, grant);
                (200, None)
            }
            Err(Refused { status, why }) => (status, Some(why)),
        };
        if let Some(CbsFault::Status(wanted)) = fault {
            status = wanted;
        }
        tracing::debug!(connection = self.id.0, name, status, ?why, "put-token");
        let shown = name.chars().take(200).collect();
        hub.note(&owner, Activity::TokenPut { at: now.wall, connection: self.id, name: shown, status, why });
        self.say_status(hub, now, received.place, request, status, fault);
    }

    fn say_status(
        &mut self,
        hub: &mut HubState,
        now: Now,
        asked_on: Place,
        request: &Incoming,
        status: i32,
        fault: Option<CbsFault>,
    ) {
        if fault == Some(CbsFault::Withhold) {
            return;
        }
        let reply = status_reply(request.properties.message_id.clone(), status, description(status)).encode();
        let reply_to = request.properties.reply_to.as_deref();
        let Some(place) = self.reply_link(asked_on, AmqpLink::TokenReplies, reply_to) else { return };
        match fault {
            Some(CbsFault::Delay(by)) => self.reply_later(now, place, by, reply),
            _ => self.reply_on(hub, now, place, reply),
        }
    }

    /// The link for the reply to a request: the one whose address was asked for, else one of the same session, else any (E12).
    pub(super) fn reply_link(&self, asked_on: Place, kind: AmqpLink, reply_to: Option<&str>) -> Option<Place> {
        let State::Open(open) = &self.state else { return None };
        let links: Vec<_> = open.services().filter(|(_, link)| link.node.kind == kind).collect();
        let addressed = links.iter().find(|(_, link)| {
            reply_to.is_some() && link.sender().and_then(|sender| sender.reply_to.as_deref()) == reply_to
        });
        let near = links.iter().rev().find(|(place, _)| place.channel == asked_on.channel);
        addressed.or(near).or(links.last()).map(|(place, _)| *place)
    }
}

fn check(
    hub: &HubState,
    now: Now,
    head: &Head,
    request: &Incoming,
    audience: Result<Vec<String>, &'static str>,
    identity: Option<Identity>,
) -> Result<Grant, Refused> {
    let text = |name: &str| request.application(name).and_then(message::text);
    if !text("operation").is_some_and(|operation| operation.eq_ignore_ascii_case("put-token")) {
        return Err(Refused::bad_request("the operation is not put-token"));
    }
    if text("type").as_deref() != Some(SAS_TOKEN) {
        return Err(Refused::bad_request("the type is not servicebus.windows.net:sastoken"));
    }
    let path = audience.map_err(Refused::bad_request)?;
    let Some(Value::String(token)) = &request.value else {
        return Err(Refused::bad_request("the body is not a text value"));
    };
    let parsed = sas::Token::parse(token.as_bytes()).map_err(|why| Refused { status: 400, why })?;
    if let Some(name) = parsed.policy() {
        let (rights, expiry) = auth::authenticate_policy(&hub.config, &name, token.as_bytes(), now.wall)
            .map_err(|why| Refused::checked(hub, why))?;
        let token_path = name_path(&hub.config.host_names, &parsed.audience())
            .map_err(|_| Refused { status: 401, why: RefusalReason::TokenAudience { audience: parsed.audience() } })?;
        if !path.starts_with(&token_path) {
            let audience = parsed.audience();
            return Err(Refused { status: 401, why: RefusalReason::TokenAudience { audience } });
        }
        let expires = expiry.checked_add(hub.config.sas_grace);
        return Ok(Grant::Policy(name, PolicyGrant { rights, path, expires }));
    }
    let Some(identity) = identity else {
        let audience = parsed.audience();
        return Err(Refused { status: 401, why: RefusalReason::TokenAudience { audience } });
    };
    let authenticated = auth::authenticate(hub, &identity, Some(token.as_bytes()), &head.peer, now.wall)
        .map_err(|why| Refused::checked(hub, why))?;
    Ok(Grant::Identity(identity, authenticated))
}

/// The segments behind the host of an audience, decoded: with or without a scheme, in either encoding.
fn name_path(host_names: &[String], name: &str) -> Result<Vec<String>, &'static str> {
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    let decoded = decoded.split_once("://").map_or(&*decoded, |(_, rest)| rest);
    let mut segments = decoded.trim_end_matches('/').split('/');
    let host = segments.next().unwrap_or_default();
    if !address::is_host(host, host_names) {
        return Err("the name is not for this hub");
    }
    Ok(segments.map(str::to_owned).collect())
}

/// The device or module whose resource this is.
fn identity_of(path: &[String]) -> Option<Identity> {
    match path {
        [devices, device] if devices == "devices" => Some(Identity::device(device)),
        [devices, device, modules, module] if devices == "devices" && modules == "modules" => {
            Some(Identity { device: device.clone(), module: Some(module.clone()) })
        }
        _ => None,
    }
}

/// A reply whose content is a status: the request's id comes back as it was, type and all (E11).
pub(super) fn status_reply(id: Option<MessageId>, status: i32, description: &str) -> Outgoing {
    Outgoing {
        properties: Properties { correlation_id: id, ..Properties::default() },
        application: vec![
            ("status-code".to_owned(), SimpleValue::Int(status)),
            ("status-description".to_owned(), SimpleValue::String(description.to_owned())),
        ],
        ..Outgoing::default()
    }
}

pub(super) fn description(status: i32) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}
