//! What the IoT Edge runtime tells a module, through environment variables.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use super::workload::Daemon;
use crate::connection_string::{ConnectionString, ConnectionStringError, Gateway, host_problem, id_problem};
use crate::secret::Secret;

/// The most bytes of root certificates that are read from a file: 1 MiB.
const MAX_CA_FILE: u64 = 1 << 20;

const CONNECTION_STRING: &str = "EdgeHubConnectionString";
const CA_FILE: &str = "EdgeModuleCACertificateFile";
const AUTH_SCHEME: &str = "IOTEDGE_AUTHSCHEME";
const DEVICE_ID: &str = "IOTEDGE_DEVICEID";
const HUB: &str = "IOTEDGE_IOTHUBHOSTNAME";
const GATEWAY: &str = "IOTEDGE_GATEWAYHOSTNAME";
const MODULE_ID: &str = "IOTEDGE_MODULEID";
const GENERATION_ID: &str = "IOTEDGE_MODULEGENERATIONID";
const WORKLOAD_URI: &str = "IOTEDGE_WORKLOADURI";

/// An environment that is not that of an IoT Edge module. No secret is part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable is missing.
    #[error(
        "the environment variable {name} is not set; the IoT Edge runtime sets it in each module, together with all that begin with IOTEDGE_"
    )]
    Missing {
        /// Which.
        name: &'static str,
    },
    /// `EdgeHubConnectionString` is set without the other variable that it needs.
    #[error(
        "EdgeHubConnectionString is set, but EdgeModuleCACertificateFile is not: set it to the path of the gateway's root certificate, a PEM file"
    )]
    NoCaFile,
    /// A value does not have the form that it should have.
    #[error("the environment variable {name} is {value:?}, which {problem}")]
    Value {
        /// Which variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The connection string in `EdgeHubConnectionString` is wrong.
    #[error("in the environment variable EdgeHubConnectionString, {0}")]
    ConnectionString(#[from] ConnectionStringError),
    /// The connection string names no gateway.
    #[error(
        "the connection string in EdgeHubConnectionString has no GatewayHostName: a module talks to its Edge gateway"
    )]
    NoGateway,
    /// The file with the root certificate cannot be used.
    #[error("the file {} that EdgeModuleCACertificateFile names cannot be used: {detail}", path.display())]
    CaFile {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// What there is to know.
#[derive(Debug)]
pub(crate) enum Environment {
    /// A connection string and the gateway's root certificate: how tools run a module outside of the runtime.
    Tool { connection_string: Secret, trusted_certs: String },
    /// A module in the runtime, whose key is with the security daemon.
    Runtime(Runtime),
}

#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) hub: String,
    pub(crate) gateway: String,
    pub(crate) device_id: String,
    pub(crate) module_id: String,
    pub(crate) daemon: Daemon,
}

/// Reads the variables in the order of the C SDK. An empty one counts as missing.
pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Environment, EnvironmentError> {
    let get = |name| variable(name).filter(|value| !value.is_empty());
    match get(CONNECTION_STRING) {
        Some(connection_string) => {
            let ca_file = get(CA_FILE).ok_or(EnvironmentError::NoCaFile)?;
            tool(Secret::new(connection_string), ca_file.into())
        }
        None => runtime(|name| get(name).ok_or(EnvironmentError::Missing { name })).map(Environment::Runtime),
    }
}

fn tool(connection_string: Secret, ca_file: PathBuf) -> Result<Environment, EnvironmentError> {
    let parsed: ConnectionString = connection_string.expose().parse()?;
    if parsed.gateway().is_none() {
        return Err(EnvironmentError::NoGateway);
    }
    let unusable = |detail: String| EnvironmentError::CaFile { path: ca_file.clone(), detail };
    let trusted_certs = read_file(&ca_file).map_err(|error| unusable(error.to_string()))?;
    if trusted_certs.trim().is_empty() {
        return Err(unusable("it is empty".to_owned()));
    }
    Ok(Environment::Tool { connection_string, trusted_certs })
}

fn read_file(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(MAX_CA_FILE + 1).read_to_string(&mut text)?;
    match length as u64 > MAX_CA_FILE {
        true => Err(io::Error::other("it has more than 1 MiB, too much for root certificates")),
        false => Ok(text),
    }
}

fn runtime(get: impl Fn(&'static str) -> Result<String, EnvironmentError>) -> Result<Runtime, EnvironmentError> {
    let checked = |name, problem: fn(&str) -> Option<&'static str>| {
        let value = get(name)?;
        match problem(&value) {
            Some(problem) => Err(EnvironmentError::Value { name, value, problem }),
            None => Ok(value),
        }
    };
    checked(AUTH_SCHEME, |scheme| {
        (!scheme.eq_ignore_ascii_case("sasToken")).then_some("is not sasToken, the only scheme there is")
    })?;
    let device_id = checked(DEVICE_ID, id_problem)?;
    let hub = checked(HUB, host_problem)?;
    let gateway = checked(GATEWAY, gateway_problem)?;
    let module_id = checked(MODULE_ID, id_problem)?;
    let generation_id = get(GENERATION_ID)?;
    let uri = get(WORKLOAD_URI)?;
    let daemon = Daemon::new(&uri, &module_id, &generation_id);
    let daemon = daemon.map_err(|problem| EnvironmentError::Value { name: WORKLOAD_URI, value: uri, problem })?;
    Ok(Runtime { hub, gateway, device_id, module_id, daemon })
}

fn gateway_problem(text: &str) -> Option<&'static str> {
    match Gateway::parse(text) {
        Ok(_) => None,
        Err(ConnectionStringError::Value { problem, .. }) => Some(problem),
        Err(_) => Some("is not a host name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNTIME: [(&str, &str); 7] = [
        (AUTH_SCHEME, "sasToken"),
        (DEVICE_ID, "edge-1"),
        (HUB, "contoso.azure-devices.net"),
        (GATEWAY, "gateway"),
        (MODULE_ID, "filter"),
        (GENERATION_ID, "638"),
        (WORKLOAD_URI, "unix:///var/run/iotedge/workload.sock"),
    ];

    /// The runtime's variables, but for some.
    fn with(changes: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        read(|name| {
            let found = changes.iter().chain(&RUNTIME).find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_the_runtime_says_is_read() {
        let Ok(Environment::Runtime(runtime)) = with(&[]) else { panic!() };
        assert_eq!((&*runtime.hub, &*runtime.gateway), ("contoso.azure-devices.net", "gateway"));
        assert_eq!((&*runtime.device_id, &*runtime.module_id), ("edge-1", "filter"));
        assert!(with(&[(AUTH_SCHEME, "SasToken")]).is_ok(), "as the C# SDK");
    }

    #[test]
    fn each_variable_that_is_missing_or_empty_is_named() {
        for (name, _) in RUNTIME {
            assert_eq!(with(&[(name, "")]).unwrap_err(), EnvironmentError::Missing { name });
        }
        assert_eq!(read(|_| None).unwrap_err(), EnvironmentError::Missing { name: AUTH_SCHEME });
    }

    #[test]
    fn each_value_that_is_wrong_is_named_and_shown() {
        for (name, value) in [
            (AUTH_SCHEME, "x509"),
            (DEVICE_ID, "a/b"),
            (HUB, "https://contoso"),
            (GATEWAY, "gateway:0"),
            (MODULE_ID, "a b"),
            (WORKLOAD_URI, "https://localhost:15580"),
            (WORKLOAD_URI, "unix://"),
            (WORKLOAD_URI, "http://"),
            (WORKLOAD_URI, "http://localhost:port"),
            (WORKLOAD_URI, "http://localhost:1/path"),
            (WORKLOAD_URI, "workload.sock"),
        ] {
            let error = with(&[(name, value)]).unwrap_err();
            let EnvironmentError::Value { name: named, value: shown, .. } = &error else { panic!("{error}") };
            assert_eq!((*named, &**shown), (name, value), "{error}");
        }
    }

    #[test]
    fn a_connection_string_goes_before_the_runtime_and_needs_the_root_certificate() {
        let text = "HostName=h.example;DeviceId=d;ModuleId=m;GatewayHostName=g;SharedAccessKey=YQ==";
        assert_eq!(with(&[(CONNECTION_STRING, text)]).unwrap_err(), EnvironmentError::NoCaFile);

        let directory = std::env::temp_dir().join(format!("iothub-edge-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("ca.pem");
        let path = file.to_str().unwrap();
        let read = || with(&[(CONNECTION_STRING, text), (CA_FILE, path)]);

        let error = read().unwrap_err();
        assert!(matches!(&error, EnvironmentError::CaFile { path, .. } if *path == file), "{error}");
        std::fs::write(&file, " \n").unwrap();
        assert!(read().unwrap_err().to_string().contains("it is empty"));
        std::fs::write(&file, vec![b'x'; MAX_CA_FILE as usize + 1]).unwrap();
        assert!(read().unwrap_err().to_string().contains("1 MiB"));
        std::fs::write(&file, "pem").unwrap();
        let Ok(Environment::Tool { connection_string, trusted_certs }) = read() else { panic!() };
        assert_eq!((connection_string.expose(), &*trusted_certs), (text, "pem"));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_connection_string_that_is_wrong_or_without_a_gateway_names_its_variable() {
        let read = |text| with(&[(CONNECTION_STRING, text), (CA_FILE, "/none")]).unwrap_err();
        let text = read("HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=YQ==").to_string();
        assert!(text.contains("EdgeHubConnectionString") && text.contains("GatewayHostName"), "{text}");
        let text = read("HostName=h").to_string();
        assert!(text.contains("EdgeHubConnectionString") && text.contains("DeviceId"), "{text}");
    }
}
