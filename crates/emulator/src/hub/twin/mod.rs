//! One twin: its sections, how changes merge into them, their versions, metadata and limits (docs/hub-over-mqtt.md 4). It knows nothing of topics and connections.

mod merge;
pub(crate) mod reply;
mod rules;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::clock::{Now, iso8601};
use crate::hub::registry::Identity;
use crate::record::TwinRecord;

pub(crate) type Object = Map<String, Value>;

/// The most that desired and reported properties may hold, each (docs/hub-over-mqtt.md 4.3).
const MAX_PROPERTIES: usize = 32 * 1024;
/// The most that tags may hold (the hub's documentation of twins).
const MAX_TAGS: usize = 8 * 1024;

/// A change of the desired properties, as a subscribed device is told of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DesiredChange {
    /// The version that it makes.
    pub(crate) version: u64,
    /// The changed members, `null` for removed ones, and `$version` (docs/hub-over-mqtt.md 4.4).
    pub(crate) patch: Object,
}

impl DesiredChange {
    /// Its size by the rule for sections, in bytes.
    pub(crate) fn size(&self) -> usize {
        rules::size_of_object(&self.patch)
    }
}

/// A device's or module's twin.
#[derive(Clone, Debug)]
pub(crate) struct Twin {
    tags: Object,
    desired: Section,
    reported: Section,
    version: u64,
    /// Counts what the etag stands for: changes of tags and desired properties.
    revision: u64,
}

/// Properties with their version and metadata.
#[derive(Clone, Debug)]
struct Section {
    properties: Object,
    metadata: Object,
    version: u64,
}

impl Twin {
    pub(crate) fn new(now: Now) -> Self {
        let desired = Section::new(stamp(now, Some(1)));
        let reported = Section::new(stamp(now, None));
        Self { tags: Object::new(), desired, reported, version: 1, revision: 1 }
    }

    /// What a device is given: no metadata and no tags (docs/hub-over-mqtt.md 4.3). `stale` is taken from both versions.
    pub(crate) fn body(&self, stale: u64) -> Vec<u8> {
        let section = |section: &Section| {
            let mut properties = section.properties.clone();
            properties.insert("$version".to_owned(), section.version.saturating_sub(stale).into());
            properties
        };
        json!({"desired": section(&self.desired), "reported": section(&self.reported)}).to_string().into_bytes()
    }

    /// Merges into the desired properties. The error says what is wrong with the patch; then nothing has changed.
    pub(crate) fn patch_desired(&mut self, patch: Value, arrays: bool, now: Now) -> Result<DesiredChange, String> {
        let patch = rules::checked(patch, arrays)?;
        let merged = merge::merged(&self.desired.properties, &patch);
        rules::check_size(&self.desired.properties, &merged, MAX_PROPERTIES)?;
        let stamp = stamp(now, Some(self.desired.version + 1));
        merge::stamp(&mut self.desired.metadata, &patch, &stamp);
        Ok(self.change_desired(merged, patch))
    }

    /// Replaces the desired properties. The device is told the difference: the changed members, and `null` for those that are gone.
    pub(crate) fn replace_desired(&mut self, desired: Value, arrays: bool, now: Now) -> Result<DesiredChange, String> {
        let desired = rules::checked(desired, arrays)?;
        let replaced = merge::merged(&Object::new(), &desired);
        rules::check_size(&self.desired.properties, &replaced, MAX_PROPERTIES)?;
        let patch = merge::difference(&self.desired.properties, &replaced);
        self.desired.metadata = Object::new();
        let stamp = stamp(now, Some(self.desired.version + 1));
        merge::stamp(&mut self.desired.metadata, &replaced, &stamp);
        Ok(self.change_desired(replaced, patch))
    }

    fn change_desired(&mut self, properties: Object, mut patch: Object) -> DesiredChange {
        self.desired.properties = properties;
        self.desired.version += 1;
        self.version += 1;
        self.revision += 1;
        let version = self.desired.version;
        patch.insert("$version".to_owned(), version.into());
        DesiredChange { version, patch }
    }

    /// Merges into the tags. The error says what is wrong with the patch.
    pub(crate) fn patch_tags(&mut self, patch: Value, arrays: bool) -> Result<(), String> {
        let patch = rules::checked(patch, arrays)?;
        let merged = merge::merged(&self.tags, &patch);
        rules::check_size(&self.tags, &merged, MAX_TAGS)?;
        self.tags = merged;
        self.version += 1;
        self.revision += 1;
        Ok(())
    }

    /// Merges what a device reports and gives the new version. The error says what is wrong with it; then nothing has changed.
    pub(crate) fn report(&mut self, body: &[u8], arrays: bool, now: Now) -> Result<u64, String> {
        let patch = serde_json::from_slice(body).map_err(|error| format!("the patch is not JSON: {error}"))?;
        self.patch_reported(patch, arrays, now)
    }

    /// Merges into the reported properties and gives their new version. The error says what is wrong with the patch; then nothing has changed.
    pub(crate) fn patch_reported(&mut self, patch: Value, arrays: bool, now: Now) -> Result<u64, String> {
        let patch = rules::checked(patch, arrays)?;
        let merged = merge::merged(&self.reported.properties, &patch);
        rules::check_size(&self.reported.properties, &merged, MAX_PROPERTIES)?;
        merge::stamp(&mut self.reported.metadata, &patch, &stamp(now, None));
        self.reported.properties = merged;
        self.reported.version += 1;
        self.version += 1;
        Ok(self.reported.version)
    }

    pub(crate) fn record(&self, identity: &Identity) -> TwinRecord {
        TwinRecord {
            device_id: identity.device.clone(),
            module_id: identity.module.clone(),
            etag: BASE64.encode(self.revision.to_be_bytes()),
            version: self.version,
            tags: Value::Object(self.tags.clone()),
            desired: Value::Object(self.desired.properties.clone()),
            desired_version: self.desired.version,
            desired_metadata: Value::Object(self.desired.metadata.clone()),
            reported: Value::Object(self.reported.properties.clone()),
            reported_version: self.reported.version,
            reported_metadata: Value::Object(self.reported.metadata.clone()),
        }
    }
}

impl Section {
    fn new(metadata: Object) -> Self {
        Self { properties: Object::new(), metadata, version: 1 }
    }
}

/// What metadata says of a property that changed now; of a desired one also in which version.
fn stamp(now: Now, version: Option<u64>) -> Object {
    let mut stamp = Object::new();
    stamp.insert("$lastUpdated".to_owned(), iso8601(now.wall).into());
    if let Some(version) = version {
        stamp.insert("$lastUpdatedVersion".to_owned(), version.into());
    }
    stamp
}
