//! What a device or module is called on the wire: client identifier, user name, topics.

use iothub_core::{CreateError, Identity, Registration};

use crate::encoding::encoded;
use crate::outgoing::MAX_STRING;
use crate::topic::Topics;

/// The version of the hub's protocol that the client asks for; the newest that Microsoft's documentation names.
const API_VERSION: &str = "2021-04-12";

/// One device or module, as it introduces itself.
pub(crate) struct Names {
    /// `{device}` or `{device}/{module}`.
    pub(crate) client_id: String,
    pub(crate) user_name: String,
    pub(crate) topics: Topics,
}

impl Names {
    /// Derives the names, or says why MQTT cannot carry them.
    pub(crate) fn new(registration: &Registration, transport: &'static str) -> Result<Self, CreateError> {
        let refuse = |detail| Err(CreateError::Register { transport, detail });
        let Identity { hub, device_id, module_id, .. } = &registration.identity;
        let ids = [("device", Some(device_id)), ("module", module_id.as_ref())];
        for (kind, id) in ids.into_iter().filter_map(|(kind, id)| Some((kind, id?))) {
            if let Some(character) = id.chars().find(|c| matches!(c, '+' | '#' | '/') || c.is_control()) {
                return refuse(format!(
                    "the {kind} id {id:?} has {character:?}, which has a meaning of its own in MQTT topics"
                ));
            }
        }
        let client_id = match module_id {
            Some(module_id) => format!("{device_id}/{module_id}"),
            None => device_id.clone(),
        };
        let mut user_name = format!(
            "{hub}/{client_id}/?api-version={API_VERSION}&DeviceClientType={}",
            encoded(&registration.product_info)
        );
        if let Some(model) = &registration.model_id {
            user_name.push_str(&format!("&model-id={}", encoded(model)));
        }
        if user_name.len() > MAX_STRING {
            return refuse(format!(
                "hub name, ids, product information and model id make a user name of {} bytes, MQTT takes {MAX_STRING}",
                user_name.len()
            ));
        }
        let topics = Topics::new(device_id, module_id.as_deref());
        Ok(Self { client_id, user_name, topics })
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const HUB: &str = "contoso.azure-devices.net";

    fn registration(identity: Identity, product: &str) -> Registration {
        Registration::new(identity, product, Waker::noop().clone())
    }

    fn device(id: &str, product: &str) -> Registration {
        registration(Identity::device(HUB, id), product)
    }

    fn module(id: &str) -> Registration {
        registration(Identity::module(HUB, "dev-1", id), "p")
    }

    fn refused(registration: &Registration) -> String {
        match Names::new(registration, "mqtt") {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{registration:?} was taken"),
        }
    }

    #[test]
    fn the_user_name_names_hub_device_version_and_client() {
        let mut registration = device("dev-1", "iothubclient/0.1 (Linux; x86_64)");
        let names = Names::new(&registration, "mqtt").unwrap();
        assert_eq!(names.client_id, "dev-1");
        let expected = "contoso.azure-devices.net/dev-1/?api-version=2021-04-12\
                        &DeviceClientType=iothubclient%2F0.1%20%28Linux%3B%20x86_64%29";
        assert_eq!(names.user_name, expected);
        registration.model_id = Some("dtmi:com:example:T;1".into());
        let names = Names::new(&registration, "mqtt").unwrap();
        assert_eq!(names.user_name, format!("{expected}&model-id=dtmi%3Acom%3Aexample%3AT%3B1"));
    }

    #[test]
    fn a_modules_names_have_its_device_and_itself() {
        let names = Names::new(&module("mod-1"), "mqtt").unwrap();
        assert_eq!(names.client_id, "dev-1/mod-1");
        let expected = "contoso.azure-devices.net/dev-1/mod-1/?api-version=2021-04-12&DeviceClientType=p";
        assert_eq!(names.user_name, expected);
    }

    #[test]
    fn an_id_that_no_topic_can_hold_is_refused() {
        for id in ["a+b", "a#", "a/b", "a\0"] {
            assert!(refused(&device(id, "p")).contains("device id"), "{id:?}");
            assert!(refused(&module(id)).contains("module id"), "{id:?}");
        }
        let all = "a-:._%*?!(),=@;$'b";
        assert!(Names::new(&device(all, "p"), "mqtt").is_ok());
        assert!(Names::new(&module(all), "mqtt").is_ok());
    }

    #[test]
    fn a_user_name_that_does_not_fit_is_refused_with_its_length() {
        assert!(refused(&device("d", &"p".repeat(70_000))).contains("70"));
        assert!(refused(&module(&"m".repeat(70_000))).contains("70"));
    }
}
