//! Writes the seeds of the corpora: sessions as the specification and the official SDKs have them, and the mistakes that a
//! peer can make, each in a file whose name says what it is. What a fuzzer found lies beside them under other names.
//!
//! `cargo run --example seeds`, in the folder `fuzz`.

use std::fs;
use std::path::Path;

/// Name and script. A letter is a step, a number one byte, `<text>` a length and the text, in which `\xNN` is a byte.
const MQTT_SESSION: &[(&str, &str)] = &[
    ("connect-and-subscribe", "c w a w a w"),
    ("session-present", "c w n 7 w a w"),
    ("connect-refused", "c w n 5 w c w n 3 w c w n 6 w"),
    ("telemetry-acknowledged", "c w a w a w s 5 s 6 s 7 w a w"),
    ("telemetry-window-full", "c w a w a w s 1 s 1 s 1 s 1 s 1 s 1 s 1 s 1 w n 0 w s 1 w a w"),
    ("telemetry-resent-in-the-session", "c w a w a w s 5 s 6 w q w c w n 7 w r 0 r 0 w a w"),
    ("telemetry-resent-without-the-session", "c w a w a w s 5 s 6 w z w c w a w r 0 r 0 w a w"),
    ("telemetry-large-into-a-full-socket", "c w a w a w k 9 s 255 s 255 s 255 w w k 0 w a w"),
    ("telemetry-cut-in-the-middle", "c w a w a w y 40 s 200 w c w n 7 w r 0 w a w"),
    ("puback-twice-and-of-nothing", "c w a w a w s 5 w n 1 w h <\\x40\\x02\\x12\\x34> w"),
    ("puback-never-comes", "c w a w a w s 5 w t 16 w"),
    ("forgotten-before-its-puback", "c w a w a w s 5 w f 0 a w s 5 w a w"),
    (
        "c2d-accepted-and-abandoned",
        "c w a w a w v <%24.mid=m1&%24.to=%2Fdevices%2Fdev1&iothub-ack=full&prop1=v%201> v <a> v <b> w x 8 x 1 x 0 w",
    ),
    ("c2d-before-any-subscription", "c w n 7 v <a> w x 0 w a w"),
    ("c2d-again-undecided", "c w a w a w v <a=b> w o w x 0 w o w x 0 w"),
    ("c2d-at-qos-0", "c w a w a w b <a=b> w x 0 w"),
    ("c2d-held-too-long", "c w a w a w v <a> v <b> w x 4 w t 16 w"),
    ("c2d-answered-after-the-drop", "c w a w a w v <a> w q w c w a w x 0 w"),
    ("c2d-puback-in-a-full-socket", "c w a w a w k 1 v <a> w x 0 w q w k 0 w"),
    ("method-answered", "c w a w a w i <1> i <2> w m 1 m 0 w"),
    ("method-called-again", "c w a w a w i <1> o w m 0 w o w m 0 w"),
    ("method-answered-late", "c w a w a w i <1> w e w c w a w m 0 w"),
    (
        "method-with-a-long-request-id",
        "c w a w a w i <aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa> w m 0 w",
    ),
    ("twin-get-and-report", "c w a w a w g p 9 w a w"),
    ("twin-answers-with-failure", "c w a w a w g p 9 w n 10 w n 4 w"),
    ("twin-answer-twice-and-at-qos-1", "c w a w a w g w n 2 o w"),
    ("twin-lost-and-asked-again", "c w a w a w g p 9 w q w c w a w a w r 0 r 0 w a w"),
    ("twin-before-the-subscription", "c w a w g w a w g w a w"),
    ("desired-at-qos-1", "c w a w a w j <{\"a\":1,\"$version\":2}> w"),
    ("subscription-refused", "c w a w n 1 w"),
    ("subscription-answered-wrongly", "c w a w n 2 w c w a w n 3 w"),
    ("subscriptions-change", "c w u 1 a w a w u 14 w a w a w u 0 w a w"),
    ("keep-alive", "c w a w a w t 17 t 17 w a w t 17 t 17 w t 17 w"),
    ("disconnect-in-order", "c w a w a w s 5 d w"),
    ("disconnect-into-a-full-socket", "c w a w a w k 1 s 9 w d w t 10 w t 10 w"),
    ("disconnect-while-connecting", "c d w c w d w c w a d w"),
    ("byte-by-byte", "c w l 1 w a w a w v <p=1> j <{}> i <1> w x 0 m 0 w"),
    ("packets-of-a-client", "c w a w h <\\x10\\x00> w c w a w h <\\x82\\x05\\x00\\x01\\x00\\x00\\x00> w"),
    ("endless-remaining-length", "c w a w h <\\x30\\xFF\\xFF\\xFF\\xFF\\x01> w"),
    ("packet-beyond-the-limit", "c w a w h <\\x30\\x80\\x80\\x80\\x01> w"),
    ("qos-2", "c w a w h <\\x34\\x07\\x00\\x01a\\x00\\x01xx> w"),
    ("connack-twice", "c w h <\\x20\\x02\\x00\\x00\\x20\\x02\\x00\\x00> w"),
    ("connack-in-pieces", "c w h <\\x20> w h <\\x02\\x01> w h <\\x00> w a w"),
    ("anything-before-connack", "c w h <\\xD0\\x00> w"),
    ("http-instead", "c w h <HTTP/1.1 400 Bad Request\\x0D\\x0A\\x0D\\x0A> w"),
];

const TOPICS: &[(&str, &str)] = &[
    ("c2d-of-the-hub", "c %24.mid=m1&%24.to=%2Fdevices%2Fx%2Fmessages%2FdeviceBound&iothub-ack=full&prop1=v%201"),
    (
        "c2d-every-system-property",
        "c %24.mid=1&%24.cid=2&%24.uid=3&%24.to=4&%24.exp=5&%24.ctime=6&%24.ct=7&%24.ce=8&iothub-ack=none",
    ),
    ("c2d-no-properties", "c "),
    ("c2d-without-values", "c null&empty=&full=a%3Db=c&&+=%20"),
    ("c2d-malformed-escapes", "c %24.new=1&p%=%zz&q=%FF&%C3%A9=%c3%a9&%C3=%A9"),
    ("c2d-repeated-keys", "c a=1&b=2&a=3&%61=4&%24.mid=1&$.mid=2"),
    ("c2d-not-utf-8", "c a=\\xFF\\xC3"),
    ("twin-get-answered", "t 200/?$rid=RID"),
    ("twin-report-answered", "t 204/?$rid=RID&$version=7"),
    ("twin-version-first", "t 204/?$version=7&$rid=RID"),
    ("twin-refused", "t 400/?$rid=RID"),
    ("twin-throttled", "t 429/?$rid=RID&retry=1"),
    ("twin-of-another-request", "t 200/?$rid=RID1"),
    ("twin-without-request-id", "t 200/"),
    ("twin-status-out-of-range", "t 70000/?$rid=RID"),
    ("twin-two-request-ids", "t 200/?$rid=1&$rid=RID"),
    ("method-of-the-hub", "m stubMethod/?$rid=1"),
    ("method-of-an-edge-gateway", "m reboot/?$rid=9c0ae0ef-5f94-44d4-8bd2-a9a4ed5b1b4e"),
    ("method-of-a-component", "m thermostat1*getMaxMinReport/?$rid=f"),
    ("method-encoded-name", "m a%20b/?$rid=1&x=2"),
    ("method-name-with-a-slash", "m a/b/?$rid=1/?$rid=2"),
    ("method-without-name", "m /?$rid=1"),
    ("method-without-request-id", "m a/?$rid="),
    ("method-wildcard-in-request-id", "m a/?$rid=1+#"),
    ("desired", "d ?$version=3"),
    ("desired-bare", "d "),
    ("foreign-topics", "w $iothub/twin/res"),
    ("foreign-device", "w devices/dev2/messages/devicebound/a=b"),
    ("foreign-case", "w DEVICES/DEV1/messages/deviceBound/a=b"),
    ("c2d-slash-at-the-end", "c a=b/"),
    ("c2d-trace", "c %24.diagid=a1&%24.diagctx=creationtimeutc%3D1506054516%2Ck%3Dv&%24.diagctx=k%3Dv"),
    ("input-of-edge", "i input1/%24.cdid=dev1&%24.cmid=mod2&%24.mid=m1&prop1=v%201"),
    ("input-bare", "i input1"),
    ("input-slash-at-the-end", "i input1/a=b&c=%2F/"),
    ("input-encoded-name", "i In%201/"),
    ("input-without-name", "i /a=b"),
    ("input-not-utf-8", "i in\\xFF/"),
    ("foreign-edge-input", "w devices/dev1/modules/m/inputs/in1/a=b"),
    ("foreign-empty", "w "),
    ("sent-with-all", "e mid1\\x00cid1\\x00application/json\\x00utf-8\\x00k 1\\x00v&1\\x00=\\x00\\x00%\\x00%41"),
    ("sent-with-punctuation", "e \\x00\\x00\\x00\\x00a/b?c#d+e$f\\x00~!@^*()_-{}[]|:;'<>,.\\x00/\\x00/"),
    ("sent-without-properties", "e "),
    ("served-with-all", "s m1\\x00c1\\x00text/plain\\x00utf-16\\x00u 1\\x00prop1\\x00v 1\\x00none"),
    (
        "served-with-any-text",
        "s \\x00\\x00\\x00\\x00\\x00gr\\xC3\\xB6\\xC3\\x9Fe\\x00\\xE2\\x82\\xAC=&%\\x00+\\x00/\\x00/\\x00#",
    ),
];

const TWIN: &[(&str, &str)] = &[
    ("followed-from-the-start", "s w o w v 6 w v 7 w"),
    ("change-while-the-whole-is-fetched", "s w v 6 v 7 o w"),
    ("stale-change", "s w o w v 5 v 4 w"),
    ("gap-in-the-versions", "s w o w v 9 w o w"),
    (
        "too-many-changes-while-fetching",
        "s w v 1 v 2 v 3 v 4 v 5 v 6 v 7 v 8 v 9 v 10 v 11 v 12 v 13 v 14 v 15 v 16 v 17 w o w o w",
    ),
    ("reconnect-fetches-anew", "s w o w v 6 w q w f <{\"desired\":{\"$version\":9},\"reported\":{\"$version\":1}}> w"),
    ("asked-and-reported", "g r <{\"a\":1}> w o w e 68 <> w"),
    ("reports-in-order-over-a-loss", "r <{\"a\":1}> r <{\"b\":null}> w q w e 68 <> e 68 <> w"),
    (
        "report-refused",
        "r <{\"a\":[1]}> w e 133 <{\"errorCode\":400004,\"trackingId\":\"t\",\"message\":\"not allowed\",\"timestampUtc\":\"x\"}> w",
    ),
    ("report-is-no-object", "r <[1]> r <> r <null> r <{> r <{\"a\":1}x> r <\\xFF> w"),
    ("throttled", "g s w e 143 <> e 143 <{\"message\":7}> w t 10 w"),
    ("whole-twin-malformed", "s w f <> w t 10 w f <null> w t 11 w f <[]> w t 12 w f <{\"desired\":{}}> w"),
    ("version-malformed", "s g w f <{\"desired\":{\"$version\":-1}}> f <{\"desired\":{\"$version\":1.5}}> w"),
    (
        "version-at-its-end",
        "s w f <{\"desired\":{\"$version\":18446744073709551615}}> w v 1 w d <{\"$version\":18446744073709551615}> w",
    ),
    ("version-twice", "s w f <{\"desired\":{\"$version\":1,\"$version\":2}}> w"),
    (
        "nested-deeply",
        "s w f <[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[> w",
    ),
    ("text-is-not-utf-8", "s w f <{\"desired\":{\"$version\":3,\"a\":\"\\xFF\"}}> w"),
    ("change-is-not-utf-8", "s w o w d <{\"a\":\"\\xC3\",\"$version\":6}> w"),
    ("report-is-not-utf-8", "r <{\"a\":\"\\xFF\"}> w"),
    ("lone-surrogate-and-large-number", "s w f <{\"desired\":{\"$version\":3,\"a\":\"\\ud800\",\"b\":1e999}}> w"),
    (
        "escaped-names",
        "s w f <{\"desired\":{\"\\u0024version\":3,\"\\u00e4\":\"\\u20ac\"}}> w d <{\"\\u0024version\":6}> w",
    ),
    ("change-malformed", "s w o w d <> d <null> d <{\"a\":1}> w d <{\"$version\":\"6\"}> w"),
    ("no-answer-in-time", "s g w t 15 t 15 w t 15 w"),
    ("followed-no-more", "s w o w u w v 6 w s w"),
    (
        "model-components",
        "s w f <{\"desired\":{\"a\":1.50,\"t1\":{\"__t\":\"c\",\"target\":21,\"$version\":1},\"$version\":5},\"reported\":{\"t1\":{\"max\":28,\"__t\":\"c\"},\"serial\":\"x\",\"$version\":2}}> w d <{\"t1\":{\"__t\":\"c\",\"target\":null},\"$version\":6}> w",
    ),
    (
        "model-mark-escaped",
        "s w o w d <{\"t1\":{\"\\u005f_t\":\"\\u0063\",\"a\":{\"__t\":\"c\"}},\"t2\":{\"__t\":\"C\"},\"t3\":[\"__t\",\"c\"],\"$version\":6}> w",
    ),
    (
        "model-names-twice",
        "s w o w d <{\"a\":1,\"a\":{\"__t\":\"c\",\"b\":1,\"b\":2},\"a\":{\"__t\":\"c\",\"__t\":\"x\"},\"$version\":6}> w",
    ),
    (
        "model-name-is-half-a-surrogate",
        "s w o w d <{\"\\ud800\":1,\"t1\":{\"__t\":\"c\",\"\\udc00a\":\"\\ud800\"},\"b\":1e999,\"$version\":6}> w",
    ),
    (
        "model-names-of-the-hub",
        "s w o w d <{\"$metadata\":{\"__t\":\"c\",\"a\":1},\"__t\":\"c\",\"t1\":{\"__t\":\"c\",\"$metadata\":{\"a\":1}},\"$version\":6}> w",
    ),
    (
        "model-reported-is-no-object",
        "s g w f <{\"desired\":{\"a\":1,\"$version\":5},\"reported\":null}> w f <{\"desired\":{\"$version\":5},\"reported\":[1]}> w",
    ),
    ("model-report", "p 3 <t1> <max> <28.50> <t1> <min> <{ \"a\" : 1E+2 }> <> <serial> <\"x\"> <> <off> <false> w o w"),
    (
        "model-report-refused",
        "p 3 <> <__t> <1> <$version> <a> <1> <> <a\"> <1> <> <b> <{\"__t\":\"c\"}> p 3 <> <a> <null> <> <b> <1,\"c\":2> <> <c> <1> <c> <d> <1> w o w",
    ),
    ("hundred-requests", "g g g g g g g g g g g g g g g g g g g g w o o o o o o o o o o w"),
];

const CONNECTION_STRING: &[(&str, &str)] = &[
    ("device-key", "HostName=contoso.azure-devices.net;DeviceId=dev-1;SharedAccessKey=KEY"),
    ("module", "HostName=h.example;DeviceId=d;ModuleId=m;SharedAccessKey=KEY"),
    ("gateway", "HostName=h.example;DeviceId=d;GatewayHostName=edge:8884;SharedAccessKey=KEY;"),
    ("gateway-without-port", "HostName=h.example;DeviceId=d;GatewayHostName=127.0.0.1;SharedAccessKey=KEY"),
    ("token", "HostName=hub.example;DeviceId=dev1;SharedAccessSignature=TOKEN"),
    (
        "token-broken",
        "HostName=hub.example;DeviceId=dev1;SharedAccessSignature=SharedAccessSignature sr=a&sig=KEY&se=soon",
    ),
    ("certificate", "HostName=h.example;DeviceId=d;x509=true"),
    ("certificate-off", "HostName=h.example;DeviceId=d;x509=false;SharedAccessKey=KEY"),
    ("service", "HostName=h.example;SharedAccessKeyName=iothubowner;SharedAccessKey=KEY"),
    ("two-ways", "HostName=h.example;DeviceId=d;SharedAccessKey=KEY;SharedAccessSignature=TOKEN"),
    ("twice", "HostName=h.example;DeviceId=d;SharedAccessKey=KEY;SharedAccessKey=KEY"),
    ("key-without-its-name", "HostName=h.example;DeviceId=d;KEY"),
    ("short-key-without-its-name", "HostName=h.example;DeviceId=d;SHORT"),
    ("key-as-a-name", "HostName=h.example;DeviceId=d;KEY=;SharedAccessKey=k"),
    ("key-in-the-wrong-place", "HostName=KEY;DeviceId=KEY;ModuleId=KEY;GatewayHostName=KEY:1;x509=KEY"),
    ("name-cut-inside-a-character", "HostName=h.example;DeviceId=d;aaaaaaa\\xC3\\xA9aaaaaaaaaaaaaaaaaaaaaa=KEY"),
    ("name-misspelt", "hostname=h.example;DeviceId=d;SharedAccessKeyKEY=x"),
    ("empty-values", "HostName=;DeviceId=;SharedAccessKey="),
    ("empty", ""),
    ("separators", ";;=;=="),
    ("key-not-base64", "HostName=h.example;DeviceId=d;SharedAccessKey=!KEY!"),
    ("every-character-of-an-id", "HostName=h.example;DeviceId=A-z.0%_*?!(),:=@$';SharedAccessKey=KEY"),
    ("wildcard-in-the-id", "HostName=h.example;DeviceId=a+#/b;SharedAccessKey=KEY"),
    ("url-as-host", "HostName=https://h.example/;DeviceId=d;SharedAccessKey=KEY"),
    ("not-ascii", "HostName=h\\xC3\\xA4.example;DeviceId=\\xC3\\xA9;SharedAccessKey=\\xC3\\xA9"),
];

const EMULATOR_MQTT: &[(&str, &str)] = &[
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

const WEBSOCKET: &[(&str, &str)] = &[
    ("answer-and-bytes", "y b <packet> r 255 w <packet> u"),
    (
        "answer-in-pieces",
        "h <HTTP/1.1 101 Switch> h <ing\\x0D\\x0AUpgrade: websocket\\x0D\\x0AConnection: Upgrade\\x0D> h <\\x0ASec-WebSocket-Accept: ACCEPT\\x0D\\x0ASec-WebSocket-Protocol: mqtt\\x0D\\x0A\\x0D\\x0A> b <x> r 1",
    ),
    (
        "answer-with-frames-behind",
        "h <HTTP/1.1 101 X\\x0D\\x0AUpgrade: websocket\\x0D\\x0AConnection: Upgrade\\x0D\\x0ASec-WebSocket-Accept: ACCEPT\\x0D\\x0ASec-WebSocket-Protocol: mqtt\\x0D\\x0A\\x0D\\x0A\\x82\\x03abc\\x89\\x00\\x82> h <\\x01d> r 3",
    ),
    (
        "answer-with-bare-newlines",
        "h <\\x0AHTTP/1.1 101 X\\x0AUpgrade: websocket\\x0AConnection: Upgrade\\x0ASec-WebSocket-Accept: ACCEPT\\x0ASec-WebSocket-Protocol: mqtt\\x0A\\x0A> b <x> r 1",
    ),
    (
        "answer-of-another",
        "h <HTTP/1.1 101 X\\x0D\\x0AUpgrade: websocket\\x0D\\x0AConnection: Upgrade\\x0D\\x0ASec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\\x0D\\x0ASec-WebSocket-Protocol: mqtt\\x0D\\x0A\\x0D\\x0A>",
    ),
    ("answer-404", "h <HTTP/1.1 404 Not Found\\x0D\\x0AContent-Length: 0\\x0D\\x0A\\x0D\\x0A>"),
    (
        "answer-without-subprotocol",
        "h <HTTP/1.1 101 X\\x0D\\x0AUpgrade: websocket\\x0D\\x0AConnection: Upgrade\\x0D\\x0ASec-WebSocket-Accept: ACCEPT\\x0D\\x0A\\x0D\\x0A>",
    ),
    (
        "answer-with-extension",
        "h <HTTP/1.1 101 X\\x0D\\x0AUpgrade: websocket\\x0D\\x0AConnection: Upgrade\\x0D\\x0ASec-WebSocket-Accept: ACCEPT\\x0D\\x0ASec-WebSocket-Protocol: mqtt\\x0D\\x0ASec-WebSocket-Extensions: permessage-deflate\\x0D\\x0A\\x0D\\x0A>",
    ),
    ("answer-that-is-none", "h <SSH-2.0-OpenSSH>"),
    ("answer-never-comes", "l 1"),
    ("answer-cut-off", "h <HTTP/1.1 101> q"),
    ("answer-broken-off", "h <HTTP/1.1 101> z"),
    ("fragments-with-pings-between", "y f <a> i <1> g <> o <2> g <b> i <> e <c> r 9 u"),
    ("a-text", "y b <before> t <hello> r 9 w <x>"),
    ("a-new-message-in-another", "y f <a> b <b> r 9"),
    ("a-continuation-of-nothing", "y e <a> r 9"),
    ("a-ping-of-126-bytes", "y h <\\x89\\x7E\\x00\\x7E> r 9"),
    ("a-ping-in-pieces", "y h <\\x09\\x01x> r 9"),
    ("masked", "y h <\\x82\\x81\\x01\\x02\\x03\\x04x> r 9"),
    ("reserved-bits", "y h <\\xC2\\x01x> r 9"),
    ("reserved-opcodes", "y h <\\x83\\x01x> r 9"),
    ("huge-and-begun", "y h <\\x82\\x7F\\x40\\x00\\x00\\x00\\x00\\x00\\x00\\x00begun> r 3"),
    ("more-than-any-frame", "y h <\\x82\\x7F\\x80\\x00\\x00\\x00\\x00\\x00\\x00\\x00> r 3"),
    ("lengths-in-a-long-form", "y h <\\x82\\x7E\\x00\\x01x\\x82\\x7F\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01y> r 0"),
    ("byte-by-byte", "l 1 y f <packet> i <1> e <packet> r 0 w <answer> u"),
    ("close-in-order", "y b <x> x 0 <bye> b <late> r 9 w <x> u"),
    ("close-without-a-code", "y h <\\x88\\x00> r 9"),
    ("close-with-half-a-code", "y h <\\x88\\x01\\x03> r 9"),
    ("close-with-a-reason", "y x 8 <quota> r 9"),
    ("close-with-a-code-never-sent", "y x 5 <> r 9"),
    ("close-with-a-reason-not-utf-8", "y x 11 <\\xFF> r 9"),
    ("hang-up-in-a-frame", "y h <\\x82\\x05ab> q r 9"),
    ("broken-off", "y w <x> b <y> z r 9 u"),
    ("writer-blocked", "y k 3 w <aaaaaaaaaaaaaaaaaaaa> u i <1> i <2> r 9 w <bbb> u k 255 u"),
    ("goodbye-into-a-full-socket", "y k 1 w <aaaaaaaaaaaaaaaaaaaa> u i <1> r 1"),
    ("many-writes", "y w <a> w <b> u w <c> w <d> i <p> r 1 w <e> u"),
];

/// The first byte says how the answer is cut; odd, there were credentials.
const PROXY: &[(&str, &str)] = &[
    ("yes", "\\x00HTTP/1.1 200 Connection established\\x0D\\x0A\\x0D\\x0A"),
    ("yes-byte-by-byte", "\\x01HTTP/1.0 200 OK\\x0D\\x0AVia: x\\x0D\\x0A\\x0D\\x0A"),
    ("yes-with-another-2xx", "\\x06HTTP/1.1 204 No Content\\x0D\\x0A\\x0D\\x0A"),
    ("yes-without-a-reason", "\\x02HTTP/1.1 200\\x0D\\x0A\\x0D\\x0A"),
    ("yes-with-bare-newlines", "\\x02HTTP/1.1 200 OK\\x0AA: b\\x0A\\x0A"),
    ("yes-after-empty-lines", "\\x02\\x0D\\x0A\\x0AHTTP/1.1 200 OK\\x0D\\x0A\\x0D\\x0A"),
    ("yes-with-a-length", "\\x02HTTP/1.1 200 OK\\x0D\\x0AContent-Length: 5\\x0D\\x0A\\x0D\\x0A"),
    ("yes-and-more", "\\xFEHTTP/1.1 200 OK\\x0D\\x0A\\x0D\\x0Ahello"),
    ("half-of-a-yes", "\\x04HTTP/1.1 200 OK\\x0D\\x0A\\x0D"),
    (
        "credentials-wanted",
        "\\x08HTTP/1.1 407 Proxy Authentication Required\\x0D\\x0AProxy-Authenticate: Basic realm=\\x22x\\x22\\x0D\\x0A\\x0D\\x0A",
    ),
    (
        "credentials-refused",
        "\\x09HTTP/1.1 407 No\\x0D\\x0AProxy-Authenticate: Basic realm=\\x22x\\x22\\x0D\\x0A\\x0D\\x0A",
    ),
    (
        "credentials-of-another-kind",
        "\\x09HTTP/1.1 407 No\\x0D\\x0Aproxy-authenticate: Negotiate\\x0D\\x0APROXY-AUTHENTICATE: NTLM TlRM\\x0D\\x0A\\x0D\\x0A",
    ),
    ("credentials-of-no-kind", "\\x09HTTP/1.1 407 No\\x0D\\x0AProxy-Authenticate:\\x0D\\x0A\\x0D\\x0A"),
    ("credentials-not-utf-8", "\\x09HTTP/1.1 407 No\\x0D\\x0AProxy-Authenticate: \\xFF\\xC3\\x0D\\x0A\\x0D\\x0A"),
    ("refused", "\\x02HTTP/1.1 403 Forbidden\\x0D\\x0A\\x0D\\x0A<html>no</html>"),
    (
        "refused-with-a-long-reason",
        "\\x02HTTP/1.1 502 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\x0D\\x0A\\x0D\\x0A",
    ),
    ("refused-with-a-reason-not-ascii", "\\x02HTTP/1.1 503 n\\xC3\\xB6\\x0D\\x0A\\x0D\\x0A"),
    ("switching", "\\x02HTTP/1.1 101 Switching Protocols\\x0D\\x0A\\x0D\\x0A"),
    ("continue-first", "\\x02HTTP/1.1 100 Continue\\x0D\\x0A\\x0D\\x0AHTTP/1.1 200 OK\\x0D\\x0A\\x0D\\x0A"),
    ("http-2", "\\x02HTTP/2 200\\x0D\\x0A\\x0D\\x0A"),
    ("http-0-9", "\\x02<html>hello</html>"),
    ("ssh", "\\x02SSH-2.0-OpenSSH_9.2\\x0D\\x0A"),
    ("tls", "\\x02\\x15\\x03\\x01\\x00\\x02\\x02\\x28"),
    ("status-of-two-digits", "\\x02HTTP/1.1 20 OK\\x0D\\x0A\\x0D\\x0A"),
    ("header-without-a-colon", "\\x02HTTP/1.1 200 OK\\x0D\\x0Anonsense\\x0D\\x0A\\x0D\\x0A"),
    ("header-with-a-nul", "\\x02HTTP/1.1 200 OK\\x0D\\x0AA: \\x00\\x0D\\x0A\\x0D\\x0A"),
    ("empty", "\\x00"),
    ("empty-lines-only", "\\x02\\x0D\\x0A\\x0D\\x0A\\x0D\\x0A"),
];

/// Numbers for `a`: the address by its place in the list, 16 for a receiver, 32 and 128 for settle modes; then the handle, and 64 for each channel.
const EMULATOR_AMQP: &[(&str, &str)] = &[
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

/// A letter is a step, a number one byte, `<text>` a length and the text.
const AMQP_SESSION: &[(&str, &str)] = &[
    ("connect-and-subscribe", "c w"),
    ("telemetry", "c w s 5 w s 6 s 7 w"),
    ("telemetry-window-full", "c w b s 1 s 1 s 1 s 1 s 1 s 1 s 1 w r w s 1 w"),
    ("telemetry-large-into-a-full-socket", "c w k 9 s 200 s 200 w w k 0 w"),
    ("telemetry-rejected-released-modified", "c w o 8 0 o 8 1 o 8 2 s 1 s 1 s 1 w"),
    ("telemetry-outcomes-lost-late-reversed", "c w o 9 2 o 10 1 o 11 2 s 1 w s 1 w s 1 w s 1 w s 1 w t 12 w"),
    ("telemetry-cut-in-the-middle", "c w y 9 s 100 w c w s 1 w"),
    ("messages-accepted-rejected-given-back", "c w v <a> v <b> v <c> w x 0 x 3 x 1 w w"),
    ("message-settled-after-the-drop", "c w v <a> w q w c w x 0 w"),
    ("method-answered", "c w i 1 i 2 w m 1 m 0 w"),
    ("method-answered-late", "c w i 1 w z w c w m 0 w"),
    ("twin-get-and-report", "c w g p 9 w j 1 w g w"),
    ("twin-answers-go-wrong", "c w o 12 1 g o 12 2 g o 12 3 g o 12 5 g o 12 6 p 1 w t 19 w"),
    ("patches-go-wrong", "c w o 13 1 j 1 w o 13 2 j 2 j 3 w o 13 3 j 4 w"),
    (
        "every-link-detached",
        "c w o 0 0 w c w o 0 1 w c w o 0 2 w c w o 0 3 w c w o 0 4 w c w o 0 5 w c w o 0 6 w c w o 0 7 w",
    ),
    ("session-and-connection-ended", "c w o 1 0 w c w o 1 1 w c w o 2 0 w c w o 2 1 w"),
    ("attach-refused-withheld-otherwise", "c o 3 1 w c o 4 1 w t 15 w c o 5 0 o 6 2 w s 1 w t 17 w"),
    ("token-not-answered", "c o 7 0 w t 15 w c o 7 2 w c o 7 1 w t 4 w"),
    ("renewed-in-place", "c w c w s 1 w"),
    ("subscriptions-change", "c w u 1 w u 14 w u 0 w"),
    ("idle", "c w t 17 w t 17 w t 17 w"),
    ("half-open", "c w o 17 0 s 1 w t 18 w t 18 w"),
    ("disconnect-in-order", "c w s 5 d w"),
    ("disconnect-while-connecting", "c d w c w d w"),
    ("byte-by-byte", "l 1 c l 1 w v <a> j 1 i 1 w x 0 m 0 w"),
    ("said-twice", "c n 0 0 w n 0 0 s 1 w"),
    ("a-byte-changed-in-each", "c n 255 9 w c n 19 30 w n 64 12 s 1 w n 3 40 g w"),
    ("cut-short", "c n 2 12 w q w c w n 2 7 v <a> w q w"),
    ("other-header", "c h <AMQP\\x03\\x01\\x00\\x00> w"),
    ("not-amqp", "c h <HTTP/1.1 400 Bad Request> w"),
    ("frame-too-large", "c w h <\\x7F\\xFF\\xFF\\xFF\\x02\\x00\\x00\\x00> w"),
    ("frame-too-small", "c w h <\\x00\\x00\\x00\\x01\\x02\\x00\\x00\\x00> w"),
    ("array-of-nothing", "c w a 14 0 <\\x00\\x53\\x12\\xF0\\x00\\x00\\x00\\x05\\xFF\\xFF\\xFF\\xFF\\x40> w"),
    (
        "nested-without-end",
        "c w a 14 0 <\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00> w",
    ),
    (
        "performatives-out-of-turn",
        "c w a 0 0 <> w c w a 1 1 <> w a 2 1 <> w c w a 10 5 <> w a 11 9 <> w c w a 12 2 <> w c w a 13 1 <> w",
    ),
    ("dispositions-of-nothing", "c w s 1 a 9 33 <> a 9 65 <> w a 13 1 <> w"),
    ("flows", "c w a 8 1 <> a 8 6 <> a 8 255 <> w s 1 w"),
    ("transfers-of-nothing", "c w a 28 4 <\\x00\\x53\\x75> w a 44 8 <x> w a 60 12 <{}> w a 31 1 <x> w"),
];

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    write(&corpora.join("mqtt_session"), MQTT_SESSION, script)?;
    write(&corpora.join("twin"), TWIN, script)?;
    write(&corpora.join("emulator_mqtt"), EMULATOR_MQTT, script)?;
    write(&corpora.join("websocket"), WEBSOCKET, script)?;
    write(&corpora.join("proxy"), PROXY, unescaped)?;
    write(&corpora.join("emulator_amqp"), EMULATOR_AMQP, script)?;
    write(&corpora.join("amqp_session"), AMQP_SESSION, script)?;
    write(&corpora.join("connection_string"), CONNECTION_STRING, unescaped)?;
    // A letter, and what stands behind the space.
    write(&corpora.join("topics"), TOPICS, |text| unescaped(&text.replacen(' ', "", 1)))
}

fn write(folder: &Path, seeds: &[(&str, &str)], encode: impl Fn(&str) -> Vec<u8>) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    seeds.iter().try_for_each(|(name, text)| fs::write(folder.join(name), encode(text)))
}

fn script(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '<' => end_of_text(rest).expect("a `>`"),
            _ => rest.find(' ').unwrap_or(rest.len()),
        };
        let (word, behind) = rest.split_at(end);
        match first {
            '<' => {
                let text = unescaped(&word[1..word.len() - 1]);
                bytes.push(u8::try_from(text.len()).expect("a text of at most 255 bytes"));
                bytes.extend(text);
            }
            '0'..='9' => bytes.push(word.parse().expect("a number of one byte")),
            _ => bytes.extend(word.bytes()),
        }
        rest = behind.trim_start();
    }
    bytes
}

/// Behind the `>` that a space or the end follows.
fn end_of_text(text: &str) -> Option<usize> {
    text.find("> ").map(|at| at + 1).or_else(|| text.ends_with('>').then_some(text.len()))
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x") {
        bytes.extend(before.bytes());
        bytes.push(u8::from_str_radix(&behind[..2], 16).expect("two hex digits"));
        rest = &behind[2..];
    }
    bytes.extend(rest.bytes());
    bytes
}
