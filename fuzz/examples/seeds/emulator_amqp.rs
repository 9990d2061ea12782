//! Devices over AMQP at the emulator, and its service side.
//!
//! Numbers for `a`: the address by its place in the list, 16 for a receiver, 32 and 128 for settle modes; then the handle, and 64
//! for each channel.

pub(crate) const SEEDS: &[(&str, &str)] = &[
    ("open-and-close", "o 0 b 0 q 0"),
    ("idle-time-out-too-short", "o 2"),
    ("silence", "o 1 b 0 t 17 t 17"),
    ("sasl-plain", "y <\\x00d@sas.hub\\x00x> o 0"),
    ("sasl-anything", "h <AMQP\\x03\\x01\\x00\\x00> h <\\x00\\x00\\x00\\x0C\\x02\\x01\\x00\\x00\\x00\\x53\\x41\\x45>"),
    ("other-header", "h <GET / HTTP/1.1>"),
    ("header-in-pieces", "h <AMQP> h <\\x00\\x01> h <\\x00\\x00> h <\\x00\\x00\\x00\\x08\\x02\\x00\\x00\\x00>"),
    ("telemetry", "o 0 b 0 k a 1 0 m 0 0 <hello> s 0 0 <\\x00\\x53\\x75\\xA0\\x01x> s 0 2 <>"),
    (
        "telemetry-batch",
        "o 0 b 0 k a 1 0 s 0 1 <\\x00\\x53\\x73\\xC0\\x07\\x01\\xA1\\x04mid1\\x00\\x53\\x75\\xA0\\x01x>",
    ),
    ("telemetry-in-parts", "o 0 b 0 k a 1 0 s 0 4 <\\x00\\x53\\x75> s 0 0 <\\xA0\\x01x>"),
    ("telemetry-without-a-token", "o 0 b 0 a 1 0 m 0 0 <x>"),
    ("c2d-accepted-rejected-released", "o 0 b 0 k a 18 1 f 1 9 v <a> v <b> v <c> d 0 1 d 1 2 d 2 3 d 3 12"),
    ("c2d-before-credit", "o 0 b 0 k a 18 1 v <a> v <b> f 1 1 f 1 2"),
    ("c2d-lock-ends", "o 0 b 0 k a 18 1 f 1 9 v <a> t 16 d 0 1 d 1 1"),
    ("c2d-drained", "o 0 b 0 k a 18 1 v <a> f 1 7 v <b>"),
    ("twin", "o 0 b 0 k a 3 2 a 19 3 f 3 9 m 2 2 < > m 2 1 <{\"a\":1}> m 2 3 < > j <{\"k\":2}> m 2 4 < > m 2 0 <x>"),
    ("methods", "o 0 b 0 k a 4 4 a 20 5 f 5 9 i <1> m 4 6 <{}>"),
    ("service-and-feedback", "o 0 b 0 k a 5 6 a 22 7 f 7 9 m 6 5 <x> t 14"),
    ("events", "o 0 b 0 k a 1 0 m 0 0 <x> a 23 8 f 8 9 m 0 0 <y>"),
    ("management", "o 0 b 0 k a 8 9 a 24 10 f 10 9 m 9 0 <>"),
    ("two-sessions", "o 0 b 0 b 1 k a 1 0 a 1 64 m 64 0 <x> e 0 m 64 0 <y>"),
    ("faults-by-message", "o 0 b 0 k a 1 0 m 0 7 <KillAmqpSession> t 10 b 1 a 1 64 m 64 7 <KillTcp> t 10"),
    ("refused-and-detached", "o 0 b 0 a 9 1 x 1 a 25 2 x 2 x 3"),
    ("two-connections", "o 0 b 0 k a 1 0 n o 0 b 0 k a 1 0 m 0 0 <x> l m 0 0 <y>"),
    ("service-disconnects", "o 0 b 0 k a 1 0 w x 0 a 1 0 q 1"),
    (
        "nested-without-end",
        "o 0 b 0 u 0 <\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00>",
    ),
    ("array-of-nothing", "o 0 b 0 u 0 <\\x00\\x53\\x12\\xF0\\x00\\x00\\x00\\x05\\xFF\\xFF\\xFF\\xFF\\x40>"),
    ("frame-too-large", "o 0 b 0 h <\\x7F\\xFF\\xFF\\xFF\\x02\\x00\\x00\\x00>"),
];
