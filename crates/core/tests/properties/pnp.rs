//! The properties of a device model: written, read, and read from whatever a hub may send.

use iothub_core::{JsonText, PropertyError, PropertyKind, PropertyName, ReportedProperties, TwinProperties};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{ten_thousand, text};

/// A property: its component, its name and its value as text.
type Row = (Option<String>, String, String);

/// Names that a model can have; few, so that some are the same.
const MODEL_NAME: &str = "[abc]|[A-Z][a-z_]{0,3}[0-9]";

/// Numbers in the spellings that JSON has.
fn numbers() -> impl Strategy<Value = String> {
    (any::<i64>(), any::<u64>(), any::<u8>()).prop_map(|(whole, more, spelling)| match spelling % 5 {
        0 => format!("{}", whole % 100),
        1 => format!("1{more}{more}"),
        2 => format!("{whole}.{more}0"),
        3 => format!("{}.0e-{}", whole % 10, more % 1000),
        _ => format!("-0E+{more}"),
    })
}

/// JSON values as texts, none of them an object that would be a component.
fn values() -> impl Strategy<Value = String> {
    let leaves = prop_oneof![
        4 => numbers(),
        2 => vec(any::<char>(), 0..4).prop_map(|text| serde_json::to_string(&String::from_iter(text)).unwrap()),
        2 => select(vec!["true", "false", "null", "[{\"__t\":\"c\"}]", "{\"__t\":\"x\"}", "\"\\ud800\\u00e9\""]).prop_map_into(),
    ];
    leaves.prop_recursive(2, 8, 4, |inner| {
        let space = || select(vec!["", "", " ", "\n\t"]);
        let members = vec((select(vec!["\"a\"", "\"b\"", "\"$\"", "\"\""]), inner.clone()), 0..4);
        prop_oneof![
            (vec(inner, 0..4), space())
                .prop_map(|(values, space)| format!("[{space}{}]", values.join(&format!("{space},")))),
            (members, space()).prop_map(|(members, space)| {
                let members: Vec<_> =
                    members.into_iter().map(|(name, value)| format!("{name}{space}:{value}")).collect();
                format!("{{{}{space}}}", members.join(","))
            }),
        ]
    })
}

/// A name as text in JSON, and what it means.
fn names() -> impl Strategy<Value = (String, String)> {
    let characters = (prop_oneof![4 => proptest::char::range('a', 'z'), 1 => any::<char>()], any::<bool>());
    vec(characters, 0..5).prop_filter_map("it is the hub's", |characters| {
        let name: String = characters.iter().map(|(character, _)| character).collect();
        let spelled: String = characters
            .into_iter()
            .map(|(character, is_escaped)| match (is_escaped, u16::try_from(u32::from(character))) {
                (true, Ok(code)) => format!("\\u{code:04X}"),
                _ => {
                    let quoted = serde_json::to_string(&character).unwrap();
                    quoted[1..quoted.len() - 1].to_owned()
                }
            })
            .collect();
        (!name.starts_with('$') && name != "__t").then(|| (format!("\"{spelled}\""), name))
    })
}

/// A member of a section: the text, and the properties that it stands for.
fn members() -> impl Strategy<Value = (String, Vec<Row>)> {
    let of_the_hub = select(vec!["\"$metadata\":{\"a\":{\"__t\":\"c\"}}", "\"\\u0024x\":1"]);
    let of_the_convention = select(vec!["\"__t\":\"c\"", "\"\\u005f_t\" : \"\\u0063\""]);
    let component = (names(), vec((names(), values()), 0..3), of_the_convention, 0..4usize, any::<bool>());
    prop_oneof![
        1 => of_the_hub.prop_map(|text| (text.to_owned(), Vec::new())),
        3 => (names(), values())
            .prop_map(|((spelled, name), value)| (format!("{spelled}: {value}"), vec![(None, name, value)])),
        3 => component.prop_map(|((spelled, component), properties, mark, at, has_version)| {
            let mut texts: Vec<_> = properties.iter().map(|((name, _), value)| format!("{name}:{value}")).collect();
            texts.insert(at.min(texts.len()), mark.to_owned());
            if has_version {
                texts.push("\"$version\":1".to_owned());
            }
            let rows = properties.into_iter().map(|((_, name), value)| (Some(component.clone()), name, value));
            (format!("{spelled}:{{{}}}", texts.join(" ,")), rows.collect())
        }),
    ]
}

/// Texts that are nearly twins: names that mean something, anywhere.
fn nearly_twins() -> impl Strategy<Value = String> {
    let names = select(vec!["desired", "reported", "$version", "$metadata", "__t", "\\u005f_t", "a", "\\ud800"]);
    let leaves =
        prop_oneof![numbers(), select(vec!["\"c\"", "null", "7", "{}", "\"\\ud800\"", "x", ""]).prop_map_into()];
    let anything = leaves.prop_recursive(4, 16, 4, move |inner| {
        vec((names.clone(), inner), 0..5).prop_map(|members| {
            let members: Vec<_> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        })
    });
    let inside_a_twin = |(desired, reported)| {
        format!("{{\"desired\":{{\"$version\":7,\"a\":{desired}}},\"reported\":{{\"b\":{reported}}}}}")
    };
    prop_oneof![anything.clone(), (anything.clone(), anything).prop_map(inside_a_twin)]
}

fn rows(properties: &TwinProperties<'_>, kind: PropertyKind) -> Vec<Row> {
    let of_kind = properties.iter().filter(|property| property.kind() == kind);
    of_kind.map(|p| (p.component().map(str::to_owned), p.name().to_owned(), p.json().to_owned())).collect()
}

fn outer((component, name, _): &Row) -> &str {
    component.as_ref().unwrap_or(name)
}

proptest! {
    #![proptest_config(ten_thousand())]

    #[test]
    fn what_is_written_is_read_back_letter_by_letter(
        given in vec((option::of(text(MODEL_NAME)), text(MODEL_NAME), values()), 0..6),
    ) {
        let mut report = ReportedProperties::new();
        let mut written: Vec<Row> = Vec::new();
        for row in given {
            let property = PropertyName { component: row.0.as_deref(), name: &row.1 };
            let is_taken = written.iter().any(|known| {
                let is_property = known.0.is_none() || row.0.is_none();
                outer(known) == outer(&row) && (is_property || known.1 == row.1)
            });
            match report.set(property, JsonText::new(&row.2).unwrap()) {
                Ok(_) => {
                    prop_assert!(!is_taken && row.2 != "null");
                    written.push(row);
                }
                Err(PropertyError::Null(_)) => prop_assert_eq!(row.2, "null"),
                Err(error) => prop_assert!(is_taken && matches!(error, PropertyError::Duplicate(_)), "{error}"),
            }
        }
        // The properties of a component stand together, where the first of them was set.
        let firsts: Vec<String> = written.iter().map(|row| outer(row).to_owned()).collect();
        written.sort_by_key(|row| firsts.iter().position(|first| first == outer(row)));

        let patch = String::from_utf8(report.into_json().to_vec()).unwrap();
        let twin = format!("{{\"desired\":{{\"$version\":0}},\"reported\":{patch}}}");
        let read = TwinProperties::from_twin(twin.as_bytes()).unwrap();
        prop_assert_eq!(rows(&read, PropertyKind::Reported), written);
    }

    #[test]
    fn what_stands_in_a_twin_is_walked_in_order(
        desired in vec(members(), 0..4),
        reported in vec(members(), 0..4),
        version in any::<u64>(),
    ) {
        let section = |members: &[(String, Vec<Row>)]| -> (String, Vec<Row>) {
            let texts: Vec<_> = members.iter().map(|(text, _)| text.as_str()).chain([""]).collect();
            (texts.join(", "), members.iter().flat_map(|(_, rows)| rows.clone()).collect())
        };
        let ((desired, writable), (reported, stored)) = (section(&desired), section(&reported));
        let patch = format!("{{{desired}\"$version\":{version}}}");
        let twin = format!("{{\"reported\":{{{reported}\"$version\":1}},\"desired\":{patch}}}");

        let kind = PropertyKind::Writable { version };
        let read = TwinProperties::from_twin(twin.as_bytes()).unwrap();
        prop_assert_eq!(rows(&read, kind), &writable[..]);
        prop_assert_eq!(rows(&read, PropertyKind::Reported), stored);
        let read = TwinProperties::from_patch(patch.as_bytes()).unwrap();
        prop_assert_eq!((rows(&read, kind), read.version()), (writable, version));
    }

    #[test]
    fn whatever_is_sent_is_walked_or_refused(text in prop_oneof![4 => nearly_twins(), 1 => any::<String>()]) {
        let range = text.as_bytes().as_ptr_range();
        for read in [TwinProperties::from_twin(text.as_bytes()), TwinProperties::from_patch(text.as_bytes())] {
            for property in read.iter().flatten() {
                // The value is a piece of what was sent, and JSON.
                prop_assert!(range.contains(&property.json().as_ptr()));
                prop_assert!(JsonText::new(property.json()).is_ok());
                prop_assert!(!property.name().starts_with('$'));
                let _ = property.read::<f64>();
            }
        }
    }
}
