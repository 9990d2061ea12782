//! Merge patches as RFC 7396 has them, for objects: how one is applied, how one is found, and what it does to metadata.

use serde_json::Value;

use super::Object;

/// `target` after the patch: members are replaced, objects merged, `null` removes.
pub(super) fn merged(target: &Object, patch: &Object) -> Object {
    let mut merged = target.clone();
    merge(&mut merged, patch);
    merged
}

fn merge(target: &mut Object, patch: &Object) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(patch) => merge(object_at(target, key), patch),
            _ => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The patch that makes `new` of `old`.
pub(super) fn difference(old: &Object, new: &Object) -> Object {
    let mut patch: Object =
        old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(known), _) if known == value => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                patch.insert(key.clone(), Value::Object(difference(old, new)));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    patch
}

/// Puts the mark on every level that the patch touches, and forgets what it removes. The shape of the metadata is that of the properties.
pub(super) fn stamp(metadata: &mut Object, patch: &Object, mark: &Object) {
    metadata.extend(mark.clone());
    for (key, value) in patch {
        match value {
            Value::Null => {
                metadata.remove(key);
            }
            Value::Object(patch) => stamp(object_at(metadata, key), patch, mark),
            _ => {
                metadata.insert(key.clone(), Value::Object(mark.clone()));
            }
        }
    }
}

/// The object at this key; what else is there gives way to an empty one.
fn object_at<'a>(target: &'a mut Object, key: &str) -> &'a mut Object {
    let place = target.entry(key).or_insert_with(|| Value::Object(Object::new()));
    if !place.is_object() {
        *place = Value::Object(Object::new());
    }
    match place {
        Value::Object(object) => object,
        _ => unreachable!("an object was put there"),
    }
}
