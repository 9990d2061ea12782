//! What a device or module is called on the wire: link addresses, the audience of its tokens, what its links say of it.

use fe2o3_amqp_types::definitions::Fields;
use iothub_core::{Identity, Registration};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_amqp::Value;
use serde_amqp::primitives::Symbol;

/// The version of the hub's protocol that the client asks for; the newest that Microsoft's SDKs send.
const API_VERSION: &str = "2021-04-12";

/// What stands in a path as it is; ids are escaped as in a URL.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One device or module, as it introduces itself.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// `/devices/{device}` or `/devices/{device}/modules/{module}`.
    path: String,
    /// For link names: as in the path.
    short: String,
    hub: String,
    product_info: String,
    model_id: Option<String>,
    pub(crate) is_module: bool,
}

impl Names {
    pub(crate) fn new(registration: &Registration) -> Self {
        let Identity { hub, device_id, module_id, .. } = &registration.identity;
        let device = utf8_percent_encode(device_id, PATH).to_string();
        let module = module_id.as_ref().map(|module| utf8_percent_encode(module, PATH).to_string());
        let (path, short) = match module {
            Some(module) => (format!("/devices/{device}/modules/{module}"), format!("{device}-{module}")),
            None => (format!("/devices/{device}"), device),
        };
        Self {
            path,
            short,
            hub: hub.clone(),
            product_info: registration.product_info.clone(),
            model_id: registration.model_id.clone(),
            is_module: module_id.is_some(),
        }
    }

    /// What its tokens are for.
    pub(crate) fn audience(&self) -> String {
        format!("{}{}", self.hub, self.path)
    }

    /// The hub that is opened, which is not always the host that is connected to.
    pub(crate) fn hub(&self) -> &str {
        &self.hub
    }

    pub(crate) fn events(&self) -> String {
        self.address("/messages/events")
    }

    pub(crate) fn cloud_to_device(&self) -> String {
        self.address("/messages/devicebound")
    }

    pub(crate) fn twin(&self) -> String {
        self.address("/twin")
    }

    pub(crate) fn methods(&self) -> String {
        self.address("/methods/devicebound")
    }

    fn address(&self, node: &str) -> String {
        format!("amqps://{}{}{node}", self.hub, self.path)
    }

    /// A link name that no other link has.
    pub(crate) fn link(&self, kind: &str) -> String {
        format!("{kind}-{}-{}", self.short, guid())
    }

    /// What a link tells the hub.
    pub(crate) fn properties(&self) -> Fields {
        let mut fields = Fields::new();
        let mut put = |key: &str, value: &str| {
            fields.insert(Symbol::from(key), Value::String(value.to_owned()));
        };
        put("com.microsoft:client-version", &self.product_info);
        put("com.microsoft:api-version", API_VERSION);
        if let Some(model_id) = &self.model_id {
            put("com.microsoft:model-id", model_id);
        }
        fields
    }

    /// The same for one of a pair of links.
    pub(crate) fn paired_properties(&self, pair: &str) -> Fields {
        let mut fields = self.properties();
        fields.insert(Symbol::from("com.microsoft:channel-correlation-id"), Value::String(pair.to_owned()));
        fields
    }
}

/// A random name in the form of a GUID.
pub(crate) fn guid() -> String {
    let bits = fastrand::u128(..);
    let part = |shift: u32, digits: u32| (bits >> shift) & ((1 << (digits * 4)) - 1);
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12))
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn names(identity: Identity) -> Names {
        let mut registration = Registration::new(identity, "product", Waker::noop().clone());
        registration.model_id = Some("dtmi:com:example:T;1".to_owned());
        Names::new(&registration)
    }

    #[test]
    fn addresses_name_the_device_or_the_module_with_its_ids_escaped() {
        let device = names(Identity::device("hub.example", "d#1"));
        assert_eq!(device.audience(), "hub.example/devices/d%231");
        assert_eq!(device.events(), "amqps://hub.example/devices/d%231/messages/events");
        assert_eq!(device.cloud_to_device(), "amqps://hub.example/devices/d%231/messages/devicebound");
        let module = names(Identity::module("hub.example", "d", "m"));
        assert_eq!(module.audience(), "hub.example/devices/d/modules/m");
        assert_eq!(module.twin(), "amqps://hub.example/devices/d/modules/m/twin");
        assert_eq!(module.methods(), "amqps://hub.example/devices/d/modules/m/methods/devicebound");
    }

    #[test]
    fn links_tell_version_and_model_and_have_names_of_their_own() {
        let names = names(Identity::device("hub.example", "d"));
        let properties = names.paired_properties("twin:1");
        let text = |key: &str| match properties.get(&Symbol::from(key)) {
            Some(Value::String(text)) => text.clone(),
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(text("com.microsoft:client-version"), "product");
        assert_eq!(text("com.microsoft:model-id"), "dtmi:com:example:T;1");
        assert_eq!(text("com.microsoft:channel-correlation-id"), "twin:1");
        assert_ne!(names.link("events"), names.link("events"));
        assert_eq!(guid().len(), 36);
    }
}
