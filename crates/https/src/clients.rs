//! The reqwest clients of an engine: one for the network, and one for a unix socket, which reqwest knows only by client.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use iothub_core::{ClientCertificate, CreateError, Now, Trust};
use iothub_net::tls::{VerificationClock, client_config};
use reqwest::dns::{Addrs, Name, Resolve as ReqwestResolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use rustls::ClientConfig;

use crate::provider::MakeResolver;

pub(crate) struct Clients {
    tls: Arc<ClientConfig>,
    clock: VerificationClock,
    names: Option<Names>,
    network: Client,
    /// The last unix socket; there is hardly a second one.
    socket: Option<(PathBuf, Client)>,
}

impl Clients {
    pub(crate) fn new(
        resolver: Option<MakeResolver>,
        trust: &Trust,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Self, CreateError> {
        let clock = VerificationClock::default();
        let tls = client_config(trust, certificate, &clock)?;
        let names = resolver.map(|make| Names { make, now: Arc::new(Mutex::new(Now::system())) });
        let network = build(network(&tls, names.as_ref()))?;
        Ok(Self { tls, clock, names, network, socket: None })
    }

    /// Connections that are there already end with the requests on them.
    pub(crate) fn set_tls(
        &mut self,
        trust: &Trust,
        certificate: Option<&ClientCertificate>,
    ) -> Result<(), CreateError> {
        let tls = client_config(trust, certificate, &self.clock)?;
        self.network = build(network(&tls, self.names.as_ref()))?;
        self.tls = tls;
        Ok(())
    }

    /// Judges certificates, and looks names up, at this time.
    pub(crate) fn set_time(&self, now: Now) {
        self.clock.set(now.wall);
        if let Some(names) = &self.names {
            *names.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
    }

    pub(crate) fn network(&self) -> &Client {
        &self.network
    }

    pub(crate) fn socket(&mut self, path: &Path) -> Result<&Client, CreateError> {
        let known = self.socket.take().filter(|(known, _)| known == path);
        let client = match known {
            Some((_, client)) => client,
            None => build(base(&self.tls).unix_socket(path))?,
        };
        Ok(&self.socket.insert((path.to_owned(), client)).1)
    }
}

fn network(tls: &ClientConfig, names: Option<&Names>) -> ClientBuilder {
    match names {
        Some(names) => base(tls).dns_resolver(names.clone()),
        None => base(tls),
    }
}

/// HTTP/1.1, and nothing that happens by itself: no redirect, no second try, no proxy, no timer.
fn base(tls: &ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .http1_only()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .pool_idle_timeout(None)
}

fn build(builder: ClientBuilder) -> Result<Client, CreateError> {
    builder.build().map_err(|error| CreateError::System { what: "the HTTPS client", source: io::Error::other(error) })
}

/// The application's way to look names up.
#[derive(Clone)]
struct Names {
    make: MakeResolver,
    now: Arc<Mutex<Now>>,
}

impl ReqwestResolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let mut resolver = (self.make)();
        resolver.begin(*self.now.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move {
            // Port 0 becomes that of the URL.
            let found = poll_fn(|context| resolver.resolve(name.as_str(), 0, context.waker())).await;
            let found: Vec<_> = found?.into_iter().map(|address| SocketAddr::new(address.ip(), 0)).collect();
            if found.is_empty() {
                return Err("it has no address".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
