//! The twin by itself.

use std::time::{Duration, SystemTime};

use super::*;

fn at(seconds: u64) -> Now {
    let elapsed = Duration::from_secs(seconds);
    Now { elapsed, wall: SystemTime::UNIX_EPOCH + elapsed }
}

fn twin() -> Twin {
    Twin::new(at(0))
}

fn report(twin: &mut Twin, body: &str) -> Result<u64, String> {
    twin.report(body.as_bytes(), true, at(1))
}

/// Objects inside each other, so many below the section.
fn nested(depth: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(depth + 1), "}".repeat(depth + 1))
}

#[test]
fn a_patch_merges_and_null_removes_at_every_level() {
    let mut twin = twin();
    assert_eq!(report(&mut twin, r#"{"a":{"b":1,"c":[1,null]},"d":"x","n":null,"o":{"p":null}}"#), Ok(2));
    assert_eq!(report(&mut twin, r#"{"a":{"b":null,"e":true},"d":{"f":1.5}}"#), Ok(3));
    assert_eq!(
        twin.record(&Identity::device("d")).reported,
        json!({"a": {"c": [1, null], "e": true}, "d": {"f": 1.5}, "o": {}})
    );
    assert_eq!(report(&mut twin, "{}"), Ok(4), "an empty patch is a change too");
}

#[test]
fn metadata_has_the_shape_of_the_properties_and_the_time_of_each_change() {
    let mut twin = twin();
    twin.patch_desired(json!({"a": {"b": 1, "c": 2}, "d": 3}), true, at(1)).unwrap();
    twin.patch_desired(json!({"a": {"b": 5}, "d": null}), true, at(2)).unwrap();
    let (first, second) = (
        json!({"$lastUpdated": "1970-01-01T00:00:01.000Z", "$lastUpdatedVersion": 2}),
        json!({"$lastUpdated": "1970-01-01T00:00:02.000Z", "$lastUpdatedVersion": 3}),
    );
    let mut expected = second.clone();
    expected["a"] = second.clone();
    expected["a"]["b"] = second;
    expected["a"]["c"] = first;
    assert_eq!(twin.record(&Identity::device("d")).desired_metadata, expected);
    report(&mut twin, r#"{"r":1}"#).unwrap();
    let stamp = json!({"$lastUpdated": "1970-01-01T00:00:01.000Z"});
    let mut expected = stamp.clone();
    expected["r"] = stamp;
    assert_eq!(twin.record(&Identity::device("d")).reported_metadata, expected);
}

#[test]
fn a_replacement_tells_the_device_the_difference() {
    let mut twin = twin();
    twin.patch_desired(json!({"keep": 1, "gone": 2, "deep": {"keep": 1, "gone": 2}, "kind": {"x": 1}}), true, at(1))
        .unwrap();
    let change = twin
        .replace_desired(json!({"keep": 1, "deep": {"keep": 1, "new": 3}, "kind": 7, "none": null}), true, at(2))
        .unwrap();
    assert_eq!(change.version, 3);
    let patch = json!({"gone": null, "deep": {"gone": null, "new": 3}, "kind": 7, "$version": 3});
    assert_eq!(Value::Object(change.patch), patch);
    assert_eq!(
        twin.record(&Identity::device("d")).desired,
        json!({"keep": 1, "deep": {"keep": 1, "new": 3}, "kind": 7})
    );
}

#[test]
fn applying_the_difference_gives_the_replacement() {
    let samples =
        [json!({}), json!({"a": 1}), json!({"a": {"b": {}}}), json!({"a": {"b": 1}, "c": [1]}), json!({"a": [2]})];
    for old in &samples {
        for new in &samples {
            let (Value::Object(old), Value::Object(new)) = (old, new) else { unreachable!() };
            assert_eq!(merge::merged(old, &merge::difference(old, new)), *new, "{old:?} to {new:?}");
        }
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    let long_text = format!(r#"{{"a":"{}"}}"#, "x".repeat(4097));
    let long_key = format!(r#"{{"{}":1}}"#, "k".repeat(1025));
    let cases = [
        "",
        " ",
        "{",
        "[]",
        "null",
        "5",
        "\"x\"",
        "{\"a\":}",
        "\u{feff}{}",
        r#"{"$version":1}"#,
        r#"{"a":{"$x":1}}"#,
        r#"{"a.b":1}"#,
        r#"{"a b":1}"#,
        r#"{"":1}"#,
        "{\"a\\u0007\":1}",
        r#"{"a":[{"$x":1}]}"#,
        r#"{"a":4503599627370496}"#,
        r#"{"a":-4503599627370497}"#,
        r#"{"a":18446744073709551615}"#,
        r#"{"a":1e999}"#,
        &nested(11),
        &"[".repeat(100_000),
        &format!("{}1{}", r#"{"a":"#.repeat(50_000), "}".repeat(50_000)),
        &long_text,
        &long_key,
    ];
    for case in cases {
        let mut twin = twin();
        let problem = report(&mut twin, case);
        assert!(problem.is_err(), "{}", &case[..case.len().min(60)]);
        assert_eq!(twin.record(&Identity::device("d")).reported_version, 1);
        assert_eq!(twin.record(&Identity::device("d")).reported, json!({}));
    }
}

#[test]
fn the_limits_themselves_are_allowed() {
    let cases = [
        nested(10),
        format!(r#"{{"a":"{}"}}"#, "x".repeat(4096)),
        format!(r#"{{"{}":1}}"#, "k".repeat(1024)),
        r#"{"a":4503599627370495,"b":-4503599627370496,"c":1e300,"d":null}"#.to_owned(),
    ];
    for case in cases {
        assert_eq!(report(&mut twin(), &case), Ok(2), "{}", &case[..case.len().min(60)]);
    }
}

#[test]
fn a_section_holds_32_kib_and_may_shrink_from_more() {
    let mut twin = twin();
    let text = "x".repeat(4096 - 2);
    for index in 0..8 {
        report(&mut twin, &format!(r#"{{"k{index}":"{text}"}}"#)).unwrap();
    }
    assert!(report(&mut twin, r#"{"z":true}"#).unwrap_err().contains("32773 bytes"), "names and values count");
    assert_eq!(report(&mut twin, r#"{"k0":null,"z":1}"#), Ok(10));
    let mut tags = Twin::new(at(0));
    tags.patch_tags(json!({"k0": text.clone(), "k1": text}), true).unwrap();
    assert!(tags.patch_tags(json!({"k": 1}), true).is_err());
}

#[test]
fn arrays_can_be_refused() {
    assert!(twin().report(br#"{"a":[]}"#, false, at(1)).unwrap_err().contains("array"));
    assert_eq!(twin().report(br#"{"a":[[1]]}"#, true, at(1)), Ok(2));
}

#[test]
fn a_device_sees_both_sections_with_their_versions_and_nothing_else() {
    let mut twin = twin();
    twin.patch_tags(json!({"t": 1}), true).unwrap();
    twin.patch_desired(json!({"d": 1}), true, at(1)).unwrap();
    let seen: Value = serde_json::from_slice(&twin.body(0)).unwrap();
    assert_eq!(seen, json!({"desired": {"d": 1, "$version": 2}, "reported": {"$version": 1}}));
}

#[test]
fn the_etag_stands_for_tags_and_desired_properties_and_the_version_for_all() {
    let mut twin = twin();
    let first = twin.record(&Identity::device("d"));
    report(&mut twin, "{}").unwrap();
    assert_eq!(
        (twin.record(&Identity::device("d")).etag, twin.record(&Identity::device("d")).version),
        (first.etag.clone(), 2)
    );
    twin.patch_desired(json!({}), true, at(1)).unwrap();
    assert_ne!(twin.record(&Identity::device("d")).etag, first.etag);
}

#[test]
fn every_number_comes_back_as_it_was() {
    let mut bits = 88_172_645_463_325_252_u64;
    for _ in 0..20_000 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        let number = f64::from_bits(bits);
        if !number.is_finite() {
            continue;
        }
        let mut twin = twin();
        report(&mut twin, &format!("{{\"a\":{number:e}}}")).unwrap();
        let text = String::from_utf8(twin.body(0)).unwrap();
        let (_, rest) = text.split_once("\"a\":").unwrap();
        let back: f64 = rest[..rest.find([',', '}']).unwrap()].parse().unwrap();
        assert_eq!(back.to_bits(), number.to_bits(), "{number:e}");
    }
}
