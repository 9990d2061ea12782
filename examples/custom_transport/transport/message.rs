//! Messages in the words of the client, and in those of the hub.

use iothub_client::{Message, SystemProperty, Unsupported};
use iothub_emulator::{LocalMessage, LocalTelemetry};

/// System properties, and what the hub calls them.
const NAMES: [(SystemProperty, &str); 15] = [
    (SystemProperty::MessageId, "message-id"),
    (SystemProperty::CorrelationId, "correlation-id"),
    (SystemProperty::ContentType, "content-type"),
    (SystemProperty::ContentEncoding, "content-encoding"),
    (SystemProperty::CreationTime, "iothub-creation-time-utc"),
    (SystemProperty::InterfaceId, "iothub-interface-id"),
    (SystemProperty::OutputName, "iothub-outputname"),
    (SystemProperty::ComponentName, "dt-subject"),
    (SystemProperty::DiagnosticId, "Diagnostic-Id"),
    (SystemProperty::UserId, "user-id"),
    (SystemProperty::To, "to"),
    (SystemProperty::ExpiryTime, "absolute-expiry-time"),
    (SystemProperty::Ack, "iothub-ack"),
    (SystemProperty::ConnectionDeviceId, "iothub-connection-device-id"),
    (SystemProperty::ConnectionModuleId, "iothub-connection-module-id"),
];

/// Who sent a message is what the hub itself says: a received one that is sent on is now from us.
fn is_senders_name(property: SystemProperty) -> bool {
    matches!(property, SystemProperty::ConnectionDeviceId | SystemProperty::ConnectionModuleId)
}

/// A message on its way up. A property that has no place there is an error: nothing is dropped silently.
pub(super) fn to_hub(message: &Message) -> Result<LocalTelemetry, Unsupported> {
    let mut telemetry = LocalTelemetry::new(message.payload().clone());
    for (property, value) in message.system_properties() {
        if is_senders_name(property) {
            continue;
        }
        telemetry = match NAMES.iter().find(|(known, _)| *known == property) {
            Some((_, name)) => telemetry.system(*name, value),
            // The hub keeps it in a list of which it is the only member.
            None if property == SystemProperty::DiagnosticTime => {
                telemetry.system("Correlation-Context", format!("creationtimeutc={value}"))
            }
            None => {
                let property = "a system property that is newer than this transport";
                return Err(Unsupported::Property { property, transport: super::NAME });
            }
        };
    }
    Ok(message.properties().fold(telemetry, |telemetry, (name, value)| telemetry.property(name, value)))
}

/// A message that has come. The `put_` functions do not check: the hub has its own rules for what it sends.
pub(super) fn from_hub(received: LocalMessage) -> Message {
    let mut message = Message::new(received.body);
    for (name, value) in received.properties {
        message.put_property(name, value.unwrap_or_default());
    }
    for (name, value) in received.system {
        match NAMES.iter().find(|(_, known)| *known == name) {
            Some((property, _)) => message.put_system(*property, value),
            None => message.put_property(name, value),
        }
    }
    message
}
