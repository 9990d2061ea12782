//! What a device is called on the wire: client identifier, user name, topics.

use iothub_core::{CreateError, Registration};

use crate::encoding::encoded;
use crate::outgoing::MAX_STRING;
use crate::topic::Topics;

/// The version of the hub's protocol that the client asks for; the newest that Microsoft's documentation names.
const API_VERSION: &str = "2021-04-12";

/// One device, as it introduces itself.
pub(crate) struct Device {
    pub(crate) client_id: String,
    pub(crate) user_name: String,
    pub(crate) topics: Topics,
}

impl Device {
    /// Derives the names, or says why MQTT cannot carry them.
    pub(crate) fn new(registration: &Registration, transport: &'static str) -> Result<Self, CreateError> {
        let refuse = |detail| Err(CreateError::Register { transport, detail });
        let identity = &registration.identity;
        if let Some(module) = &identity.module_id {
            return refuse(format!("it is the module {module:?}, and this version takes devices only"));
        }
        let id = &identity.device_id;
        if let Some(character) = id.chars().find(|c| matches!(c, '+' | '#' | '/') || c.is_control()) {
            return refuse(format!(
                "the device id {id:?} has {character:?}, which has a meaning of its own in MQTT topics"
            ));
        }
        let mut user_name = format!(
            "{}/{id}/?api-version={API_VERSION}&DeviceClientType={}",
            identity.hub,
            encoded(&registration.product_info)
        );
        if let Some(model) = &registration.model_id {
            user_name.push_str(&format!("&model-id={}", encoded(model)));
        }
        if id.len() > MAX_STRING || user_name.len() > MAX_STRING {
            return refuse(format!(
                "hub name, device id, product information and model id make a user name of {} bytes, MQTT takes {MAX_STRING}",
                user_name.len()
            ));
        }
        Ok(Self { client_id: id.clone(), user_name, topics: Topics::new(id) })
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use iothub_core::Identity;

    use super::*;

    fn registration(id: &str, product: &str) -> Registration {
        let identity = Identity::device("contoso.azure-devices.net", id);
        Registration::new(identity, product, Waker::noop().clone())
    }

    fn refused(registration: &Registration) -> String {
        match Device::new(registration, "mqtt") {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{registration:?} was taken"),
        }
    }

    #[test]
    fn the_user_name_names_hub_device_version_and_client() {
        let mut registration = registration("dev-1", "iothubclient/0.1 (Linux; x86_64)");
        let device = Device::new(&registration, "mqtt").unwrap();
        assert_eq!(device.client_id, "dev-1");
        let expected = "contoso.azure-devices.net/dev-1/?api-version=2021-04-12\
                        &DeviceClientType=iothubclient%2F0.1%20%28Linux%3B%20x86_64%29";
        assert_eq!(device.user_name, expected);
        registration.model_id = Some("dtmi:com:example:T;1".into());
        let device = Device::new(&registration, "mqtt").unwrap();
        assert_eq!(device.user_name, format!("{expected}&model-id=dtmi%3Acom%3Aexample%3AT%3B1"));
    }

    #[test]
    fn a_module_is_refused_by_name() {
        let mut registration = registration("dev-1", "p");
        registration.identity.module_id = Some("mod-1".into());
        assert!(refused(&registration).contains("mod-1"));
    }

    #[test]
    fn an_id_that_no_topic_can_hold_is_refused() {
        for id in ["a+b", "a#", "a/b", "a\0"] {
            assert!(refused(&registration(id, "p")).contains("device id"), "{id:?}");
        }
        assert!(Device::new(&registration("a-:._%*?!(),=@;$'b", "p"), "mqtt").is_ok());
    }

    #[test]
    fn a_user_name_that_does_not_fit_is_refused_with_its_length() {
        assert!(refused(&registration("d", &"p".repeat(70_000))).contains("70"));
    }
}
