//! Every option name of the C SDK, and what became of it here.

/// What became of an option of the C SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionVerdict {
    /// It is a [`ClientOption`](crate::ClientOption), and can be set by its name.
    Taken,
    /// Something else does its job: this.
    Mapped(&'static str),
    /// It is not here, for this reason.
    Refused(&'static str),
}

use OptionVerdict::{Mapped, Refused, Taken};

/// Every option of the C SDK 1.15 (`iothub_client_options.h`, `shared_util_options.h`, and the names that its transports take
/// besides), in groups: engine, MQTT, AMQP, HTTP, uploads, TLS, network.
pub const C_OPTIONS: &[(&str, OptionVerdict)] = &[
    ("messageTimeout", Taken),
    ("diag_sampling_percentage", Taken),
    ("sas_token_lifetime", Taken),
    ("sas_token_refresh_time", Taken),
    ("retry_interval_sec", Taken),
    ("retry_max_delay_secs", Taken),
    (
        "product_info",
        Mapped("`ClientBuilder::product_info`, because it is told only when the client introduces itself"),
    ),
    ("model_id", Mapped("`ClientBuilder::model_id`, because it is told only when the client introduces itself")),
    ("do_work_freq_ms", Mapped("`Client::wait`, which sleeps until `do_work` has something to do")),
    ("logtrace", Mapped("a subscriber of the `tracing` crate")),
    ("keepalive", Taken),
    ("connect_timeout", Taken),
    (
        "auto_url_encode_decode",
        Mapped("always on: properties are escaped and unescaped on every transport that needs it"),
    ),
    ("rawlogtrace", Refused("what goes over the wire holds tokens and payloads, and neither is ever logged")),
    (
        "cbs_request_timeout",
        Mapped(
            "`connect_timeout`, which covers each answer of the hub on the way to a connection, that to a token too",
        ),
    ),
    ("event_send_timeout_secs", Mapped("`messageTimeout`, which covers a message from `send_event` to its outcome")),
    ("svc2cl_keep_alive_timeout_secs", Mapped(HUB_SILENCE)),
    ("c2d_keep_alive_freq_secs", Mapped(HUB_SILENCE)),
    (
        "cl2svc_keep_alive_send_ratio",
        Mapped("always half: an idle client speaks at half of the time that the hub waits, as is C's default"),
    ),
    (
        "Batching",
        Mapped("`Amqp::batching`, on by default; C has the option for HTTP alone, and always batches over AMQP"),
    ),
    ("MinimumPollingTime", Refused(NO_HTTP)),
    ("timeout", Refused(NO_HTTP)),
    ("CURLOPT_LOW_SPEED_LIMIT", Refused(NO_CURL)),
    ("CURLOPT_LOW_SPEED_TIME", Refused(NO_CURL)),
    ("CURLOPT_FRESH_CONNECT", Refused(NO_CURL)),
    ("CURLOPT_FORBID_REUSE", Refused(NO_CURL)),
    ("CURLOPT_INTERFACE", Refused(NO_CURL)),
    ("CURLOPT_VERBOSE", Refused(NO_CURL)),
    ("blob_upload_timeout_secs", Refused(NO_UPLOAD)),
    ("network_interface_upload_to_blob", Refused(NO_INTERFACE)),
    ("blob_upload_tls_renegotiation", Refused(NO_RENEGOTIATION)),
    ("TrustedCerts", Mapped("`ClientBuilder::trusted_certs`")),
    ("x509certificate", Mapped(CERTIFICATE)),
    ("x509privatekey", Mapped(CERTIFICATE)),
    ("x509EccCertificate", Mapped(SIGNER)),
    ("x509EccAliasKey", Mapped(SIGNER)),
    ("x509PrivatekeyType", Mapped(SIGNER)),
    ("Engine", Mapped(SIGNER)),
    ("CipherSuite", Refused("the TLS library offers only sound cipher suites, and the best common one is used")),
    ("tls_version", Refused("TLS 1.2 and 1.3 are offered and the best common one is used; older ones are unsafe")),
    ("tls_renegotiation", Refused(NO_RENEGOTIATION)),
    ("ignore_host_name_check", Refused(NO_NAME_CHECK)),
    ("ignore_server_name_check", Refused(NO_NAME_CHECK)),
    ("tls_validation_callback", Refused(NO_CALLBACK)),
    ("tls_validation_callback_data", Refused(NO_CALLBACK)),
    ("proxy_data", Mapped("`ClientBuilder::proxy`, because a connection that exists cannot be led elsewhere")),
    ("proxy_address", Refused(NOT_EVEN_C)),
    ("proxy_username", Refused(NOT_EVEN_C)),
    ("proxy_password", Refused(NOT_EVEN_C)),
    ("tcp_keepalive", Taken),
    ("tcp_keepalive_time", Taken),
    ("tcp_keepalive_interval", Taken),
    ("net_interface_mac_address", Refused(NO_INTERFACE)),
    ("ADDRESS_TYPE", Refused("the hub is reached by TCP; there is no other address")),
];

const HUB_SILENCE: &str = "`keepalive`, which over AMQP is the time that the hub may be silent";
const NO_HTTP: &str = "it belongs to HTTP, which this version does not have";
const NO_CURL: &str = "there is no libcurl here that it could be handed to";
const NO_UPLOAD: &str = "there are no uploads to blob storage yet";
const NO_INTERFACE: &str = "the system's routes choose the network interface; set a route, or use a network namespace";
const NO_RENEGOTIATION: &str = "renegotiation is a weakness of TLS 1.2 that TLS 1.3 removed, and it is never used";
const NO_NAME_CHECK: &str = "it would trust a server for any certificate of a trusted authority; give the name in the certificate with `gateway`, or the right root with `trusted_certs`";
const NO_CALLBACK: &str =
    "the verification of the server cannot be replaced; name the roots to trust with `trusted_certs`";
const NOT_EVEN_C: &str = "the C SDK declares it, and no part of it reads it";
const CERTIFICATE: &str =
    "`ClientBuilder::certificate` with `ClientCertificate::from_pem`, and `Outbox::set_credential` later";
const SIGNER: &str = "`ClientCertificate::from_signer`, which takes a certificate whose key is kept elsewhere";

/// The verdict on an option of the C SDK; `None` if there is none of this name.
pub(super) fn verdict(name: &str) -> Option<(&'static str, OptionVerdict)> {
    C_OPTIONS.iter().find(|(known, _)| *known == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{ClientOption, OptionError};

    #[test]
    fn every_option_of_the_c_sdk_is_taken_or_answered_by_its_verdict() {
        for (name, verdict) in C_OPTIONS {
            let read = ClientOption::from_name(name, "1");
            match verdict {
                Taken => assert!(read.is_ok(), "{name}: {read:?}"),
                Mapped(to) => assert_eq!(read, Err(OptionError::Mapped { option: name, to })),
                Refused(reason) => assert_eq!(read, Err(OptionError::Refused { option: name, reason })),
            }
        }
    }

    #[test]
    fn every_name_stands_once() {
        let names: std::collections::BTreeSet<_> = C_OPTIONS.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), C_OPTIONS.len());
    }
}
