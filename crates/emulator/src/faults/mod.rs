//! Faults that a test injects: what can go wrong. The parts of a head execute them where the packet is made; `queue` keeps those that have not happened yet.

pub(crate) mod by_message;
mod queue;

use std::time::Duration;

use crate::activity::AmqpLink;

pub(crate) use queue::{FaultQueue, Taken};

/// Names an injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub(crate) u64);

/// Where in its life a connection is dropped: TCP is closed without a packet. What the hub answered before is still sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropPoint {
    /// TCP was accepted, before TLS. No device is known yet: a fault's device is not looked at.
    TcpAccepted,
    /// TLS is up, before any MQTT packet or HTTP request. No device is known yet: a fault's device is not looked at.
    TlsEstablished,
    /// On the HTTPS port a request for a WebSocket has come; it is not answered. A fault's device is not looked at.
    UpgradeReceived,
    /// On the HTTPS port a request for a WebSocket is answered with 101. A fault's device is not looked at.
    UpgradeSent,
    /// An acceptable CONNECT has come; no CONNACK.
    ConnectReceived,
    /// CONNACK 0 is sent.
    ConnackSent,
    /// A SUBSCRIBE has come; it is not acted on.
    SubscribeReceived,
    /// SUBACK is sent, and the session has the subscription.
    SubackSent,
    /// A PUBLISH has come, whichever its topic; it is not acted on.
    PublishReceived,
    /// Telemetry is stored; its PUBACK is withheld.
    PublishStored,
    /// A PUBACK is sent to the device.
    PubackSent,
    /// A cloud-to-device message is sent to the device, or an input message to the module.
    C2dSent,
    /// A PUBACK has come from the device; it is not acted on.
    PubackReceived,
    /// A twin request is executed; its reply and its PUBACK are withheld.
    TwinExecuted,
    /// A desired patch is sent to the device.
    DesiredSent,
    /// A method request is sent to the device.
    MethodSent,
    /// The first half of a hub-to-device packet is sent: the next one after CONNACK, whichever it is. Over AMQP: of the next transfer on a link of the
    /// device, or disposition of one.
    MidPacket,
    /// A put-token request has come over AMQP; it is not acted on.
    PutTokenReceived,
    /// An attach has come over AMQP; it is not acted on.
    AttachReceived,
    /// An attach is answered over AMQP.
    Attached,
}

/// What goes wrong with the reply to the next put-token request over AMQP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CbsFault {
    /// The token is taken and the request never answered.
    Withhold,
    /// The reply is sent so much later by the hub's clock.
    Delay(Duration),
    /// The reply has this status. From 300 on the token is not taken.
    Status(i32),
}

/// Another outcome of telemetry over AMQP than accepted. The message is stored all the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AmqpOutcome {
    /// Rejected with this condition.
    Rejected {
        /// Such as `amqp:internal-error`.
        condition: String,
    },
    /// Released.
    Released,
    /// Modified, with delivery-failed.
    Modified,
}

/// What goes wrong with the reply to one twin request: the next GET or reported patch, whichever comes. What a device asks for desired patches with
/// over AMQP (PUT, DELETE) is no such request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TwinReplyFault {
    /// It is sent so much later by the hub's clock; later packets do not wait for it.
    Delay(Duration),
    /// The request is executed and never answered.
    Drop,
    /// It is sent twice.
    Duplicate,
    /// It names a request id that nobody asked with.
    UnknownRid,
    /// The version in it is one less than it is: `$version` of the topic (reported patch), or of both sections (GET).
    WrongVersion,
    /// Its body is JSON that breaks off (a reported patch's reply has such a body instead of none).
    BadJson,
    /// The request is not executed and is answered with this status, 400 or above with the documented error body.
    Status(u16),
}

/// What goes wrong with one desired patch: the next that would be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TwinPatchFault {
    /// It is not sent, though the twin has changed.
    Drop,
    /// It is sent twice.
    Duplicate,
    /// It is sent right behind the patch that follows it.
    Reorder,
    /// Its body is JSON that breaks off.
    BadJson,
}

/// Something that goes wrong once. See [`Hub::inject`](crate::Hub::inject) and [`Hub::inject_for`](crate::Hub::inject_for).
///
/// [`KillTcp`](Self::KillTcp), [`OrderlyClose`](Self::OrderlyClose), [`Throttle`](Self::Throttle), [`Quota`](Self::Quota),
/// [`AuthError`](Self::AuthError), [`HalfOpen`](Self::HalfOpen) and [`SplitAt`](Self::SplitAt) concern a connection: they happen at once to the
/// device's, or, where there is none, to its next one right behind CONNACK, over AMQP behind its first attach. All others wait for the packet they
/// concern. Over AMQP, throttling, quota and wrong credentials do not drop the connection: telemetry is rejected for as long as they last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is dropped at this point.
    Drop {
        /// Of this device, or with `device/module` of this module; `None`: of the next one, whichever it is.
        device: Option<String>,
        /// Where.
        at: DropPoint,
    },
    /// The next request for a WebSocket, whichever device's, is refused with this HTTP status. Below 200 or above 599 it is 500.
    RefuseUpgrade {
        /// The HTTP status.
        status: u16,
    },
    /// What the hub sends on the next WebSocket, whichever device's, goes in frames of at most so many bytes: it is fragmented.
    FragmentMessages {
        /// The longest payload of a frame.
        size: usize,
    },
    /// The next acceptable CONNECT is never answered; the connection stays open and silent. No session is touched.
    WithholdConnack,
    /// The next CONNACK 0, and all that would follow it meanwhile, is sent so much later by the hub's clock. For the hub the device is connected.
    DelayConnack {
        /// How much later.
        by: Duration,
    },
    /// The next CONNACK 0 is sent right behind the next other packet. To a client that waits for it before it asks for anything, it may never come.
    ReorderConnack,
    /// The next acceptable CONNECT is refused with this return code, then the connection is closed. 1 to 5 exist; others go out as they are, 0 as 5.
    RefuseConnect {
        /// The CONNACK return code.
        code: u8,
    },
    /// The next `count` PUBACKs to the device, over AMQP dispositions of telemetry, are not sent. Their messages are stored. The disposition of a batch
    /// counts for each message.
    DropPubacks {
        /// How many.
        count: u32,
    },
    /// The next `count` PUBACKs to the device, over AMQP dispositions of telemetry, are sent so much later by the hub's clock. PUBACKs keep their
    /// order, so later ones wait behind; dispositions do not. The disposition of a batch counts for each message.
    DelayPubacks {
        /// How many.
        count: u32,
        /// How much later.
        by: Duration,
    },
    /// The next `window` PUBACKs to the device are collected and sent in reverse order once all of them are due. Over AMQP: the dispositions of its next
    /// `window` transfers of telemetry, each by itself.
    ReorderPubacks {
        /// How many.
        window: u32,
    },
    /// The next SUBSCRIBE gets no SUBACK, though its filters are granted.
    WithholdSuback,
    /// The next SUBACK is sent so much later by the hub's clock; other packets do not wait for it.
    DelaySuback {
        /// How much later.
        by: Duration,
    },
    /// The next SUBACK is sent right behind the next other packet.
    ReorderSuback,
    /// Every filter of the next SUBSCRIBE is refused with 0x80.
    RefuseSubscription,
    /// The next PINGREQ gets no PINGRESP.
    WithholdPingresp,
    /// The next PINGRESP is sent so much later by the hub's clock; other packets do not wait for it.
    DelayPingresp {
        /// How much later.
        by: Duration,
    },
    /// The next PINGRESP is sent right behind the next other packet.
    ReorderPingresp,
    /// The hub has forgotten the session: the next accepted CONNECT is answered with session present 0 and has no subscriptions.
    SessionLost,
    /// The next QoS 1 cloud-to-device or input message is sent twice, the second time with DUP. Over AMQP the next outcome of such a message is lost, whatever it
    /// is: the message waits again, and comes with a higher delivery count.
    DuplicateDelivery,
    /// The connection is reset: TCP RST, and what was not yet sent is lost.
    KillTcp,
    /// The connection is closed as the hub closes one in good order: TLS says goodbye, then TCP. There is no DISCONNECT from a hub.
    OrderlyClose,
    /// Too many requests. On MQTT the connection is dropped, and a reconnect succeeds at once (E42).
    Throttle {
        /// How long requests fail. MQTT does not look at it.
        lasts: Duration,
    },
    /// The daily quota is used up. On MQTT the connection is dropped, and a reconnect succeeds at once (E42).
    Quota {
        /// How long requests fail. MQTT does not look at it.
        lasts: Duration,
    },
    /// The credential is no longer accepted. On MQTT the connection is dropped, and a reconnect succeeds at once (E42).
    AuthError {
        /// How long requests fail. MQTT does not look at it.
        lasts: Duration,
    },
    /// The network between hub and device is gone: the hub neither reads nor writes, and TCP stays, until the hub itself ends the connection
    /// (keep-alive, token, a newer connection). What it sends meanwhile is lost.
    HalfOpen,
    /// The bytes to the device are counted from now on, or on its next connection from CONNACK 0 on; behind the `byte`th a new write begins, in a
    /// TLS record of its own, 10 ms of real time later.
    SplitAt {
        /// How many bytes come before the split.
        byte: usize,
    },
    /// Something is wrong with the reply to the next twin request.
    TwinReply(TwinReplyFault),
    /// Something is wrong with the next desired patch.
    TwinPatch(TwinPatchFault),
    /// The next method request is sent twice, with the same request id.
    MethodDuplicate,
    /// The next method request is sent so much later by the hub's clock, be it behind its response time-out.
    LateMethod {
        /// How much later.
        by: Duration,
    },
    /// Something is wrong with the reply to the next put-token request over AMQP.
    Cbs(CbsFault),
    /// The next unsettled telemetry over AMQP has another outcome than accepted.
    AmqpOutcome(AmqpOutcome),
    /// The next `count` transfers of telemetry over AMQP in which a message has this application property are rejected, and nothing of them is stored.
    AmqpRefuseTelemetry {
        /// The property's name.
        property: String,
        /// Such as `amqp:internal-error`.
        condition: String,
        /// How many.
        count: u32,
    },
    /// The answer to the next wish for desired patches over AMQP (PUT) is sent so much later by the hub's clock. The wish holds at once.
    AmqpDelayDesired {
        /// How much later.
        by: Duration,
    },
    /// The next attach of this kind over AMQP is never answered; the connection goes on.
    AmqpWithholdAttach {
        /// Which link.
        link: AmqpLink,
    },
    /// The next attach of this kind over AMQP is refused.
    AmqpRefuseAttach {
        /// Which link.
        link: AmqpLink,
        /// Such as `amqp:link:detach-forced`.
        condition: String,
    },
    /// The next link of this kind over AMQP, on which the device sends, is never given credit.
    AmqpWithholdCredit {
        /// Which link.
        link: AmqpLink,
    },
    /// The next attach of this kind over AMQP is answered with other settle modes than the hub's.
    AmqpWrongSettleMode {
        /// Which link.
        link: AmqpLink,
    },
    /// The device's link of this kind over AMQP is detached: at once, or as soon as there is one.
    AmqpDetach {
        /// Which link.
        link: AmqpLink,
        /// The error's condition; `None`: it is detached without an error.
        condition: Option<String>,
    },
    /// The session of the device's links over AMQP is ended, with all that is in it.
    AmqpEnd {
        /// The error's condition; `None`: it is ended without an error.
        condition: Option<String>,
    },
    /// The device's AMQP connection is closed with Close, and all that is on it.
    AmqpClose {
        /// The error's condition; `None`: it is closed without an error.
        condition: Option<String>,
    },
}

impl Fault {
    /// Whether it waits for no packet, but happens to a connection as soon as there is one.
    pub(crate) fn concerns_connection(&self) -> bool {
        matches!(
            self,
            Self::KillTcp
                | Self::OrderlyClose
                | Self::Throttle { .. }
                | Self::Quota { .. }
                | Self::AuthError { .. }
                | Self::HalfOpen
                | Self::SplitAt { .. }
        )
    }
}
