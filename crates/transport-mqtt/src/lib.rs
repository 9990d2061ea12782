//! The MQTT transport of iothub-client.
