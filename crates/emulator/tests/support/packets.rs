//! Packets of MQTT 3.1.1 as bytes. Nothing is checked here: a test may write what no client should.

use std::time::Duration;

use iothub_emulator::{Device, Hub, Module};

use super::sas;

pub(crate) const PINGREQ: &[u8] = &[0xC0, 0x00];
pub(crate) const DISCONNECT: &[u8] = &[0xE0, 0x00];

/// The flag bits of a PUBLISH header.
pub(crate) const DUP: u8 = 0x08;
pub(crate) const RETAIN: u8 = 0x01;

/// A CONNECT, by default as an official SDK sends it for a device with a key: clean session off, a SAS token of one hour.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) keep_alive: u16,
    pub(crate) clean_session: bool,
    pub(crate) will: Option<Will>,
    pub(crate) protocol: (&'static str, u8),
}

#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) body: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

impl Will {
    pub(crate) fn new(topic: &str, body: &[u8]) -> Self {
        Self { topic: topic.to_owned(), body: body.to_vec(), qos: 1, retain: false }
    }
}

impl Connect {
    /// For a device with keys, signed with its primary key.
    pub(crate) fn of(hub: &Hub, device: &Device) -> Self {
        let resource = format!("{}/devices/{}", hub.host_name(), device.id);
        let token = sas::valid_for_an_hour(&resource, &primary_key(device), hub.now());
        Self { password: Some(token), ..Self::without_password(hub, &device.id) }
    }

    /// As `of`, with a token that ends after `lifetime` of the hub's time.
    pub(crate) fn expiring(hub: &Hub, device: &Device, lifetime: Duration) -> Self {
        let resource = format!("{}/devices/{}", hub.host_name(), device.id);
        let token = sas::Token::new(&resource, &primary_key(device), hub.now() + lifetime);
        Self::of(hub, device).password(&token.text())
    }

    /// For a module with keys, signed with its primary key.
    pub(crate) fn of_module(hub: &Hub, module: &Module) -> Self {
        let resource = format!("{}/devices/{}/modules/{}", hub.host_name(), module.device_id, module.module_id);
        let token = sas::valid_for_an_hour(&resource, &key_in(module.connection_string()), hub.now());
        let id = format!("{}/{}", module.device_id, module.module_id);
        Self { password: Some(token), ..Self::without_password(hub, &id) }
    }

    /// As a device with a certificate sends it, or with `device/module` a module: no password.
    pub(crate) fn without_password(hub: &Hub, device_id: &str) -> Self {
        Self {
            client_id: device_id.to_owned(),
            user_name: Some(format!("{}/{device_id}/?api-version=2021-04-12", hub.host_name())),
            password: None,
            keep_alive: 240,
            clean_session: false,
            will: None,
            protocol: ("MQTT", 4),
        }
    }

    pub(crate) fn clean(mut self) -> Self {
        self.clean_session = true;
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn client_id(mut self, id: &str) -> Self {
        self.client_id = id.to_owned();
        self
    }

    pub(crate) fn user_name(mut self, name: &str) -> Self {
        self.user_name = Some(name.to_owned());
        self
    }

    pub(crate) fn password(mut self, text: &str) -> Self {
        self.password = Some(text.to_owned());
        self
    }

    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut flags = 0;
        if self.user_name.is_some() {
            flags |= 0x80;
        }
        if self.password.is_some() {
            flags |= 0x40;
        }
        if let Some(will) = &self.will {
            flags |= 0x04 | (will.qos << 3) | if will.retain { 0x20 } else { 0 };
        }
        if self.clean_session {
            flags |= 0x02;
        }
        let mut rest = string(self.protocol.0.as_bytes());
        rest.push(self.protocol.1);
        rest.push(flags);
        rest.extend(self.keep_alive.to_be_bytes());
        rest.extend(string(self.client_id.as_bytes()));
        if let Some(will) = &self.will {
            rest.extend(string(will.topic.as_bytes()));
            rest.extend(string(&will.body));
        }
        if let Some(name) = &self.user_name {
            rest.extend(string(name.as_bytes()));
        }
        if let Some(password) = &self.password {
            rest.extend(string(password.as_bytes()));
        }
        frame(0x10, &rest)
    }
}

/// A PUBLISH with QoS and flag bits as given; the packet id is written when the QoS is not 0.
pub(crate) fn publish(topic: &str, qos: u8, flags: u8, id: u16, body: &[u8]) -> Vec<u8> {
    let mut rest = string(topic.as_bytes());
    if qos > 0 {
        rest.extend(id.to_be_bytes());
    }
    rest.extend(body);
    frame(0x30 | (qos << 1) | flags, &rest)
}

pub(crate) fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut rest = id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        rest.extend(string(filter.as_bytes()));
        rest.push(*qos);
    }
    frame(0x82, &rest)
}

pub(crate) fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut rest = id.to_be_bytes().to_vec();
    for filter in filters {
        rest.extend(string(filter.as_bytes()));
    }
    frame(0xA2, &rest)
}

pub(crate) fn puback(id: u16) -> Vec<u8> {
    frame(0x40, &id.to_be_bytes())
}

/// A packet with this first byte and this content after the remaining length.
pub(crate) fn frame(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(remaining_length(rest.len()));
    packet.extend(rest);
    packet
}

pub(crate) fn remaining_length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(length % 128).expect("a remainder of 128 fits a byte");
        length /= 128;
        if length == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("MQTT strings end at 65535 bytes");
    let mut encoded = length.to_be_bytes().to_vec();
    encoded.extend(bytes);
    encoded
}

/// The device's primary key, read from its connection string as a program would.
pub(crate) fn primary_key(device: &Device) -> String {
    key_in(device.connection_string())
}

/// The key in a device's or module's connection string.
pub(crate) fn key_in(connection_string: &str) -> String {
    connection_string
        .split(';')
        .find_map(|field| field.strip_prefix("SharedAccessKey="))
        .expect("the connection string holds a key")
        .to_owned()
}
