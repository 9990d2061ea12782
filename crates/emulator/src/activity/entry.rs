//! One entry of the record.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::activity::{
    AmqpLink, ConnectionId, DisconnectReason, PubackEffect, RefusalReason, TlsVersion, WebSocketUpgrade,
};
use crate::faults::Fault;

/// Something that happened on a connection. The times are the hub's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// A request on the HTTPS port was refused; the connection goes on.
    RequestRefused {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The method.
        method: String,
        /// The target as it was sent, with its query.
        path: String,
        /// The HTTP status.
        status: u16,
        /// Why.
        why: String,
    },
    /// CONNECT was accepted.
    Connected {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The flag of CONNECT.
        clean_session: bool,
        /// The flag of CONNACK.
        session_present: bool,
        /// Seconds, as in CONNECT; 0 on a local connection.
        keep_alive: u16,
        /// The user name as sent; empty on a local connection.
        user_name: String,
        /// `api-version`, decoded.
        api_version: Option<String>,
        /// `DeviceClientType`, decoded.
        client_type: Option<String>,
        /// `model-id`, decoded.
        model_id: Option<String>,
        /// The TLS version; `None` over an in-memory pipe.
        tls_version: Option<TlsVersion>,
        /// The other end of TCP: the device, or the proxy before it. `None` over an in-memory pipe.
        peer: Option<SocketAddr>,
        /// How it became a WebSocket; `None` on the MQTT port.
        web_socket: Option<WebSocketUpgrade>,
    },
    /// CONNECT was refused.
    ConnectRefused {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The CONNACK return code; 0 on a local connection, which has none.
        code: u8,
        /// What the hub knows and does not tell.
        why: RefusalReason,
    },
    /// One filter of a SUBSCRIBE was answered.
    Subscribed {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The filter.
        filter: String,
        /// The granted QoS, or 0x80.
        granted: u8,
    },
    /// One filter of an UNSUBSCRIBE was answered.
    Unsubscribed {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The filter.
        filter: String,
    },
    /// Telemetry was stored.
    Telemetry {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The record's sequence number.
        sequence_number: u64,
        /// The packet id at QoS 1.
        packet_id: Option<u16>,
        /// The DUP flag.
        dup: bool,
    },
    /// A message of a module of an Edge device went where its routes lead. One that went to the hub is on record as [`Telemetry`](Self::Telemetry) too.
    Routed {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The output that the message names.
        output: Option<String>,
        /// Where it went: `$upstream`, or `/modules/<module>/inputs/<input>`. Nowhere: no route takes it, and it is gone.
        to: Vec<String>,
        /// The packet id at QoS 1.
        packet_id: Option<u16>,
        /// The DUP flag.
        dup: bool,
    },
    /// A PUBLISH was acknowledged but not stored, because its topic is unknown and the hub is configured so.
    PublishDropped {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The topic.
        topic: String,
    },
    /// The last will was stored as telemetry, or went where the routes of an Edge device lead.
    WillPublished {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The record's sequence number; `None`: no route led to the hub.
        sequence_number: Option<u64>,
    },
    /// The last will was not stored; the text says why.
    WillDropped {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// What is wrong with it.
        why: String,
    },
    /// PUBACK was sent.
    PubackSent {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The packet id.
        packet_id: u16,
    },
    /// PUBACK was received.
    PubackReceived {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The packet id.
        packet_id: u16,
        /// What became of it.
        effect: PubackEffect,
    },
    /// A cloud-to-device message was sent.
    C2dSent {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The message id.
        message_id: String,
        /// The packet id at QoS 1.
        packet_id: Option<u16>,
        /// The DUP flag.
        dup: bool,
    },
    /// A cloud-to-device message was completed.
    C2dAcked {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The message id.
        message_id: String,
    },
    /// An input message was sent.
    InputSent {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The input.
        input: String,
        /// The message id.
        message_id: String,
        /// The packet id at QoS 1.
        packet_id: Option<u16>,
        /// The DUP flag.
        dup: bool,
    },
    /// An input message was completed.
    InputAcked {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The input.
        input: String,
        /// The message id.
        message_id: String,
    },
    /// The device gave a cloud-to-device or input message back, to be sent again. Over AMQP: released or modified. Not possible over MQTT.
    MessageAbandoned {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The message id.
        message_id: String,
    },
    /// The device rejected a cloud-to-device or input message. Not possible over MQTT.
    MessageRejected {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The message id.
        message_id: String,
    },
    /// PINGREQ was received; over AMQP an empty frame, which is on record for each identity on the connection.
    Ping {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
    },
    /// A twin was asked for.
    TwinGet {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The request id, as it was sent.
        rid: String,
        /// The status of the answer.
        status: u16,
        /// Whether the answer was sent, or waits to be; not without a subscription to it (E33).
        answered: bool,
    },
    /// Reported properties came.
    TwinReported {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The request id, as it was sent; a patch without one is applied and not answered (E36).
        rid: Option<String>,
        /// The status of the answer: 204 if the patch was accepted.
        status: u16,
        /// The version of the reported properties that it made.
        version: Option<u64>,
        /// Whether the answer was sent, or waits to be.
        answered: bool,
    },
    /// A desired patch was sent, or waits to be.
    DesiredSent {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The version of the desired properties.
        version: u64,
        /// The packet id at QoS 1.
        packet_id: Option<u16>,
    },
    /// A method request was sent, or waits to be.
    MethodSent {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The method.
        name: String,
        /// The request id.
        rid: String,
        /// The packet id at QoS 1.
        packet_id: Option<u16>,
    },
    /// A method response came.
    MethodAnswered {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The request id, as it was sent.
        rid: String,
        /// The device's status.
        status: i64,
        /// Nobody waits for it: the call has ended, or there was none.
        late: bool,
    },
    /// A method response came that is none.
    MethodMisanswered {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The request id, as it was sent, if there was one.
        rid: Option<String>,
        /// What is wrong with it.
        problem: String,
    },
    /// A client opened an AMQP connection. Whose it is shows in its links.
    AmqpOpened {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The client's container id.
        container_id: String,
        /// The host that the client wants.
        hostname: Option<String>,
        /// The SASL mechanism, if there was SASL.
        sasl: Option<String>,
        /// The client's idle time-out.
        idle_time_out: Option<Duration>,
        /// The TLS version; `None` over an in-memory pipe.
        tls_version: Option<TlsVersion>,
        /// The other end of TCP: the client, or the proxy before it. `None` over an in-memory pipe.
        peer: Option<SocketAddr>,
        /// How it became a WebSocket; `None` on the AMQP port.
        web_socket: Option<WebSocketUpgrade>,
    },
    /// SASL over AMQP was refused.
    SaslRefused {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// What the hub knows and does not tell.
        why: RefusalReason,
    },
    /// A token was put over AMQP, or refused.
    TokenPut {
        /// When.
        at: SystemTime,
        /// Which connection: the one that carries the identities.
        connection: ConnectionId,
        /// The name in the request: the audience.
        name: String,
        /// The status of the reply: 200 if it was taken.
        status: i32,
        /// What the hub knows and does not tell.
        why: Option<RefusalReason>,
    },
    /// A device or module has its first link on an AMQP connection: from here on it is connected.
    AmqpConnected {
        /// When.
        at: SystemTime,
        /// What the identity's part of the connection is named.
        connection: ConnectionId,
        /// The connection that carries it.
        carrier: ConnectionId,
        /// The idle time-out that the client named when it opened the connection; `None` if it named none.
        idle_time_out: Option<Duration>,
        /// The TLS version; `None` over an in-memory pipe.
        tls_version: Option<TlsVersion>,
        /// The other end of TCP: the client, or the proxy before it. `None` over an in-memory pipe.
        peer: Option<SocketAddr>,
        /// How it became a WebSocket; `None` on the AMQP port.
        web_socket: Option<WebSocketUpgrade>,
    },
    /// A link was attached.
    AmqpAttached {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// What the link is for.
        link: AmqpLink,
        /// Its name.
        name: String,
        /// `com.microsoft:client-version`.
        client_version: Option<String>,
        /// `com.microsoft:api-version`.
        api_version: Option<String>,
        /// `com.microsoft:model-id`.
        model_id: Option<String>,
    },
    /// An attach was refused.
    AmqpAttachRefused {
        /// When.
        at: SystemTime,
        /// Which connection: the one that carries the identities.
        connection: ConnectionId,
        /// The address that was asked for.
        address: String,
        /// The condition of the refusal.
        condition: String,
        /// What the hub knows and does not always tell.
        why: RefusalReason,
    },
    /// A link was detached.
    AmqpDetached {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// What the link was for.
        link: AmqpLink,
        /// Its name.
        name: String,
        /// The condition, if there was an error.
        condition: Option<String>,
        /// Whether the client said so first.
        by_client: bool,
    },
    /// A device asked for desired patches over AMQP, or no longer wants them.
    DesiredSubscribed {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// PUT, or DELETE.
        subscribed: bool,
        /// The status of the answer.
        status: u16,
    },
    /// A message asked for a fault by its properties (E42).
    FaultScheduled {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The fault.
        fault: Fault,
        /// When it will happen, by the hub's clock.
        due: SystemTime,
        /// `AzIoTHub_FaultOperationCloseReason`.
        reason: Option<String>,
    },
    /// A message asked for a fault by its properties that does not exist on MQTT, or asked badly. It is an ordinary message.
    FaultIgnored {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// `AzIoTHub_FaultOperationType`.
        operation: String,
        /// Why.
        problem: String,
    },
    /// An injected fault took effect.
    FaultFired {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// The fault.
        fault: Fault,
    },
    /// The connection ended.
    Disconnected {
        /// When.
        at: SystemTime,
        /// Which connection.
        connection: ConnectionId,
        /// Why.
        why: DisconnectReason,
    },
}
