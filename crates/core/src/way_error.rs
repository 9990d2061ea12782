//! What can go wrong on the way to the hub: at an HTTP proxy, and in the upgrade to a WebSocket.

use std::time::Duration;

/// What a proxy did, or did not do. Texts go on from its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// There is no TCP connection to it.
    #[error("cannot be reached ({detail}); check that it runs, and that its host and port are right")]
    Unreachable {
        /// What failed.
        detail: String,
    },
    /// It took the connection and said nothing.
    #[error(
        "did not answer within {} s; check that its host and port are those of an HTTP proxy, and that it can reach the hub",
        after.as_secs_f32()
    )]
    Silent {
        /// How long the client waited.
        after: Duration,
    },
    /// It closed the connection without a whole answer.
    #[error("broke off before its answer ({detail}); check that its host and port are those of an HTTP proxy")]
    Broken {
        /// How.
        detail: String,
    },
    /// What it answered is not HTTP, or not an answer to CONNECT.
    #[error("did not answer as an HTTP proxy does ({detail}); check its host and port")]
    NotHttp {
        /// What is wrong with it.
        detail: String,
    },
    /// It wants credentials, and was given none.
    #[error("wants a user name and a password (407); give them with `Proxy::with_credentials`")]
    CredentialsWanted,
    /// It does not take the credentials that it was given.
    #[error(
        "refused the user name and the password (407, it offers {offered}); check them, and that it takes Basic authentication"
    )]
    CredentialsRefused {
        /// The ways to authenticate that it names.
        offered: String,
    },
    /// It does not want to connect, or cannot.
    #[error(
        "refused to connect to the hub ({status}{}{reason}); check that its rules allow the hub's host and port, and that it can reach them",
        if reason.is_empty() { "" } else { " " }
    )]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its text.
        reason: String,
    },
}

/// Why the server's answer to the request for a WebSocket is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// It said no.
    #[error("the server answered {status}{}{reason}", if reason.is_empty() { "" } else { " " })]
    Refused {
        /// The HTTP status, other than 101.
        status: u16,
        /// Its text.
        reason: String,
    },
    /// The answer is not HTTP.
    #[error("the answer is not HTTP ({detail})")]
    NotHttp {
        /// What is wrong with it.
        detail: String,
    },
    /// A header that makes the answer one to this request is missing or wrong: `Upgrade`, `Connection` or
    /// `Sec-WebSocket-Accept`.
    #[error("{name} of the answer is missing or wrong")]
    Header {
        /// Which one.
        name: &'static str,
    },
    /// The server speaks another protocol inside the WebSocket.
    #[error("the client wanted the subprotocol {wanted}, the server chose {answered}")]
    Subprotocol {
        /// What was asked for.
        wanted: String,
        /// What it answered.
        answered: String,
    },
    /// The server uses an extension that was not asked for.
    #[error("the server uses the extension {name}, which was not asked for")]
    Extension {
        /// Which one.
        name: String,
    },
}
