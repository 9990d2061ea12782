//! TLS errors in the words of whoever has to act on them.

use std::time::Duration;

use iothub_core::ConnectionErrorKind;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use rustls_pki_types::UnixTime;

/// What a failed handshake means for the connection.
pub fn handshake_error(error: &Error) -> ConnectionErrorKind {
    match error {
        Error::InvalidCertificate(error) => certificate_error(error),
        // Not one of rustls's own: the client certificate's signer.
        Error::Other(error) => ConnectionErrorKind::NotSigned { detail: error.to_string() },
        other => ConnectionErrorKind::Tls { detail: describe(other) },
    }
}

/// The error as text, for the handshake and for what comes after it.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => describe_alert(*alert),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::UnknownProtocolVersion,
        ) => "the server's answer is not TLS".to_owned(),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the server speaks no TLS version that is still safe".to_owned(),
        other => other.to_string(),
    }
}

fn describe_alert(alert: AlertDescription) -> String {
    let meaning = match alert {
        AlertDescription::CertificateRequired => "it wants a client certificate",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => "it does not accept the client certificate",
        AlertDescription::CertificateRevoked => "the client certificate was revoked",
        AlertDescription::CertificateExpired => "the client certificate has expired",
        AlertDescription::UnknownCA => "it does not know who issued the client certificate",
        AlertDescription::DecryptError => "it finds that a signature is wrong, maybe the client certificate's",
        AlertDescription::AccessDenied => "it denies access to the client certificate",
        AlertDescription::HandshakeFailure => {
            "client and server share no way to talk, or it wants a client certificate"
        }
        AlertDescription::ProtocolVersion => "it speaks neither TLS 1.2 nor 1.3",
        AlertDescription::UnrecognisedName => "it does not serve this host name",
        _ => return format!("the server sent the TLS alert {alert:?}"),
    };
    format!("the server sent the TLS alert {alert:?}: {meaning}")
}

fn certificate_error(error: &CertificateError) -> ConnectionErrorKind {
    match error {
        CertificateError::NotValidForName => ConnectionErrorKind::WrongHostName { detail: error.to_string() },
        CertificateError::NotValidForNameContext { expected, presented } => ConnectionErrorKind::WrongHostName {
            detail: match presented.as_slice() {
                [] => format!("wanted {}, it carries no name", expected.to_str()),
                names => format!("wanted {}, it is for {}", expected.to_str(), list(names)),
            },
        },
        CertificateError::Expired => ConnectionErrorKind::CertificateTime { detail: "it has expired".to_owned() },
        CertificateError::NotValidYet => {
            ConnectionErrorKind::CertificateTime { detail: "it is not valid yet".to_owned() }
        }
        CertificateError::ExpiredContext { time, not_after } => ConnectionErrorKind::CertificateTime {
            detail: format!("it expired {} ago by the clock of this machine", between(*not_after, *time)),
        },
        CertificateError::NotValidYetContext { time, not_before } => ConnectionErrorKind::CertificateTime {
            detail: format!("it becomes valid in {} by the clock of this machine", between(*time, *not_before)),
        },
        CertificateError::UnknownIssuer => {
            ConnectionErrorKind::UntrustedCertificate { detail: "its issuer is unknown".to_owned() }
        }
        CertificateError::BadSignature => ConnectionErrorKind::UntrustedCertificate {
            // What a private authority that was made anew under its old name looks like.
            detail: "its issuer has the name of a trusted authority, but not its key".to_owned(),
        },
        other => ConnectionErrorKind::UntrustedCertificate { detail: other.to_string() },
    }
}

/// The verifier writes names as `DnsName("hub.example")`; people want `hub.example`.
fn list(names: &[String]) -> String {
    /// A certificate may carry hundreds.
    const MOST: usize = 8;
    let mut text = names
        .iter()
        .take(MOST)
        .map(|name| {
            name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')')).trim_matches('"')
        })
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}

/// A length of time in its largest fitting unit.
fn between(earlier: UnixTime, later: UnixTime) -> String {
    let seconds = Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs())).as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_people_write_them() {
        let names = ["DnsName(\"hub.example\")", "IpAddress(127.0.0.1)", "plain"].map(str::to_owned);
        assert_eq!(list(&names), "hub.example, 127.0.0.1, plain");
    }

    #[test]
    fn a_certificate_with_hundreds_of_names_does_not_fill_the_log() {
        let names: Vec<_> = (0..300).map(|n| format!("DnsName(\"n{n}\")")).collect();
        assert_eq!(list(&names), "n0, n1, n2, n3, n4, n5, n6, n7 and 292 more");
    }

    #[test]
    fn lengths_of_time_are_told_in_their_largest_unit() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "1 minute"),
            (7200, "2 hours"),
            (86_400, "1 day"),
            (86_400 * 400, "400 days"),
        ] {
            assert_eq!(between(at(1000), at(1000 + seconds)), text);
        }
        assert_eq!(between(at(1000), at(0)), "0 seconds");
    }
}
