//! Which topics and filters the hub knows (docs/hub-over-mqtt.md 2.1, 3, 4.1, 5), seen from one identity.

use crate::hub::registry::Identity;
use crate::hub::session::Feature;

/// Where a PUBLISH goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// Telemetry with this property bag.
    Telemetry { bag: &'a str },
    /// Something below `$iothub/`.
    IotHub(&'a str),
    /// Nothing that the hub knows, or another identity's.
    Unknown,
}

impl<'a> Target<'a> {
    pub(crate) fn of(topic: &'a str, identity: &Identity) -> Self {
        if let Some(rest) = topic.strip_prefix("$iothub/") {
            return Self::IotHub(rest);
        }
        match telemetry_bag(topic, identity) {
            Some(bag) => Self::Telemetry { bag },
            None => Self::Unknown,
        }
    }
}

/// The bag of a telemetry topic of this identity; with an empty bag the last slash may be missing (docs/hub-over-mqtt.md 2.1).
pub(crate) fn telemetry_bag<'a>(topic: &'a str, identity: &Identity) -> Option<&'a str> {
    let rest = own(topic, identity)?.strip_prefix("messages/events")?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// What a filter asks for; `None` if the hub does not know it for this identity.
pub(crate) fn feature_of(filter: &str, identity: &Identity) -> Option<Feature> {
    match filter {
        "$iothub/twin/res/#" => return Some(Feature::TwinResponses),
        "$iothub/twin/PATCH/properties/desired/#" => return Some(Feature::DesiredPatches),
        "$iothub/methods/POST/#" => return Some(Feature::Methods),
        _ => {}
    }
    // A module has inputs, under either filter (docs/hub-over-mqtt.md 6), and no cloud-to-device messages (3; E29).
    if identity.module.is_some() {
        return matches!(own(filter, identity), Some("#" | "inputs/#")).then_some(Feature::Inputs);
    }
    // The embedded C SDK subscribes with `+` (docs/hub-over-mqtt.md 3).
    let own = own(filter, identity).or_else(|| filter.strip_prefix("devices/+/"));
    (own == Some("messages/devicebound/#")).then_some(Feature::CloudToDevice)
}

/// The filter that the official SDKs ask for this feature with; `None` if the identity does not have it.
pub(crate) fn filter_of(feature: Feature, identity: &Identity) -> Option<String> {
    let filter = match feature {
        Feature::TwinResponses => "$iothub/twin/res/#".to_owned(),
        Feature::DesiredPatches => "$iothub/twin/PATCH/properties/desired/#".to_owned(),
        Feature::Methods => "$iothub/methods/POST/#".to_owned(),
        Feature::CloudToDevice => format!("devices/{}/messages/devicebound/#", identity.device),
        Feature::Inputs => format!("devices/{}/modules/{}/inputs/#", identity.device, identity.module.as_ref()?),
        Feature::Nothing => return None,
    };
    (feature_of(&filter, identity) == Some(feature)).then_some(filter)
}

/// What follows `devices/{device}/[modules/{module}/]`.
fn own<'a>(topic: &'a str, identity: &Identity) -> Option<&'a str> {
    let mut rest = topic.strip_prefix("devices/")?.strip_prefix(identity.device.as_str())?.strip_prefix('/')?;
    if let Some(module) = &identity.module {
        rest = rest.strip_prefix("modules/")?.strip_prefix(module.as_str())?.strip_prefix('/')?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_is_known_with_and_without_bag_and_slash() {
        let me = Identity::device("d");
        for (topic, bag) in [
            ("devices/d/messages/events/", Some("")),
            ("devices/d/messages/events", Some("")),
            ("devices/d/messages/events/a=b/", Some("a=b/")),
        ] {
            assert_eq!(telemetry_bag(topic, &me), bag, "{topic}");
        }
        for topic in [
            "devices/e/messages/events/",
            "devices/d/messages/eventsx",
            "devices/dd/messages/events/",
            "a",
            "devices/d/modules/m/messages/events/",
        ] {
            assert_eq!(Target::of(topic, &me), Target::Unknown, "{topic}");
        }
        let module = Identity::module("d", "m");
        assert_eq!(telemetry_bag("devices/d/modules/m/messages/events/", &module), Some(""));
        assert_eq!(telemetry_bag("devices/d/messages/events/", &module), None);
    }

    #[test]
    fn only_the_documented_filters_are_known() {
        let me = Identity::device("d");
        assert_eq!(feature_of("devices/d/messages/devicebound/#", &me), Some(Feature::CloudToDevice));
        assert_eq!(feature_of("devices/+/messages/devicebound/#", &me), Some(Feature::CloudToDevice));
        assert_eq!(feature_of("$iothub/twin/res/#", &me), Some(Feature::TwinResponses));
        for filter in [
            "#",
            "devices/#",
            "devices/e/messages/devicebound/#",
            "devices/d/messages/devicebound/",
            "devices/d/messages/events/#",
            "$iothub/#",
        ] {
            assert_eq!(feature_of(filter, &me), None, "{filter}");
        }
        let module = Identity::module("d", "m");
        for filter in ["devices/d/modules/m/#", "devices/d/modules/m/inputs/#"] {
            assert_eq!(feature_of(filter, &module), Some(Feature::Inputs), "{filter}");
            assert_eq!(feature_of(filter, &me), None, "{filter}");
        }
        assert_eq!(feature_of("$iothub/methods/POST/#", &module), Some(Feature::Methods));
        for filter in [
            "devices/d/messages/devicebound/#",
            "devices/+/messages/devicebound/#",
            "devices/d/modules/m/messages/devicebound/#",
            "devices/d/modules/m/inputs/i/#",
            "devices/d/modules/m/inputs",
            "devices/d/modules/n/#",
            "devices/+/modules/m/#",
            "devices/d/modules/#",
            "devices/d/#",
        ] {
            assert_eq!(feature_of(filter, &module), None, "{filter}");
        }
    }
}
