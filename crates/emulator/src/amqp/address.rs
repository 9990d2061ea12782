//! Addresses of links: absolute or relative, path in any case, ids percent-encoded (docs/hub-over-amqp.md 3; E17).

use fe2o3_amqp_types::definitions::Role;
use percent_encoding::percent_decode_str;

use crate::activity::AmqpLink;
use crate::hub::registry::Identity;

/// What a link is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: AmqpLink,
    /// Of a device's or module's link.
    pub(super) identity: Option<Identity>,
    /// Of the event stream.
    pub(super) partition: Option<Partition>,
}

/// A partition of the event stream as a consumer group reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partition {
    pub(super) group: String,
    pub(super) index: String,
    /// It was asked for at the hub, and not by the stream's own name.
    pub(super) at_the_hub: bool,
}

/// What the peer's link of this role at this address is for; `None`: the hub has no such node.
pub(super) fn node(address: &str, role: &Role, host_names: &[String], event_hub: &str) -> Option<Node> {
    let plain = |kind| Some(Node { kind, identity: None, partition: None });
    let path = path(address, host_names)?;
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let is_sender = *role == Role::Sender;
    let is = |text: &str, word: &str| text.eq_ignore_ascii_case(word);
    match segments[..] {
        [cbs] if is(cbs, "$cbs") => plain(if is_sender { AmqpLink::TokenRequests } else { AmqpLink::TokenReplies }),
        [name] if is(name, "$management") => {
            plain(if is_sender { AmqpLink::ManagementRequests } else { AmqpLink::ManagementReplies })
        }
        [messages, bound] if is(messages, "messages") && is(bound, "devicebound") && is_sender => {
            plain(AmqpLink::ServiceMessages)
        }
        [messages, bound, what] if is(messages, "messages") && is(bound, "servicebound") && !is_sender => {
            match what.to_ascii_lowercase().as_str() {
                "feedback" => plain(AmqpLink::Feedback),
                "filenotifications" => plain(AmqpLink::FileNotifications),
                _ => None,
            }
        }
        [devices, device, modules, module, ref rest @ ..] if is(devices, "devices") && is(modules, "modules") => {
            let identity = Identity { device: decode(device)?, module: Some(decode(module)?) };
            of_identity(rest, identity, is_sender)
        }
        [devices, device, ref rest @ ..] if is(devices, "devices") => {
            of_identity(rest, Identity::device(&decode(device)?), is_sender)
        }
        [ref stream @ .., groups, group, partitions, index]
            if is(groups, "consumergroups") && is(partitions, "partitions") && !is_sender =>
        {
            let at_the_hub = match stream {
                [name] if is(name, event_hub) => false,
                [messages, events] if is(messages, "messages") && is(events, "events") => true,
                _ => return None,
            };
            let partition = Partition { group: decode(group)?, index: decode(index)?, at_the_hub };
            Some(Node { kind: AmqpLink::Events, identity: None, partition: Some(partition) })
        }
        _ => None,
    }
}

fn of_identity(rest: &[&str], identity: Identity, is_sender: bool) -> Option<Node> {
    let rest = rest.join("/").to_ascii_lowercase();
    let kind = match (rest.as_str(), is_sender) {
        ("messages/events", true) => AmqpLink::Telemetry,
        ("messages/events", false) if identity.module.is_some() => AmqpLink::Inputs,
        ("messages/devicebound", false) => AmqpLink::CloudToDevice,
        ("twin", true) => AmqpLink::TwinRequests,
        ("twin", false) => AmqpLink::TwinReplies,
        ("methods/devicebound", false) => AmqpLink::MethodRequests,
        ("methods/devicebound", true) => AmqpLink::MethodResponses,
        _ => return None,
    };
    Some(Node { kind, identity: Some(identity), partition: None })
}

/// The path of an address whose host, if it has one, is this hub.
pub(super) fn path<'a>(address: &'a str, host_names: &[String]) -> Option<&'a str> {
    let Some((_scheme, rest)) = address.split_once("://") else { return Some(address) };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    is_host(authority, host_names).then_some(path)
}

/// Whether this is one of the hub's names, with or without a port.
pub(super) fn is_host(authority: &str, host_names: &[String]) -> bool {
    let without_port = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host_names.iter().any(|name| name.eq_ignore_ascii_case(authority) || name.eq_ignore_ascii_case(without_port))
}

fn decode(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?.into_owned();
    (!text.is_empty()).then_some(text)
}

/// The device or module that a cloud-to-device message is for, by its `to`.
pub(super) fn goal(to: &str, host_names: &[String]) -> Option<Identity> {
    node(to, &Role::Receiver, host_names, "").filter(|node| node.kind == AmqpLink::CloudToDevice)?.identity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str, role: Role) -> Option<(AmqpLink, Option<Identity>)> {
        let node = node(address, &role, &["hub.test".to_owned()], "events")?;
        Some((node.kind, node.identity))
    }

    #[test]
    fn addresses_are_absolute_or_relative_in_any_case_with_decoded_ids() {
        let device = || Some(Identity::device("d#1"));
        for address in [
            "amqps://hub.test/devices/d%231/messages/events",
            "AMQPS://Hub.Test:5671/Devices/d%231/Messages/Events",
            "/devices/d%231/messages/events",
            "devices/d#1/messages/events",
        ] {
            assert_eq!(kind(address, Role::Sender), Some((AmqpLink::Telemetry, device())), "{address}");
        }
        assert_eq!(kind("/devices/D/twin", Role::Receiver).unwrap().1, Some(Identity::device("D")));
        let module = Identity { device: "d".into(), module: Some("m".into()) };
        assert_eq!(
            kind("/devices/d/modules/m/messages/events", Role::Receiver),
            Some((AmqpLink::Inputs, Some(module)))
        );
    }

    #[test]
    fn the_direction_decides_what_a_link_is_for() {
        assert_eq!(kind("$cbs", Role::Sender).unwrap().0, AmqpLink::TokenRequests);
        assert_eq!(kind("$cbs", Role::Receiver).unwrap().0, AmqpLink::TokenReplies);
        assert_eq!(kind("/devices/d/methods/deviceBound", Role::Receiver).unwrap().0, AmqpLink::MethodRequests);
        assert_eq!(kind("/messages/serviceBound/FeedBack", Role::Receiver).unwrap().0, AmqpLink::Feedback);
        assert_eq!(kind("/messages/devicebound", Role::Sender).unwrap().0, AmqpLink::ServiceMessages);
    }

    #[test]
    fn partitions_are_read_by_the_hubs_name_or_the_streams() {
        for (address, at_the_hub) in [
            ("/messages/events/ConsumerGroups/$Default/Partitions/0", true),
            ("events/consumergroups/$Default/partitions/0", false),
        ] {
            let node = node(address, &Role::Receiver, &[], "events").unwrap();
            assert_eq!(node.partition, Some(Partition { group: "$Default".into(), index: "0".into(), at_the_hub }));
        }
    }

    #[test]
    fn anything_else_is_no_node() {
        for (address, role) in [
            ("", Role::Sender),
            ("/", Role::Receiver),
            ("amqps://other.test/devices/d/twin", Role::Sender),
            ("/devices/d", Role::Sender),
            ("/devices//messages/events", Role::Sender),
            ("/devices/d/messages/events", Role::Receiver),
            ("/devices/d/messages/devicebound", Role::Sender),
            ("/devices/d/modules/m", Role::Sender),
            ("/messages/devicebound", Role::Receiver),
            ("/messages/servicebound/feedback", Role::Sender),
            ("other/consumergroups/$Default/partitions/0", Role::Receiver),
        ] {
            assert_eq!(kind(address, role.clone()), None, "{address} {role:?}");
        }
    }

    #[test]
    fn a_messages_goal_is_read_from_its_to() {
        let hosts = ["hub.test".to_owned()];
        assert_eq!(goal("/devices/d/messages/deviceBound", &hosts), Some(Identity::device("d")));
        assert_eq!(goal("/devices/d/twin", &hosts), None);
        assert_eq!(goal("d", &hosts), None);
    }
}
