//! Connection strings.

use iothub_core::{Authentication, ConnectionString, Gateway, Secret};
use proptest::prelude::*;
use proptest::sample::select;

use super::{ten_thousand, text};

const HOST: &str = "[A-Za-z0-9_-]{1,6}(\\.[A-Za-z0-9_-]{1,3}){0,2}";
const ID: &str = "[-A-Za-z0-9.%_*?!(),:=@$']{1,16}";
const SECRET: &str = "[A-Za-z0-9+/ =&%.]{1,16}";

/// What a connection string says.
#[derive(Clone, Debug)]
struct Parts {
    host_name: String,
    device_id: String,
    module_id: Option<String>,
    gateway: Option<(String, Option<u16>)>,
    authentication: Authentication,
}

impl Parts {
    fn pairs(&self) -> Vec<String> {
        let gateway = self.gateway.as_ref().map(|(host, port)| match port {
            Some(port) => format!("GatewayHostName={host}:{port}"),
            None => format!("GatewayHostName={host}"),
        });
        let authentication = match &self.authentication {
            Authentication::SharedAccessKey(key) => format!("SharedAccessKey={}", key.expose()),
            Authentication::SharedAccessSignature(token) => format!("SharedAccessSignature={}", token.expose()),
            _ => "x509=true".to_owned(),
        };
        let mut pairs = vec![format!("HostName={}", self.host_name), format!("DeviceId={}", self.device_id)];
        pairs.push(authentication);
        pairs.extend(self.module_id.as_ref().map(|id| format!("ModuleId={id}")));
        pairs.extend(gateway);
        pairs
    }
}

fn authentications() -> impl Strategy<Value = Authentication> {
    prop_oneof![
        text(SECRET).prop_map(|key| Authentication::SharedAccessKey(Secret::new(key))),
        text(SECRET).prop_map(|token| Authentication::SharedAccessSignature(Secret::new(token))),
        Just(Authentication::X509),
    ]
}

/// The parts, and a text that has them in any order.
fn valid() -> impl Strategy<Value = (Parts, String)> {
    let gateways = proptest::option::of((text(HOST), proptest::option::of(1..=u16::MAX)));
    let parts = (text(HOST), text(ID), proptest::option::of(text(ID)), gateways, authentications());
    let parts = parts.prop_map(|(host_name, device_id, module_id, gateway, authentication)| Parts {
        host_name,
        device_id,
        module_id,
        gateway,
        authentication,
    });
    parts.prop_flat_map(|parts| {
        let texts = (Just(parts.pairs()).prop_shuffle(), select(vec!["", ";"]));
        texts.prop_map(move |(pairs, end)| (parts.clone(), pairs.join(";") + end))
    })
}

/// Texts that are nearly connection strings: known keys and others, with values of any kind.
fn nearly_valid() -> impl Strategy<Value = String> {
    let keys = select(vec![
        "HostName=",
        "DeviceId=",
        "ModuleId=",
        "GatewayHostName=",
        "SharedAccessKey=",
        "SharedAccessSignature=",
        "x509=",
        "SharedAccessKeyName=",
        "hostname=",
        "=",
        "",
    ]);
    let values = prop_oneof![4 => text(HOST), 2 => text(SECRET), 1 => select(vec!["true", "false", "h:0", "h:"]).prop_map_into(), 1 => text(".{0,30}")];
    proptest::collection::vec((keys, values), 0..6)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| key.to_owned() + &value).collect::<Vec<_>>().join(";"))
}

proptest! {
    #![proptest_config(ten_thousand())]

    #[test]
    fn a_valid_one_is_taken_apart_into_what_it_was_made_of((parts, text) in valid()) {
        let parsed: ConnectionString = text.parse().unwrap();
        prop_assert_eq!(parsed.host_name(), parts.host_name);
        prop_assert_eq!(parsed.device_id(), parts.device_id);
        prop_assert_eq!(parsed.module_id(), parts.module_id.as_deref());
        prop_assert_eq!(parsed.gateway().cloned(), parts.gateway.map(|(host, port)| Gateway { host, port }));
        prop_assert_eq!(parsed.authentication(), &parts.authentication);
    }

    #[test]
    fn any_text_is_taken_whole_or_refused(text in prop_oneof![nearly_valid(), any::<String>()]) {
        let Ok(parsed) = text.parse::<ConnectionString>() else { return Ok(()) };
        // Nothing that was given is left out: every part is one of those that were taken.
        for pair in text.strip_suffix(';').unwrap_or(&text).split(';') {
            let (key, value) = pair.split_once('=').unwrap();
            let gateway = parsed.gateway().map(|gateway| match gateway.port {
                Some(port) => format!("{}:{port}", gateway.host),
                None => gateway.host.clone(),
            });
            let taken = match (key, parsed.authentication()) {
                ("HostName", _) => parsed.host_name() == value,
                ("DeviceId", _) => parsed.device_id() == value,
                ("ModuleId", _) => parsed.module_id() == Some(value),
                // A port may have zeros and a plus in front.
                ("GatewayHostName", _) => gateway.is_some(),
                ("SharedAccessKey", Authentication::SharedAccessKey(key)) => key.expose() == value,
                ("SharedAccessSignature", Authentication::SharedAccessSignature(token)) => token.expose() == value,
                ("x509", Authentication::X509) => value == "true",
                ("x509", _) => value == "false",
                _ => false,
            };
            prop_assert!(taken, "{pair}");
        }
    }
}
