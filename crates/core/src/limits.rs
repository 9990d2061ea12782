//! Every limit that the client checks, in one table, each with its source.
//!
//! "Quotas" is the page *Reference: IoT Hub quotas and throttling*, "construct" the page *Create and read IoT Hub
//! messages* of Microsoft's documentation; "C SDK" is `azure-iot-sdk-c` 1.15.

/// The largest device-to-cloud message in bytes, by the size rule of [`Message::size`](crate::Message::size):
/// 256 KiB (quotas).
pub const MAX_TELEMETRY_SIZE: usize = 262_144;

/// The longest device id, in characters (quotas; C SDK on MQTT).
pub const MAX_DEVICE_ID: usize = 128;

/// The longest message id or correlation id, in characters (construct).
pub const MAX_MESSAGE_ID: usize = 128;

/// The shortest life of a shared access signature that the client makes (C SDK, `MIN_SAS_EXPIRY_TIME`), in seconds.
pub const MIN_TOKEN_LIFETIME_SECS: u64 = 5;

/// The largest desired or reported section of a twin, and so the largest patch, in bytes: 32 KiB (quotas).
pub const MAX_TWIN_SECTION: usize = 32 * 1024;

/// The largest payload of a direct method, either way, in bytes: 128 KiB (*Understand and invoke direct methods*).
pub const MAX_METHOD_PAYLOAD: usize = 128 * 1024;

/// The longest name of a property or component, in characters (DTDL 3 and 4; 64 in DTDL 2).
pub const MAX_MODEL_NAME: usize = 512;
