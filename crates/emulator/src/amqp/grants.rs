//! Who may attach what on this connection: tokens that were put, SASL PLAIN, client certificates (docs/hub-over-amqp.md 1, 2; E14, E15, E18).

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::activity::{DisconnectReason, RefusalReason};
use crate::amqp::address::Node;
use crate::amqp::sasl::Login;
use crate::amqp::{Head, State, condition};
use crate::auth::{self, Authenticated, Peer};
use crate::clock::Now;
use crate::hub::HubState;
use crate::hub::registry::Identity;
use crate::policy::Rights;

#[derive(Debug)]
pub(super) struct Grants {
    identities: BTreeMap<Identity, Authenticated>,
    policies: BTreeMap<String, PolicyGrant>,
    /// Before this date nothing expires.
    next_expiry: Option<SystemTime>,
    /// Whether tokens can be put: not with PLAIN, and not with a client certificate.
    takes_tokens: bool,
}

#[derive(Debug)]
pub(super) struct PolicyGrant {
    pub(super) rights: Rights,
    /// What the token is for, below the hub: nothing, or the segments that a resource must begin with.
    pub(super) path: Vec<String>,
    pub(super) expires: Option<SystemTime>,
}

/// Why a link is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) condition: &'static str,
    pub(super) why: RefusalReason,
}

impl Refusal {
    pub(super) fn new(why: RefusalReason) -> Self {
        let condition = match why {
            RefusalReason::UnknownDevice => condition::NOT_FOUND,
            _ => condition::UNAUTHORIZED,
        };
        Self { condition, why }
    }
}

impl Grants {
    pub(super) fn new(login: Login, peer: &Peer) -> Self {
        let mut grants = Self {
            identities: BTreeMap::new(),
            policies: BTreeMap::new(),
            next_expiry: None,
            takes_tokens: peer.certificates.is_empty(),
        };
        match login {
            Login::None | Login::Sasl(_) => {}
            Login::Identity { identity, authenticated } => {
                grants.takes_tokens = false;
                grants.grant(identity, authenticated);
            }
            Login::Policy { name, rights, expires } => {
                grants.takes_tokens = false;
                grants.grant_policy(name, PolicyGrant { rights, path: Vec::new(), expires });
            }
        }
        grants
    }

    pub(super) fn takes_tokens(&self) -> bool {
        self.takes_tokens
    }

    /// A new token takes the place of the old one.
    pub(super) fn grant(&mut self, identity: Identity, authenticated: Authenticated) {
        self.expect(authenticated.expires);
        self.identities.insert(identity, authenticated);
    }

    pub(super) fn grant_policy(&mut self, name: String, grant: PolicyGrant) {
        self.expect(grant.expires);
        self.policies.insert(name, grant);
    }

    fn expect(&mut self, expires: Option<SystemTime>) {
        self.next_expiry = self.next_expiry.into_iter().chain(expires).min();
    }

    /// When the next token may be over. The hub's grace is already in.
    pub(super) fn next_expiry(&self) -> Option<SystemTime> {
        self.next_expiry
    }

    /// Forgets what is over; true if something was.
    fn expire(&mut self, now: Now) -> bool {
        if self.next_expiry.is_none_or(|date| date > now.wall) {
            return false;
        }
        let before = self.identities.len() + self.policies.len();
        let lives = |expires: Option<SystemTime>| expires.is_none_or(|date| date > now.wall);
        self.identities.retain(|_, granted| lives(granted.expires));
        self.policies.retain(|_, granted| lives(granted.expires));
        let identities = self.identities.values().map(|granted| granted.expires);
        self.next_expiry = identities.chain(self.policies.values().map(|granted| granted.expires)).flatten().min();
        before != self.identities.len() + self.policies.len()
    }

    /// How this link's owner is authenticated: `sas` or `x509`.
    pub(super) fn authorise(
        &self,
        hub: &HubState,
        peer: &Peer,
        now: Now,
        node: &Node,
    ) -> Result<&'static str, Refusal> {
        let missing = Err(Refusal::new(RefusalReason::CredentialMissing));
        let Some(identity) = &node.identity else {
            let is_service = |granted: &PolicyGrant| {
                granted.rights.service && granted.path.first().is_none_or(|first| first != "devices")
            };
            return if self.policies.values().any(is_service) { Ok("sas") } else { missing };
        };
        hub.check_identity(identity).map_err(Refusal::new)?;
        if let Some(granted) = self.identities.get(identity) {
            return Ok(granted.auth_type);
        }
        let path = segments(identity);
        let covers = |granted: &PolicyGrant| granted.rights.device && path.starts_with(&granted.path);
        if self.policies.values().any(covers) {
            return Ok("sas");
        }
        if peer.certificates.is_empty() {
            return missing;
        }
        auth::authenticate(hub, identity, None, peer, now.wall).map(|granted| granted.auth_type).map_err(Refusal::new)
    }
}

fn segments(identity: &Identity) -> Vec<String> {
    let mut segments = vec!["devices".to_owned(), identity.device.clone()];
    if let Some(module) = &identity.module {
        segments.extend(["modules".to_owned(), module.clone()]);
    }
    segments
}

impl Head {
    /// Detaches every link whose token is over (E15).
    pub(super) fn expire_grants(&mut self, hub: &mut HubState, now: Now) {
        let State::Open(open) = &mut self.state else { return };
        if !open.grants.expire(now) {
            return;
        }
        let links: Vec<_> = open.links().map(|(place, link)| (place, link.node.clone())).collect();
        for (place, node) in links {
            let State::Open(open) = &self.state else { return };
            if node.kind.needs_a_right() && open.grants.authorise(hub, &self.peer, now, &node).is_err() {
                let error = condition::error(condition::UNAUTHORIZED, "the token has expired");
                self.detach(hub, now, place, Some(error), &DisconnectReason::TokenExpired);
            }
        }
    }
}
