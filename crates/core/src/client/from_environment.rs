//! Modules that learn from their environment who they are: IoT Edge.

use std::sync::Arc;

use super::{ClientBuilder, Module, ModuleClient};
use crate::create_error::CreateError;
use crate::credential::Credential;
use crate::edge::{self, Environment, WorkloadSigner};
use crate::endpoint::Trust;
use crate::http_engine::HttpProvider;
use crate::transport::Provider;

impl ModuleClient {
    /// Creates a client for a module on IoT Edge, from the environment variables that the runtime sets. Nothing goes on the
    /// wire before the first `do_work`.
    ///
    /// The module's key stays with the security daemon, which the client asks for the gateway's root certificates and a
    /// signature before each connection. A daemon that does not answer is a failed attempt to connect, which the retry policy
    /// follows up.
    ///
    /// Outside of the runtime, `EdgeHubConnectionString` and `EdgeModuleCACertificateFile` (a PEM file) go before those
    /// variables, as in the C SDK.
    ///
    /// # Errors
    ///
    /// [`CreateError::Environment`] names the variable that is missing or wrong.
    #[doc(alias = "IoTHubModuleClient_LL_CreateFromEnvironment")]
    pub fn create_from_environment(
        provider: &dyn Provider,
        https: impl HttpProvider + 'static,
    ) -> Result<Self, CreateError> {
        Self::builder_from_environment(https)?.build(provider)
    }

    /// Starts to create a client from the environment, with options. Root certificates that are given to the builder are
    /// trusted instead of those that the daemon knows.
    ///
    /// # Errors
    ///
    /// As for [`create_from_environment`](Self::create_from_environment).
    pub fn builder_from_environment(https: impl HttpProvider + 'static) -> Result<ClientBuilder<Module>, CreateError> {
        Self::builder_from_variables(https, |name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    /// Starts to create a client from variables that are not those of this process.
    ///
    /// # Errors
    ///
    /// As for [`create_from_environment`](Self::create_from_environment).
    pub fn builder_from_variables(
        https: impl HttpProvider + 'static,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<ClientBuilder<Module>, CreateError> {
        let builder = match edge::read(variable)? {
            Environment::Tool { connection_string, trusted_certs } => {
                Self::builder(connection_string.expose()).trusted_certs(trusted_certs)
            }
            Environment::Runtime(runtime) => {
                // The daemon speaks plain HTTP.
                let engine = https.engine(&Trust::Nobody, None)?;
                let signer = Credential::signer(WorkloadSigner::new(runtime.daemon, engine));
                Self::builder_for(&runtime.hub, &runtime.device_id, &runtime.module_id, signer)
                    .gateway(runtime.gateway)
                    .trust(Trust::Nobody)
            }
        };
        Ok(builder.https_provider(Arc::new(https)))
    }
}
