//! Connection strings: a text is taken whole or refused with a reason, and no reason shows a secret.
//!
//! In the input, `KEY` stands for a device key, `SHORT` for one of the least size that a hub takes, and `TOKEN` for a shared
//! access signature, so that the target knows what must not be shown.

use iothub_core::{Authentication, ConnectionString, DeviceClient, Gateway, SharedAccessKey, SharedAccessSignature};

use super::wire::{Packet, Splitter, split_text};
use super::world::{KEY, World};

const TOKEN: &str =
    "SharedAccessSignature sr=hub.example%2Fdevices%2Fdev1&sig=Z2VoZWltZXNTaWduYXR1cg%3D%3D&se=1700003600";
const SIGNATURE: &str = "Z2VoZWltZXNTaWduYXR1cg";

/// 16 bytes.
const SHORT_KEY: &str = "c2hvcnQga2V5IG9mIDE2IQ==";

/// So much of a secret may show where it stands in the place of a key's name; see the error for unknown keys.
const MAX_SHOWN: usize = 8;

/// Runs one text.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if secret_parts().any(|part| text.contains(part)) {
        // The fuzzer has learnt the secret by heart, and nobody can tell any more who shows it.
        return;
    }
    let text = text.replace("SHORT", SHORT_KEY).replace("KEY", KEY).replace("TOKEN", TOKEN);
    match text.parse::<ConnectionString>() {
        // Who makes a key part of a name has given it away.
        Ok(parsed) if secret_parts().any(|part| names(&parsed).contains(part)) => {}
        Ok(parsed) => {
            shows_no_secret(&format!("{parsed:?}"));
            survives_being_written(&parsed);
            authenticates(&parsed);
            creates_a_client(&text, &parsed);
        }
        Err(error) => {
            shows_no_secret(&format!("{error} {error:?}"));
            let refused = DeviceClient::create_from_connection_string(&text, &World::new());
            shows_no_secret(&format!("{refused:?}"));
            assert!(refused.is_err(), "a client was made of what is no connection string");
        }
    }
}

/// What of a connection string is no secret.
fn names(parsed: &ConnectionString) -> String {
    let gateway = parsed.gateway().map(Gateway::to_string);
    [parsed.host_name(), parsed.device_id(), parsed.module_id().unwrap_or_default(), &gateway.unwrap_or_default()]
        .concat()
}

/// No more than the allowed beginning of a secret is in a text.
fn shows_no_secret(shown: &str) {
    for part in secret_parts() {
        assert!(!shown.contains(part), "a secret shows: {shown}");
    }
}

/// The pieces of the secrets that are too long to be shown.
fn secret_parts() -> impl Iterator<Item = &'static str> {
    let parts = |secret: &'static str| (MAX_SHOWN + 1..=secret.len()).map(move |end| &secret[end - MAX_SHOWN - 1..end]);
    [KEY, SHORT_KEY, SIGNATURE].into_iter().flat_map(parts)
}

/// Written out from what was read, it is read the same.
fn survives_being_written(parsed: &ConnectionString) {
    let mut text = format!("HostName={};DeviceId={}", parsed.host_name(), parsed.device_id());
    if let Some(module) = parsed.module_id() {
        text += &format!(";ModuleId={module}");
    }
    if let Some(gateway) = parsed.gateway() {
        text += &format!(";GatewayHostName={gateway}");
    }
    text += &match parsed.authentication() {
        Authentication::SharedAccessKey(key) => format!(";SharedAccessKey={}", key.expose()),
        Authentication::SharedAccessSignature(token) => format!(";SharedAccessSignature={}", token.expose()),
        _ => ";x509=true".to_owned(),
    };
    assert_eq!(text.parse().as_ref(), Ok(parsed));
    let all = [Some(parsed.host_name()), Some(parsed.device_id()), parsed.module_id()];
    for part in all.into_iter().flatten() {
        assert!(!part.is_empty() && !part.contains(['/', ';', '\r', '\n', '#', '+']), "{part:?}");
    }
}

/// A key or token is usable, or refused without being shown.
fn authenticates(parsed: &ConnectionString) {
    match parsed.authentication() {
        Authentication::SharedAccessKey(key) => match SharedAccessKey::from_base64(key) {
            Ok(key) => shows_no_secret(&format!("{key:?}")),
            Err(error) => shows_no_secret(&format!("{error} {error:?}")),
        },
        Authentication::SharedAccessSignature(token) => match SharedAccessSignature::parse(token.clone()) {
            Ok(token) => shows_no_secret(&format!("{token:?}")),
            Err(error) => shows_no_secret(&format!("{error} {error:?}")),
        },
        _ => {}
    }
}

/// A client of it, if there can be one, introduces itself as the device of the text.
fn creates_a_client(text: &str, parsed: &ConnectionString) {
    let world = World::new();
    let mut client = match DeviceClient::create_from_connection_string(text, &world) {
        Ok(client) => client,
        Err(error) => return shows_no_secret(&format!("{error} {error:?}")),
    };
    let mut peer = world.network().accept();
    client.do_work();
    client.do_work();
    let sent = Splitter::default().push(&peer.receive());
    let [connect] = &sent[..] else {
        // Its own token may have expired, and is not sent then.
        let events: Vec<_> = std::iter::from_fn(|| client.next_event()).collect();
        assert!(matches!(parsed.authentication(), Authentication::SharedAccessSignature(_)), "{events:?}");
        return shows_no_secret(&format!("{events:?}"));
    };
    let [client_id, user_name, password] = credentials(connect);
    assert_eq!(client_id, parsed.device_id());
    assert!(user_name.starts_with(&format!("{}/{}/?api-version=", parsed.host_name(), parsed.device_id())));
    match parsed.authentication() {
        Authentication::SharedAccessSignature(token) => assert_eq!(password, token.expose()),
        _ => {
            let scope = format!("{}/devices/{}", parsed.host_name(), encoded(parsed.device_id()));
            let beginning = format!("SharedAccessSignature sr={scope}&sig=");
            assert!(password.starts_with(&beginning), "the token is not for {scope}");
        }
    }
    let gateway = parsed.gateway().map(Gateway::to_string);
    shows_no_secret(&format!("{client:?} {gateway:?}"));
}

/// Client identifier, user name and password of a CONNECT.
fn credentials(connect: &Packet) -> [String; 3] {
    assert_eq!((connect.first, connect.body[7]), (0x10, 0xC0));
    let mut rest = &connect.body[10..];
    [(); 3].map(|()| {
        let (text, behind) = split_text(rest).expect("three texts");
        rest = behind;
        String::from_utf8(text.to_vec()).unwrap()
    })
}

/// What a URL takes as it is, and the rest in its escapes.
fn encoded(id: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    id.bytes().map(encode).collect()
}
