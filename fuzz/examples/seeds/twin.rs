//! The twin as an application follows it: changes, answers, and what is reported.

pub(crate) const SEEDS: &[(&str, &str)] = &[
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
