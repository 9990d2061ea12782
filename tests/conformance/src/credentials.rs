//! Who may connect, and what those hear who may not. The hub's record has the true reason; the client's text only what
//! the hub lets it know.

mod replaced;

pub(crate) use replaced::*;

use std::time::{Duration, SystemTime};

use iothub_core::{
    ClientCertificate, ConnectionError, ConnectionErrorKind, ConnectionState, ConnectionStatusReason, CreateError,
    CredentialError, Feature,
};
use iothub_emulator::{C2dMessage, Config, DeviceAuth, DisconnectReason, RefusalReason, SecretKey};

use crate::bench::{Bench, DEVICE};
use crate::program::Program;
use crate::record;
use crate::subject::{Settings, Subject, is_end_for_credentials};

/// A well-formed key that is no device's.
const OTHER_KEY: &str = "bm90IHRoZSBrZXkgb2YgdGhpcyBkZXZpY2UsIGJ1dCBhIGtleQ==";

fn error_of(change: &iothub_core::StatusChange) -> ConnectionError {
    change.error.clone().expect("a failed attempt has a cause")
}

/// The hub refuses; the client hears so, tries on, and says nothing that it cannot know.
fn is_refused(bench: &Bench<'_>) -> Program {
    let mut program = bench.start();
    let id = program.send("kept");
    let waiting = program.until_status(ConnectionState::Waiting, 0);
    let error = error_of(&waiting);
    assert_eq!(
        (waiting.reason, &error.kind),
        (ConnectionStatusReason::BadCredential, &ConnectionErrorKind::NotAuthorized)
    );
    let text = error.to_string();
    assert!(text.starts_with(&format!("localhost:{}: ", bench.port())), "{text}");
    assert_eq!((program.outcome(id), program.stats().connections), (None, 0));
    assert_eq!(record::connections(bench), 0);
    program
}

pub(crate) fn the_second_key_of_a_device_is_as_good_as_the_first(subject: &dyn Subject) {
    let mut bench = Bench::without_device(subject, Config::new());
    let keys = DeviceAuth::SymmetricKey {
        primary: SecretKey::from(OTHER_KEY),
        secondary: SecretKey::from("c2Vjb25kYXJ5IGtleSBvZiBpdA=="),
    };
    let device = bench.create_device_with(DEVICE, keys).expect("it is new");
    let with_second = device.connection_string().replace(OTHER_KEY, "c2Vjb25kYXJ5IGtleSBvZiBpdA==");
    assert_ne!(with_second, device.connection_string());
    bench.connection_string = bench.reachable(&with_second);
    let mut program = bench.start();
    program.round_trip();
    assert_eq!(record::stored(&bench), ["round trip 1"]);
    program.finish();
}

pub(crate) fn a_wrong_key_is_refused(subject: &dyn Subject) {
    let mut bench = Bench::new(subject);
    let text = format!("HostName={};DeviceId={DEVICE};SharedAccessKey={OTHER_KEY}", bench.host_name());
    bench.connection_string = bench.reachable(&text);
    let program = is_refused(&bench);
    let heard = format!("{:?} {}", program.statuses, error_of(&program.statuses[1]));
    assert!(!heard.contains(OTHER_KEY) && !heard.contains("SharedAccessSignature"), "{heard}");
    assert_eq!(record::refusals(&bench)[0], RefusalReason::TokenSignature);
    program.finish();
}

pub(crate) fn an_unknown_device_is_refused_and_connects_once_it_is_created(subject: &dyn Subject) {
    let mut bench = Bench::without_device(subject, Config::new());
    let text = format!("HostName={};DeviceId={DEVICE};SharedAccessKey={OTHER_KEY}", bench.host_name());
    bench.connection_string = bench.reachable(&text);
    let mut program = is_refused(&bench);
    assert_eq!(record::refusals(&bench)[0], RefusalReason::UnknownDevice);
    let keys = DeviceAuth::SymmetricKey { primary: SecretKey::from(OTHER_KEY), secondary: SecretKey::from(OTHER_KEY) };
    bench.create_device_with(DEVICE, keys).expect("it is new");
    program.until_ready();
    program.until_stored(1);
    assert_eq!(record::stored(&bench), ["kept"]);
    program.finish();
}

pub(crate) fn a_disabled_device_is_refused_and_connects_once_it_is_enabled(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let mut program = is_refused(&bench);
    assert_eq!(record::refusals(&bench)[0], RefusalReason::DeviceDisabled);
    bench.set_device_enabled(DEVICE, true).expect("it exists");
    program.until_ready();
    program.until_stored(1);
    assert_eq!(record::stored(&bench), ["kept"]);
    program.finish();
}

pub(crate) fn a_token_that_has_expired_by_the_hubs_clock_is_refused(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    bench.set_clock(SystemTime::now() + Duration::from_secs(2 * 3600));
    let mut program = is_refused(&bench);
    assert!(
        matches!(record::refusals(&bench)[0], RefusalReason::TokenExpired { .. }),
        "{:?}",
        record::refusals(&bench)
    );
    bench.set_clock(SystemTime::now());
    program.until_ready();
    program.until_stored(1);
    assert_eq!(record::stored(&bench), ["kept"]);
    program.finish();
}

pub(crate) fn a_ready_token_is_enough(subject: &dyn Subject) {
    let mut bench = Bench::new(subject);
    let token = bench.device(DEVICE).expect("it exists").sas_token(Duration::from_secs(3600));
    let text = format!("HostName={};DeviceId={DEVICE};SharedAccessSignature={token}", bench.host_name());
    bench.connection_string = bench.reachable(&text);
    let mut program = bench.start();
    program.round_trip();
    assert_eq!(record::stored(&bench), ["round trip 1"]);
    program.finish();
}

pub(crate) fn a_ready_token_that_is_known_to_have_expired_is_named_and_never_sent(subject: &dyn Subject) {
    let mut bench = Bench::new(subject);
    bench.set_clock(SystemTime::now() - Duration::from_secs(2 * 3600));
    let token = bench.device(DEVICE).expect("it exists").sas_token(Duration::from_secs(3600));
    let text = format!("HostName={};DeviceId={DEVICE};SharedAccessSignature={token}", bench.host_name());
    bench.connection_string = bench.reachable(&text);
    let mut program = bench.start();
    let id = program.send("kept");
    let stopped = program.until_status(ConnectionState::Stopped, 0);
    assert_eq!(stopped.reason, ConnectionStatusReason::ExpiredSasToken);
    let error = error_of(&stopped);
    assert!(matches!(error.kind, ConnectionErrorKind::TokenExpired { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("sig="), "{error}");
    assert_eq!(program.next_deadline(), None, "a stopped client has nothing planned");
    assert!(bench.activity(DEVICE).is_empty() && bench.unattributed_activity().is_empty());
    bench.set_clock(SystemTime::now());
    let token = bench.device(DEVICE).expect("it exists").sas_token(Duration::from_secs(3600));
    program.set_shared_access_signature(token).expect("it is a token");
    program.until_confirmed(&[id]);
    assert_eq!(record::stored(&bench), ["kept"]);
    program.finish();
}

pub(crate) fn a_connection_outlives_its_token_only_as_long_as_the_hub_lets_it(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    // Two hours by the hub's date: past the token's hour and the hub's grace. No time passes, so no keep-alive ends.
    bench.set_clock(SystemTime::now() + Duration::from_secs(2 * 3600));
    let dropped = program.until_status(ConnectionState::Waiting, 3);
    is_end_for_credentials(subject, &error_of(&dropped).kind);
    assert_eq!(record::ends(&bench)[0], DisconnectReason::TokenExpired);
    bench.set_clock(SystemTime::now());
    let told = program.statuses.len();
    program.until_ready();
    assert!(program.statuses.len() >= told);
    program.round_trip();
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

pub(crate) fn new_keys_at_the_hub_lock_out_the_old_one_at_the_next_connect(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    bench.rotate_keys(DEVICE).expect("it has keys");
    program.round_trip();
    assert_eq!(record::connections(&bench), 1, "an open connection stays");
    bench.disconnect_device(DEVICE).expect("it exists");
    program.until("the old key is refused", |program| {
        program.statuses.iter().any(|change| change.reason == ConnectionStatusReason::BadCredential)
    });
    assert_eq!(record::refusals(&bench)[0], RefusalReason::TokenSignature);
    program.finish();
}

pub(crate) fn a_device_that_is_disabled_while_connected_hears_so_and_returns_once_enabled(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let id = program.send("kept");
    let dropped = program.until_status(ConnectionState::Waiting, 3);
    is_end_for_credentials(subject, &error_of(&dropped).kind);
    let told = program.statuses.len();
    let refused = program.until_status(ConnectionState::Waiting, told);
    assert_eq!(refused.reason, ConnectionStatusReason::BadCredential);
    assert_eq!(record::ends(&bench)[0], DisconnectReason::DeviceDisabled);
    assert_eq!(record::refusals(&bench)[0], RefusalReason::DeviceDisabled);
    bench.set_device_enabled(DEVICE, true).expect("it exists");
    program.until_confirmed(&[id]);
    assert_eq!(record::first_stored(&bench), ["kept"]);
    program.finish();
}

/// A bench whose device authenticates with a certificate, and the certificate.
pub(crate) fn with_certificate(
    subject: &dyn Subject,
    auth: impl FnOnce(String) -> DeviceAuth,
) -> (Bench<'_>, ClientCertificate) {
    let mut bench = Bench::without_device(subject, Config::new());
    let issued = bench.issue_device_certificate(DEVICE).expect("the hub has a device CA");
    let device = bench.create_device_with(DEVICE, auth(issued.thumbprint)).expect("it is new");
    bench.connection_string = bench.reachable(device.connection_string());
    (bench, ClientCertificate::from_pem(issued.certificate_pem, issued.private_key_pem))
}

fn certificate_is_enough(bench: &Bench<'_>, certificate: ClientCertificate) {
    assert!(bench.connection_string.contains("x509=true"));
    let mut program = bench.start_with(Settings::default(), |builder| builder.certificate(certificate));
    program.round_trip();
    let stamps = &bench.telemetry(DEVICE)[0].stamps;
    assert!(stamps["iothub-connection-auth-method"].contains("x509"), "{stamps:?}");
    // A new connection shows the certificate again.
    bench.disconnect_device(DEVICE).expect("it exists");
    program.round_trip();
    assert_eq!(record::connections(bench), 2);
    program.finish();
}

pub(crate) fn a_certificate_known_by_its_thumbprint_is_enough(subject: &dyn Subject) {
    let auth = |thumbprint| DeviceAuth::Thumbprint { primary: thumbprint, secondary: None };
    let (bench, certificate) = with_certificate(subject, auth);
    certificate_is_enough(&bench, certificate);
}

pub(crate) fn a_certificate_from_a_trusted_authority_is_enough(subject: &dyn Subject) {
    let (bench, certificate) = with_certificate(subject, |_| DeviceAuth::CertificateAuthority);
    certificate_is_enough(&bench, certificate);
}

pub(crate) fn the_certificate_of_another_device_is_refused(subject: &dyn Subject) {
    let (bench, _) = with_certificate(subject, |_| DeviceAuth::CertificateAuthority);
    let other = bench.issue_device_certificate("another-device").expect("the hub has a device CA");
    let certificate = ClientCertificate::from_pem(other.certificate_pem, other.private_key_pem);
    let mut program = bench.start_with(Settings::default(), |builder| builder.certificate(certificate));
    let waiting = program.until_status(ConnectionState::Waiting, 0);
    assert_eq!(error_of(&waiting).kind, ConnectionErrorKind::NotAuthorized);
    assert!(matches!(record::refusals(&bench)[0], RefusalReason::Certificate(_)), "{:?}", record::refusals(&bench));
    assert_eq!(record::connections(&bench), 0);
    program.finish();
}

pub(crate) fn a_missing_certificate_is_named_before_anything_is_sent(subject: &dyn Subject) {
    let (bench, _) = with_certificate(subject, |_| DeviceAuth::CertificateAuthority);
    let provider = bench.provider(&Settings::default());
    let error = bench.builder(&bench.connection_string).build(&*provider).expect_err("there is no certificate");
    assert!(matches!(error, CreateError::Credential(CredentialError::CertificateMissing)), "{error}");
    assert!(bench.activity(DEVICE).is_empty() && bench.unattributed_activity().is_empty());
}

pub(crate) fn a_hub_that_nobody_vouches_for_is_sent_no_credential(subject: &dyn Subject) {
    let (bench, stranger) = (Bench::new(subject), Bench::without_device(subject, Config::new()));
    let mut program = bench.start_with(Settings::default(), |builder| builder.trusted_certs(stranger.ca_pem()));
    let waiting = program.until_status(ConnectionState::Waiting, 0);
    assert_eq!(waiting.reason, ConnectionStatusReason::NoNetwork);
    let error = error_of(&waiting);
    assert!(matches!(error.kind, ConnectionErrorKind::UntrustedCertificate { .. }), "{error}");
    bench
        .wait_until(crate::program::LIMIT, "the handshake has failed", |hub| !hub.unattributed_activity().is_empty())
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(bench.activity(DEVICE).is_empty(), "the hub learned who it was");
    program.finish();
}

pub(crate) fn a_hub_under_another_name_is_sent_no_credential(subject: &dyn Subject) {
    let mut bench = Bench::new(subject);
    let device = bench.device(DEVICE).expect("it exists");
    bench.connection_string = format!("{};GatewayHostName=127.0.0.1:{}", device.connection_string(), bench.port());
    let mut program = bench.start();
    let error = error_of(&program.until_status(ConnectionState::Waiting, 0));
    assert!(matches!(error.kind, ConnectionErrorKind::WrongHostName { .. }), "{error}");
    assert_eq!((&*error.host, error.port), ("127.0.0.1", bench.port()));
    assert!(bench.activity(DEVICE).is_empty(), "the hub learned who it was");
    program.finish();
}

pub(crate) fn a_device_id_may_have_every_character_that_is_allowed(subject: &dyn Subject) {
    let id = "aZ09-.%_*?!(),:=@$'%41";
    let bench = Bench::without_device(subject, Config::new());
    let device = bench.create_device(id).expect("the id is allowed");
    let connection_string = bench.reachable(device.connection_string());
    let provider = bench.provider(&Settings::default());
    let client = bench.builder(&connection_string).build(&*provider).expect("the id is allowed");
    let mut program = Program::new(client, bench.hub(), DEVICE.into());
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    program.deliver("up");
    bench.send_c2d(id, C2dMessage::new("down")).expect("the queue has room");
    let message = program.receive();
    assert_eq!(message.payload().as_ref(), b"down");
    message.complete();
    program.until_hub("it is completed", |hub| hub.c2d_outcomes(id).len() == 1);
    let stored = bench.telemetry(id);
    assert_eq!((stored.len(), stored[0].device_id.as_str(), stored[0].body.as_ref()), (1, id, &b"up"[..]));
    program.finish();
}
