//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
A local Azure IoT Hub to develop and test against.

Usage: iothub-emulator [--mqtt ADDR] [--amqp ADDR] [--host-name NAME]... [--gateway-name NAME]... [--ca FILE] [--seed FILE] [--verbose]

  --mqtt ADDR          where to listen for MQTT over TLS [127.0.0.1:8883; port 0: a free one]
  --amqp ADDR          where to listen for AMQP 1.0 over TLS [127.0.0.1:5671; port 0: a free one]
  --host-name NAME     a name for the server certificate and for tokens; may be repeated, the first one is
                       in connection strings [localhost; the C SDK needs a name with a dot]
  --gateway-name NAME  a name for the server certificate only: what clients call GatewayHostName; may be repeated
  --ca FILE            where to write the CA certificate (PEM) that clients have to trust
  --seed FILE          JSON with settings, devices, their modules and twins:
                       {\"config\": {\"sas_grace\": 0, ..}, \"devices\": [{\"id\": \"d1\"}, {\"id\": \"d2\",
                       \"primary_key\": \"<base64>\", \"secondary_key\": \"<base64>\", \"enabled\": true,
                       \"twin\": {\"tags\": {}, \"desired\": {}, \"reported\": {}}},
                       {\"id\": \"d3\", \"thumbprint\": \"<SHA-256 or SHA-1>\", \"modules\": [{\"id\": \"m1\"}, ..]}]}
                       A module has the fields of a device but \"enabled\" and \"modules\". Settings have the
                       names of the library's Config without 'with_', durations in seconds; names and routes
                       are lists: \"host_names\": [..], \"gateway_host_names\": [..],
                       \"edge_routes\": {\"d1\": [\"FROM /messages/modules/m1/outputs/o INTO $upstream\"]}.
                       Flags win over them. Keys that are not given are made.
  --verbose            log every connection
  --help, --version

When it is ready it prints one line of JSON on stdout, with its addresses and the connection strings of each
device and module, of the service and of the event stream. These strings hold keys, and printing them is what the emulator is for: the keys are its
own and protect nothing else. Never give it the key of a real hub. Logs go to stderr. SIGINT or SIGTERM ends
it.
";

/// What the program is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    Serve(Arguments),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) mqtt: Option<SocketAddr>,
    pub(crate) amqp: Option<SocketAddr>,
    pub(crate) host_names: Vec<String>,
    pub(crate) gateway_names: Vec<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) seed: Option<PathBuf>,
    pub(crate) verbose: bool,
}

/// Reads `--flag value` and `--flag=value`. The error names the flag and says what to do.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parsed = Arguments::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().ok_or_else(|| format!("{} is not UTF-8", argument.display()))?;
        let (flag, attached) = match text.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(OsString::from(value))),
            _ => (text, None),
        };
        let takes_value = matches!(flag, "--mqtt" | "--amqp" | "--host-name" | "--gateway-name" | "--ca" | "--seed");
        if !takes_value && attached.is_some() {
            return Err(format!("{flag} takes no value"));
        }
        match flag {
            "--help" | "-h" => return Ok(Command::Help),
            "--version" | "-V" => return Ok(Command::Version),
            "--verbose" | "-v" => parsed.verbose = true,
            _ if takes_value => {
                let value = attached.or_else(|| arguments.next()).ok_or_else(|| format!("{flag} needs a value"))?;
                parsed.set(flag, value)?;
            }
            _ => return Err(format!("'{text}' is not a flag of this program")),
        }
    }
    Ok(Command::Serve(parsed))
}

impl Arguments {
    fn set(&mut self, flag: &str, value: OsString) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("{flag} has an empty value"));
        }
        let twice = match flag {
            "--ca" => self.ca.replace(value.into()).is_some(),
            "--seed" => self.seed.replace(value.into()).is_some(),
            _ => {
                let text = value.to_str().ok_or_else(|| format!("{flag}: the value is not UTF-8"))?;
                let names = match flag {
                    "--host-name" => Some(&mut self.host_names),
                    "--gateway-name" => Some(&mut self.gateway_names),
                    _ => None,
                };
                if let Some(names) = names {
                    names.push(text.to_owned());
                    return Ok(());
                }
                let address = text
                    .parse()
                    .map_err(|_| format!("{flag}: '{text}' is no address; write IP:PORT, such as 127.0.0.1:8883"))?;
                let place = if flag == "--amqp" { &mut self.amqp } else { &mut self.mqtt };
                place.replace(address).is_some()
            }
        };
        if twice { Err(format!("{flag} is there twice")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn flags_take_their_value_with_a_space_or_an_equals_sign() {
        let expected = Arguments {
            mqtt: Some(([127, 0, 0, 1], 0).into()),
            amqp: Some(([127, 0, 0, 1], 1).into()),
            host_names: vec!["a.test".into(), "b.test".into()],
            gateway_names: vec!["g.test".into()],
            ca: Some("ca.pem".into()),
            seed: None,
            verbose: true,
        };
        let flags = [
            "--amqp=127.0.0.1:1",
            "--mqtt",
            "127.0.0.1:0",
            "--host-name=a.test",
            "--host-name",
            "b.test",
            "--gateway-name=g.test",
            "--ca=ca.pem",
            "--verbose",
        ];
        assert_eq!(parsed(&flags), Ok(Command::Serve(expected)));
        assert_eq!(
            parsed(&["--mqtt=x", "--help"]).unwrap_err(),
            "--mqtt: 'x' is no address; write IP:PORT, such as 127.0.0.1:8883"
        );
        assert_eq!(parsed(&["--help"]), Ok(Command::Help));
    }

    #[test]
    fn a_wrong_flag_is_named() {
        for (flags, part) in [
            (&["--port"][..], "'--port'"),
            (&["serve"], "'serve'"),
            (&["--ca"], "--ca needs"),
            (&["--ca="], "--ca has an empty"),
            (&["--seed", "a", "--seed", "b"], "--seed is there twice"),
            (&["--verbose=1"], "--verbose takes no value"),
        ] {
            let problem = parsed(flags).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }
}
