//! The topics under `$iothub/`: twin and direct methods, which name no device because the connection does.
//!
//! Prefixes match in either case, as in the C SDK. This module knows nothing of packets.

/// The filter under which answers to twin requests come.
pub(crate) const TWIN_FILTER: &str = "$iothub/twin/res/#";

/// The filter under which changes of the desired properties come.
pub(crate) const DESIRED_FILTER: &str = "$iothub/twin/PATCH/properties/desired/#";

/// The filter under which calls of direct methods come.
pub(crate) const METHODS_FILTER: &str = "$iothub/methods/POST/#";

/// The longest request id of a call that is taken. The hub's are short counters, an Edge gateway's are UUIDs (36); one
/// that is kept for an answer shall not take the 64 KiB that a topic can have.
const MAX_RID: usize = 256;

/// What the hub publishes under `$iothub/`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HubTopic<'t> {
    /// The answer to a twin request.
    TwinAnswer {
        status: u16,
        rid: &'t str,
        /// The new version of the reported properties.
        version: Option<u64>,
    },
    /// A change of the desired properties. Its version stands in the body as well.
    DesiredProperties,
    /// A call of a direct method.
    Method {
        /// As it stands in the topic.
        name: &'t str,
        rid: &'t str,
    },
}

/// Reads a topic; `None` if it is no such topic, or malformed so that nothing can be made of it.
pub(crate) fn parse(topic: &str) -> Option<HubTopic<'_>> {
    if let Some(rest) = below(TWIN_FILTER, topic) {
        return twin_answer(rest);
    }
    if below(DESIRED_FILTER, topic).is_some() {
        return Some(HubTopic::DesiredProperties);
    }
    method(below(METHODS_FILTER, topic)?)
}

/// What of the topic stands in the place of the filter's `#`.
fn below<'t>(filter: &str, topic: &'t str) -> Option<&'t str> {
    let prefix = filter.strip_suffix('#')?;
    let head = topic.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &topic[prefix.len()..])
}

/// `{status}/?$rid={rid}[&$version={n}]`, the parameters in any order.
fn twin_answer(rest: &str) -> Option<HubTopic<'_>> {
    let (status, query) = rest.split_once("/?")?;
    let value = |key| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let (status, rid) = (status.parse().ok()?, value("$rid")?);
    Some(HubTopic::TwinAnswer { status, rid, version: value("$version").and_then(|text| text.parse().ok()) })
}

/// `{name}/?$rid={rid}`: nothing follows the request id, which is opaque (the SDKs in C and C# read it so too). One that
/// cannot stand in the topic of the answer makes the call malformed.
fn method(rest: &str) -> Option<HubTopic<'_>> {
    let (name, rid) = rest.split_once("/?$rid=")?;
    let can_be_answered = (1..=MAX_RID).contains(&rid.len()) && !rid.contains(['+', '#', '\0']);
    can_be_answered.then_some(HubTopic::Method { name, rid })
}

/// The topic of a request for the whole twin.
pub(crate) fn twin_get(rid: &str) -> String {
    format!("$iothub/twin/GET/?$rid={rid}")
}

/// The topic of a patch of the reported properties.
pub(crate) fn twin_report(rid: &str) -> String {
    format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}")
}

/// The topic of the answer to a call.
pub(crate) fn method_response(status: i32, rid: &str) -> String {
    format!("$iothub/methods/res/{status}/?$rid={rid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, rid: &str, version: Option<u64>) -> Option<HubTopic<'_>> {
        Some(HubTopic::TwinAnswer { status, rid, version })
    }

    #[test]
    fn answers_to_twin_requests_carry_status_request_id_and_sometimes_a_version() {
        assert_eq!(parse("$iothub/twin/res/200/?$rid=4"), answer(200, "4", None));
        assert_eq!(parse("$iothub/twin/res/204/?$rid=a-1&$version=7"), answer(204, "a-1", Some(7)));
        assert_eq!(parse("$iothub/twin/res/204/?$version=7&$rid=a"), answer(204, "a", Some(7)));
        assert_eq!(parse("$iothub/twin/res/204/?$rid=a&$version=x"), answer(204, "a", None));
        assert_eq!(parse("$IoTHub/Twin/Res/400/?$rid=&new=1"), answer(400, "", None));
    }

    #[test]
    fn a_malformed_answer_is_none() {
        for tail in
            ["", "200", "200/", "/?$rid=1", "ok/?$rid=1", "70000/?$rid=1", "-1/?$rid=1", "200/?rid=1", "200?$rid=1"]
        {
            assert_eq!(parse(&format!("$iothub/twin/res/{tail}")), None, "{tail}");
        }
    }

    #[test]
    fn desired_changes_are_known_by_their_prefix() {
        assert_eq!(parse("$iothub/twin/PATCH/properties/desired/?$version=3"), Some(HubTopic::DesiredProperties));
        assert_eq!(parse("$iothub/twin/PATCH/properties/desired/"), Some(HubTopic::DesiredProperties));
        assert_eq!(parse("$iothub/twin/PATCH/properties/desire"), None);
        assert_eq!(parse("$iothub/twin/PATCH/properties/reported/?$rid=1"), None);
    }

    #[test]
    fn the_name_of_a_method_and_its_request_id_stay_as_they_are() {
        let method = |name, rid| Some(HubTopic::Method { name, rid });
        assert_eq!(parse("$iothub/methods/POST/reboot/?$rid=1f"), method("reboot", "1f"));
        assert_eq!(parse("$iothub/methods/post/a%20b é/?$rid=X&y=1"), method("a%20b é", "X&y=1"));
        assert_eq!(parse("$iothub/methods/POST/comp*cmd/x/?$rid=1"), method("comp*cmd/x", "1"));
        assert_eq!(parse("$iothub/methods/POST//?$rid=1"), method("", "1"));
        let longest = format!("$iothub/methods/POST/m/?$rid={}", "r".repeat(MAX_RID));
        assert!(parse(&longest).is_some());
        assert_eq!(parse(&format!("{longest}r")), None);
    }

    #[test]
    fn a_call_that_cannot_be_answered_is_none() {
        for tail in ["", "m", "m/", "m/?$rid=", "m/?rid=1", "m?$rid=1", "/?$rid", "m/?$rid=1+", "m/?$rid=#"] {
            assert_eq!(parse(&format!("$iothub/methods/POST/{tail}")), None, "{tail}");
        }
    }

    #[test]
    fn other_topics_are_none() {
        for topic in
            ["", "$", "$iothub/", "$iothub/methods/POS\u{e9}/m", "devices/d/messages/devicebound/", "$iothub/twin"]
        {
            assert_eq!(parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn requests_go_to_the_documented_topics() {
        assert_eq!(twin_get("r"), "$iothub/twin/GET/?$rid=r");
        assert_eq!(twin_report("r"), "$iothub/twin/PATCH/properties/reported/?$rid=r");
        assert_eq!(method_response(-1, "r"), "$iothub/methods/res/-1/?$rid=r");
    }
}
