//! HTTPS beside the transport: one engine for all that a client asks of its hub or gateway over HTTPS, made when it is first
//! needed.

use std::sync::Arc;
use std::time::Instant;

use crate::create_error::CreateError;
use crate::endpoint::{ClientCertificate, Trust};
use crate::http_engine::{HttpEngine, HttpProvider};
use crate::platform::{Now, Readiness};

pub(super) struct Https {
    provider: Option<Arc<dyn HttpProvider>>,
    engine: Option<Box<dyn HttpEngine>>,
    trust: Trust,
    /// Whether the application leaves it to the signer whom to trust.
    follows_signer: bool,
    certificate: Option<ClientCertificate>,
}

impl Https {
    pub(super) fn new(
        provider: Option<Arc<dyn HttpProvider>>,
        trust: Trust,
        certificate: Option<ClientCertificate>,
    ) -> Self {
        let follows_signer = trust == Trust::Nobody;
        Self { provider, engine: None, trust, follows_signer, certificate }
    }

    /// Whether the application gave a provider.
    pub(super) fn is_available(&self) -> bool {
        self.provider.is_some()
    }

    /// Whether it is known whom to trust.
    pub(super) fn knows_trust(&self) -> bool {
        self.trust != Trust::Nobody
    }

    /// Whether this, which the signer says, is news to the client.
    pub(super) fn would_adopt(&self, trust: &Trust) -> bool {
        self.follows_signer && self.trust != *trust
    }

    pub(super) fn set_trust(&mut self, trust: Trust) -> Result<(), CreateError> {
        if let Some(engine) = &mut self.engine {
            engine.set_tls(&trust, self.certificate.as_ref())?;
        }
        self.trust = trust;
        Ok(())
    }

    pub(super) fn set_certificate(&mut self, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        if let Some(engine) = &mut self.engine {
            engine.set_tls(&self.trust, certificate)?;
        }
        self.certificate = certificate.cloned();
        Ok(())
    }

    /// The engine, which is made now if it was not needed before; `None` if the application gave no provider.
    pub(super) fn engine(&mut self) -> Result<Option<&mut dyn HttpEngine>, CreateError> {
        if self.engine.is_none() {
            let Some(provider) = &self.provider else { return Ok(None) };
            self.engine = Some(provider.engine(&self.trust, self.certificate.as_ref())?);
        }
        Ok(self.started())
    }

    /// The engine, if it was needed before.
    pub(super) fn started(&mut self) -> Option<&mut dyn HttpEngine> {
        match &mut self.engine {
            Some(engine) => Some(&mut **engine),
            None => None,
        }
    }

    pub(super) fn do_work(&mut self, now: Now) {
        if let Some(engine) = &mut self.engine {
            engine.do_work(now);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.engine.as_ref()?.next_deadline()
    }

    pub(super) fn readiness(&self, out: &mut Vec<Readiness>) {
        if let Some(engine) = &self.engine {
            engine.readiness(out);
        }
    }
}
