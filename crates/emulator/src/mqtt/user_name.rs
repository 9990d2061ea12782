//! The user name of CONNECT: `{hub}/{device}[/{module}]/?{query}`, or the older form without `?` (docs/hub-over-mqtt.md 1.2).

use percent_encoding::percent_decode_str;

use crate::hub::registry::Identity;

/// What a user name says. The hub name in front is not looked at (as IoT Edge does): SDKs behind a gateway differ in what they put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserName {
    pub(crate) identity: Identity,
    pub(crate) api_version: Option<String>,
    pub(crate) client_type: Option<String>,
    pub(crate) model_id: Option<String>,
}

impl UserName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // The query begins at the first `/?`; its values may hold a slash that nobody encoded (a raw model id).
        let (path, query) = match text.split_once("/?") {
            Some((path, query)) => (path, query),
            None => match text.rsplit_once('/') {
                Some((path, query)) if query.contains("api-version=") => (path, query),
                _ => return Err("it has neither '/?' nor a last segment with 'api-version='".to_owned()),
            },
        };
        let mut segments = path.split('/');
        let _hub = segments.next().filter(|name| !name.is_empty()).ok_or("the hub name is empty")?;
        let device = segments.next().filter(|id| !id.is_empty()).ok_or("the device id is missing")?;
        let module = match segments.next() {
            Some("") => return Err("the module id is empty".to_owned()),
            other => other.map(str::to_owned),
        };
        if segments.next().is_some() {
            return Err("it has more segments than hub, device and module".to_owned());
        }
        let mut name = Self {
            identity: Identity { device: device.to_owned(), module },
            api_version: None,
            client_type: None,
            model_id: None,
        };
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match key {
                "api-version" => &mut name.api_version,
                "DeviceClientType" => &mut name.client_type,
                "model-id" => &mut name.model_id,
                _ => continue,
            };
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            // The first one counts, as on IoT Edge; a blank one is as none.
            if slot.is_none() && !value.trim().is_empty() {
                *slot = Some(value);
            }
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_official_sdks_are_understood() {
        let c = UserName::parse("hub.localtest/dev1/?api-version=2020-09-30&DeviceClientType=iothubclient%2f1.15.0%20(native%3b%20Linux%3b%20x86_64)").unwrap();
        assert_eq!(c.identity, Identity::device("dev1"));
        assert_eq!(c.api_version.as_deref(), Some("2020-09-30"));
        assert_eq!(c.client_type.as_deref(), Some("iothubclient/1.15.0 (native; Linux; x86_64)"));
        let node = UserName::parse("h/d/m/?api-version=1&model-id=dtmi:a/b;1&DeviceClientType=x").unwrap();
        assert_eq!(node.identity, Identity::module("d", "m"));
        assert_eq!(node.model_id.as_deref(), Some("dtmi:a/b;1"));
        assert_eq!(node.client_type.as_deref(), Some("x"));
    }

    #[test]
    fn the_older_form_any_order_unknown_keys_and_doubles_are_understood() {
        let old = UserName::parse("h/d/api-version=2016-11-14&DeviceClientType=x").unwrap();
        assert_eq!(old.api_version.as_deref(), Some("2016-11-14"));
        let odd = UserName::parse("h/d/?what=1&DeviceClientType=x&api-version=a&api-version=b").unwrap();
        assert_eq!(odd.api_version.as_deref(), Some("a"));
        assert_eq!(UserName::parse("h/d/?").unwrap().api_version, None);
        assert_eq!(UserName::parse("h/d/?api-version=").unwrap().api_version, None);
    }

    #[test]
    fn names_of_another_form_are_refused() {
        for text in [
            "",
            "d",
            "h/d",
            "h/d/",
            "h//?api-version=1",
            "/d/?api-version=1",
            "h/?api-version=1",
            "h/d//?a=b",
            "h/d/m/x/?a=b",
        ] {
            assert!(UserName::parse(text).is_err(), "{text}");
        }
    }
}
