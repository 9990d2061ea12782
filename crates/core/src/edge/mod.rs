//! Modules on IoT Edge: where they are, who signs for them, and the methods that they call through their gateway.

mod environment;
mod invocation;
#[cfg(test)]
pub(crate) mod scripted;
mod workload;

pub use environment::EnvironmentError;
pub(crate) use environment::{Environment, read};
pub(crate) use invocation::{Invocation, read_response};
pub use invocation::{InvocationError, InvokeError, MethodInvocation, MethodResponse};
pub(crate) use workload::WorkloadSigner;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An id or a name as one segment of a URL's path.
fn path_segment(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}
