//! The settings of MQTT.

use std::time::Duration;

use crate::config::{
    BadFilter, Config, DeliveryQos, DuplicateSystemProperty, MethodRid, OutOfOrderPuback, UnknownTopic,
};

impl Config {
    /// The CONNACK code for every refused credential or identity, 1 to 5. Default 5: the C SDK's documentation states that the hub always
    /// answers 5 (docs/hub-over-mqtt.md 1.5; E4). Codes 1 to 4 are for tests of clients. A protocol level other than 4 always gets 1 (MQTT 3.1.1, 3.1.2.2).
    #[must_use]
    pub fn with_refusal_code(mut self, code: u8) -> Self {
        self.refusal_code = code;
        self
    }

    /// Whether a user name without `api-version` is refused. Default no: the cloud hub lets it connect (docs/hub-over-mqtt.md 1.2, inferred from the field).
    #[must_use]
    pub fn with_require_api_version(mut self, required: bool) -> Self {
        self.require_api_version = required;
        self
    }

    /// How long a connection may take from TCP to CONNECT. Default 60 s, IoT Edge's `ConnectArrivalTimeout`; the cloud's is not known (docs/hub-over-mqtt.md 1.5; E9).
    /// On the HTTPS port it is the time for a request, and from the request for a WebSocket to CONNECT.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The longest silence that any keep-alive buys; also what keep-alive 0 gets. Default 1767 s; IoT Edge has 600 s (docs/hub-over-mqtt.md 1.3; E8).
    #[must_use]
    pub fn with_max_keep_alive(mut self, limit: Duration) -> Self {
        self.max_keep_alive = limit;
        self
    }

    /// Default [`UnknownTopic::Close`] (docs/hub-over-mqtt.md 2.4, inferred; 12.1).
    #[must_use]
    pub fn with_unknown_topic(mut self, reaction: UnknownTopic) -> Self {
        self.unknown_topic = reaction;
        self
    }

    /// Default [`BadFilter::Close`] (E14: stated in Azure/azure-iot-middleware-freertos PR 89).
    #[must_use]
    pub fn with_bad_filter(mut self, reaction: BadFilter) -> Self {
        self.bad_filter = reaction;
        self
    }

    /// How many subscriptions a session may hold; one more is answered as a bad filter. Default 5 (docs/hub-over-mqtt.md 3, session rule 4; E16).
    #[must_use]
    pub fn with_subscription_limit(mut self, limit: usize) -> Self {
        self.subscription_limit = limit;
        self
    }

    /// Default [`DuplicateSystemProperty::Close`], as IoT Edge fails the message (docs/hub-over-mqtt.md 2.3; the cloud's reaction is not known).
    #[must_use]
    pub fn with_duplicate_system_property(mut self, reaction: DuplicateSystemProperty) -> Self {
        self.duplicate_system_property = reaction;
        self
    }

    /// Default [`OutOfOrderPuback::Ignore`], as the protocol gateway does (docs/hub-over-mqtt.md 3; E24).
    #[must_use]
    pub fn with_out_of_order_puback(mut self, reaction: OutOfOrderPuback) -> Self {
        self.out_of_order_puback = reaction;
        self
    }

    /// At which QoS twin replies and desired patches go out. Default [`DeliveryQos::AtMostOnce`]: a live log shows replies at QoS 0 (docs/hub-over-mqtt.md 12.2).
    #[must_use]
    pub fn with_twin_qos(mut self, qos: DeliveryQos) -> Self {
        self.twin_qos = qos;
        self
    }

    /// At which QoS method requests go out. Default [`DeliveryQos::AtMostOnce`], as documented; IoT Edge takes the subscription's (docs/hub-over-mqtt.md 5).
    #[must_use]
    pub fn with_method_qos(mut self, qos: DeliveryQos) -> Self {
        self.method_qos = qos;
        self
    }

    /// How method request ids are made. Default [`MethodRid::Counter`]: logs of the cloud show small numbers (docs/hub-over-mqtt.md 5; E38).
    #[must_use]
    pub fn with_method_rid(mut self, rid: MethodRid) -> Self {
        self.method_rid = rid;
        self
    }
}
