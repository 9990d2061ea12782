//! Devices over MQTT at the emulator, and its service side.

pub(crate) const SEEDS: &[(&str, &str)] = &[
    (
        "connect-subscribe-publish",
        "c 6 s 15 p <k%201=v%261&%24.cid=cid1&%24.mid=mid1&%24.ct=application%2fjson> e 0 e 1",
    ),
    ("clean-session", "c 14 s 1 e 1 n c 14 v <x>"),
    ("session-kept", "c 6 s 15 e 1 v <x> n c 6 a 1"),
    ("c2d-acknowledged", "c 6 s 65 v <hello> v <again> a 1 a 2"),
    ("c2d-out-of-order", "c 6 s 65 v <a> v <b> a 2 a 1 a 7"),
    ("c2d-lock-ends", "c 6 s 65 v <a> t 16 a 1 a 1"),
    ("c2d-at-qos-0", "c 6 s 1 v <a> t 16"),
    ("twin-get-patch", "c 6 s 6 g <1> r <{\"a\":1}> r <{\"a\":null}> j <{\"k\":2}>"),
    (
        "twin-malformed",
        "c 6 s 6 g <> r <[]> r <{\"$version\":1}> r <{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}}}>",
    ),
    ("twin-qos-1", "c 6 s 70 g <abc> j <{\"k\":1}> j <{\"k\":null}> a 1"),
    ("method-answered", "c 6 s 8 i <{\"a\":1}> m <200/?$rid=1>"),
    ("method-answered-badly", "c 6 s 8 i <{}> m <ok/?$rid=1> m <200/?$rid=9> m <200>"),
    ("method-waits-for-the-device", "i <{}> t 10 c 6 s 8 m <200/?$rid=1> t 13"),
    ("taken-over", "c 6 s 15 n c 6 s 15 l e 0 v <x>"),
    ("token-expires", "c 0 t 14 t 20 t 20"),
    ("keep-alive-ends", "c 17 t 19"),
    ("never-connects", "t 15 t 15"),
    (
        "connect-of-an-sdk",
        "h <\\x10\\x1F\\x00\\x04MQTT\\x04\\xC0\\x00\\xF0\\x00\\x04dev1\\x00\\x04hub/\\x00\\x07SharedA>",
    ),
    (
        "connect-with-a-will",
        "h <\\x10\\x34\\x00\\x04MQTT\\x04\\xC6\\x00\\x3C\\x00\\x04dev1\\x00\\x0Edevices/dev1/m\\x00\\x04gone\\x00\\x04hub/\\x00\\x02pw>",
    ),
    ("connect-old-level", "h <\\x10\\x10\\x00\\x06MQIsdp\\x03\\x02\\x00\\x3C\\x00\\x02ab>"),
    ("connect-twice", "c 6 c 6"),
    ("publish-before-connect", "p <a=b>"),
    ("publish-qos-2", "c 6 h <\\x34\\x20\\x00\\x1Adevices/dev1/messages/events/\\x00\\x01xx>"),
    ("publish-retained-and-again", "c 6 h <\\x3B\\x22\\x00\\x1Ddevices/dev1/messages/events/\\x00\\x01x>"),
    ("publish-to-nowhere", "c 6 h <\\x30\\x04\\x00\\x01xy>"),
    (
        "publish-with-a-fault",
        "c 6 p <AzIoTHub_FaultOperationType=KillTcp&AzIoTHub_FaultOperationDelayInSecs=1> t 10 t 8",
    ),
    ("subscribe-to-anything", "c 6 h <\\x82\\x06\\x00\\x01\\x00\\x01#\\x00>"),
    ("subscribe-to-nothing", "c 6 h <\\x82\\x02\\x00\\x01>"),
    ("unsubscribe", "c 6 s 1 h <\\xA2\\x27\\x00\\x01\\x00\\x23devices/dev1/messages/devicebound/#> v <x>"),
    ("malformed", "c 6 h <\\x40\\x01\\x00> n h <\\x10\\xFF\\xFF\\xFF\\xFF> n h <\\xF0\\x00>"),
    (
        "split-in-pieces",
        "c 6 h <\\xC0> w h <\\x00> h <\\x82\\x28\\x00\\x01\\x00\\x23devices/dev1/mess> h <ages/devicebound/#\\x01> v <x>",
    ),
];
