//! Creating a client: mistakes are named, and nothing is global.

use super::fake::{Call, Fake};
use super::*;

fn error(connection_string: &str) -> CreateError {
    DeviceClient::create_from_connection_string(connection_string, &Fake::new()).unwrap_err()
}

fn certificate() -> ClientCertificate {
    ClientCertificate::from_pem("chain", "key")
}

#[test]
fn wrinkle_3_a_client_that_cannot_be_created_says_why() {
    let text = error("HostName=h;DeviceId=d;SharedAccessKey=not base64").to_string();
    assert!(text.contains("SharedAccessKey is not base64"), "{text}");
    let text = error("HostName=h;DeviceId=d;SharedAccessKey=YQ==;Extra=1").to_string();
    assert!(text.contains("\"Extra\""), "{text}");
}

#[test]
fn wrinkle_5_a_modules_connection_string_does_not_make_a_device() {
    let error = error("HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=YQ==");
    assert!(matches!(error, CreateError::ModuleIdentity));
}

#[test]
fn wrinkle_5_a_devices_connection_string_does_not_make_a_module() {
    let text = "HostName=h;DeviceId=d;SharedAccessKey=YQ==";
    let error = ModuleClient::create_from_connection_string(text, &Fake::new()).unwrap_err();
    assert!(matches!(error, CreateError::DeviceIdentity));
}

fn key() -> SharedAccessKey {
    SharedAccessKey::from_base64(&Secret::new("c2VjcmV0")).unwrap()
}

#[test]
fn parameters_make_the_client_that_a_connection_string_makes() {
    let fake = Fake::new();
    let token = |fake: &Fake| match fake.calls().remove(0) {
        Call::Connect { token } => token.unwrap(),
        other => panic!("{other:?}"),
    };
    fake.client().do_work();
    let by_text = token(&fake);
    DeviceClient::create("hub.example", "dev-1", key(), &fake).unwrap().do_work();
    assert_eq!(token(&fake), by_text);
    ModuleClient::create("hub.example", "dev-1", "mod-1", key(), &fake).unwrap().do_work();
    assert!(token(&fake).contains("sr=hub.example/devices/dev-1/modules/mod-1&"));
}

#[test]
fn a_parameter_that_is_wrong_is_named() {
    let fake = Fake::new();
    let name = |outcome: Result<(), CreateError>| match outcome {
        Err(CreateError::Parameter { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let device = |host, id| DeviceClient::create(host, id, key(), &fake).map(drop);
    assert_eq!(name(device("https://hub", "d")), "host name");
    assert_eq!(name(device("hub.example", "")), "device id");
    assert_eq!(name(device("hub.example", "a/b")), "device id");
    assert_eq!(name(ModuleClient::create("hub.example", "d", "m#", key(), &fake).map(drop)), "module id");
    let gateway = DeviceClient::builder_for("hub.example", "d", key()).gateway("gateway:0");
    assert_eq!(name(gateway.build(&fake).map(drop)), "gateway");
}

#[test]
fn a_certificate_is_needed_exactly_with_x509() {
    let error = error("HostName=h;DeviceId=d;x509=true");
    assert!(matches!(error, CreateError::Credential(CredentialError::CertificateMissing)));
    let builder = DeviceClient::builder("HostName=h;DeviceId=d;SharedAccessKey=YQ==").certificate(certificate());
    let error = builder.build(&Fake::new()).unwrap_err();
    assert!(matches!(error, CreateError::Credential(CredentialError::CertificateUnexpected)));
}

#[test]
fn an_x509_client_connects_without_a_token() {
    let fake = Fake::new();
    let builder = DeviceClient::builder("HostName=h;DeviceId=d;x509=true").certificate(certificate());
    builder.build(&fake).unwrap().do_work();
    assert_eq!(fake.calls(), [Call::Connect { token: None }]);
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let fake = Fake::new();
    let build = |options: fn(ClientBuilder<Device>) -> ClientBuilder<Device>| {
        let builder = DeviceClient::builder("HostName=h;DeviceId=d;SharedAccessKey=YQ==");
        match options(builder).build(&fake) {
            Err(CreateError::Option { option, .. }) => option,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(build(|b| b.token_lifetime(SECOND)), "token_lifetime");
    assert_eq!(build(|b| b.max_queued_messages(0)), "max_queued_messages");
    assert_eq!(build(|b| b.max_queued_bytes(1000)), "max_queued_bytes");
}

#[test]
fn wrinkle_48_no_secret_shows_in_debug() {
    let builder = DeviceClient::builder("HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0c2VjcmV0");
    let text = format!("{builder:?}");
    let client = builder.build(&Fake::new()).unwrap();
    assert!(!format!("{text} {client:?}").contains("c2VjcmV0"), "{text}");
}

#[test]
fn wrinkle_2_a_client_can_move_to_another_thread() {
    fn sendable<T: Send>(_: &T) {}
    sendable(&Fake::new().client());
}

#[test]
fn a_device_id_with_special_characters_is_escaped_in_the_tokens_scope() {
    let fake = Fake::new();
    let text = "HostName=h.example;DeviceId=a%b@c;SharedAccessKey=YQ==";
    DeviceClient::create_from_connection_string(text, &fake).unwrap().do_work();
    let calls = fake.calls();
    let [Call::Connect { token: Some(token) }] = &calls[..] else { panic!("{calls:?}") };
    assert!(token.contains("sr=h.example/devices/a%25b%40c&"), "{token}");
}
