//! Publishes below `$iothub/`: which request a topic is (docs/hub-over-mqtt.md 4.1, 5). Any other topic there ends the connection (docs/hub-over-mqtt.md 2.4).

use bytes::Bytes;

use crate::activity::DisconnectReason;
use crate::clock::Now;
use crate::hub::HubState;
use crate::mqtt::Head;

/// What a device may publish below `$iothub/`. The request id is what was sent, not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request<'a> {
    TwinGet { rid: Option<&'a str> },
    TwinReport { rid: Option<&'a str> },
    MethodResponse { status: &'a str, rid: Option<&'a str> },
}

impl<'a> Request<'a> {
    /// `rest` is what follows `$iothub/`.
    fn parse(rest: &'a str) -> Option<Self> {
        if let Some(query) = rest.strip_prefix("twin/GET/") {
            return request_id(query).map(|rid| Self::TwinGet { rid });
        }
        if let Some(query) = rest.strip_prefix("twin/PATCH/properties/reported/") {
            return request_id(query).map(|rid| Self::TwinReport { rid });
        }
        let (status, query) = rest.strip_prefix("methods/res/")?.split_once('/')?;
        request_id(query).map(|rid| Self::MethodResponse { status, rid })
    }
}

/// The value of `$rid` in `?$rid=..&..`; an empty one is none. The outer `None`: what is there is no query.
fn request_id(query: &str) -> Option<Option<&str>> {
    if query.is_empty() {
        return Some(None);
    }
    let pairs = query.strip_prefix('?')?;
    Some(pairs.split('&').find_map(|pair| pair.strip_prefix("$rid=")).filter(|rid| !rid.is_empty()))
}

impl Head {
    /// `rest` is what follows `$iothub/`. True: the publish is to be acknowledged.
    pub(super) fn iothub(&mut self, hub: &mut HubState, now: Now, rest: &str, topic: &str, payload: &Bytes) -> bool {
        match Request::parse(rest) {
            Some(Request::TwinGet { rid: Some(rid) }) => self.get_twin(hub, now, rid),
            // Without an id it cannot be answered (E36).
            Some(Request::TwinGet { rid: None }) => {
                self.violate(hub, now, "a twin GET without $rid".to_owned());
                false
            }
            Some(Request::TwinReport { rid }) => self.report(hub, now, rid, payload),
            Some(Request::MethodResponse { status, rid }) => {
                self.method_response(hub, now, status, rid, payload);
                true
            }
            None => {
                self.close(hub, now, DisconnectReason::UnknownTopic(topic.to_owned()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_as_it_is() {
        for rid in ["1", "8DD0a-4", "a%20b", "a/b", "=", "?$rid", "ä"] {
            let topic = format!("twin/GET/?$rid={rid}");
            assert_eq!(Request::parse(&topic), Some(Request::TwinGet { rid: Some(rid) }));
        }
        let topic = "twin/PATCH/properties/reported/?a=b&$rid=5&$version=7";
        assert_eq!(Request::parse(topic), Some(Request::TwinReport { rid: Some("5") }));
    }

    #[test]
    fn a_missing_request_id_is_told_from_an_unknown_topic() {
        for query in ["", "?", "?rid=1", "?$rid=", "?$RID=1", "?$rid"] {
            assert_eq!(Request::parse(&format!("twin/GET/{query}")), Some(Request::TwinGet { rid: None }), "{query}");
        }
        for topic in [
            "",
            "twin",
            "twin/GET",
            "twin/GET?$rid=1",
            "twin/GET/x?$rid=1",
            "twin/get/?$rid=1",
            "twin/POST/?$rid=1",
            "twin/PATCH/properties/desired/?$rid=1",
            "twin/res/200/?$rid=1",
            "methods/POST/m/?$rid=1",
            "methods/res/200",
            "methods/res/200/x/?$rid=1",
        ] {
            assert_eq!(Request::parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn a_method_response_has_a_status_of_any_text() {
        let answer = Request::MethodResponse { status: "-1", rid: Some("a") };
        assert_eq!(Request::parse("methods/res/-1/?$rid=a"), Some(answer));
        assert_eq!(Request::parse("methods/res//"), Some(Request::MethodResponse { status: "", rid: None }));
    }
}
