//! What happens in a run: what the script is given to do, what the back end does meanwhile, and what has come of it in the end.

use serde_json::{Value, json};

use super::sample::{self, Sample};

/// One run. What has to come of the patches is written out, not computed: the merging is what is tested.
#[derive(Debug)]
pub(crate) struct Story {
    /// What the device sends.
    pub(crate) telemetry: Vec<Sample>,
    /// What the back end sends.
    pub(crate) message: Sample,
    /// What the back end desires before the device connects.
    pub(crate) desired: Value,
    /// What the device reports, one after the other.
    pub(crate) reported: Vec<Value>,
    /// How the back end changes what it desires.
    pub(crate) change: Value,
    /// What is desired in the end.
    pub(crate) desired_after: Value,
    /// What is reported in the end.
    pub(crate) reported_after: Value,
    /// What the back end calls, all at once.
    pub(crate) methods: Vec<Method>,
}

/// A call of a direct method, and what the device answers.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: &'static str,
    /// `None` reaches the device as `{}`.
    pub(crate) request: Option<Value>,
    pub(crate) status: i64,
    pub(crate) response: Value,
}

/// The version of either section of a twin that nobody has changed.
const FIRST_VERSION: u64 = 1;

impl Story {
    pub(crate) fn new() -> Self {
        Self {
            telemetry: sample::telemetry(),
            message: sample::cloud_to_device(),
            desired: json!({"interval": 30, "limits": {"low": -5, "high": 21.5}, "größe": "5 µm", "obsolete": true}),
            reported: vec![
                json!({"firmware": "1.0", "limits": {"low": -5, "high": 21.5}, "größe": "漢字", "obsolete": true}),
                json!({"firmware": "1.1", "limits": {"high": 22.5}, "obsolete": null}),
            ],
            change: json!({"interval": 60, "limits": {"high": 22.5}, "obsolete": null, "added": {"on": false}}),
            desired_after: json!({
                "interval": 60, "limits": {"low": -5, "high": 22.5}, "größe": "5 µm", "added": {"on": false}
            }),
            reported_after: json!({"firmware": "1.1", "limits": {"low": -5, "high": 22.5}, "größe": "漢字"}),
            methods: vec![
                Method {
                    name: "openWindow",
                    request: Some(json!({"room": "Küche", "angle": 12.5, "steps": [1, null, "two"]})),
                    status: 200,
                    response: json!({"opened": true, "by": {"größe": "漢字"}}),
                },
                Method { name: "self-test", request: None, status: 418, response: Value::Null },
            ],
        }
    }

    /// What a device is told of it.
    pub(crate) fn task(&self) -> Value {
        let answer =
            |method: &Method| (method.name.to_owned(), json!({"status": method.status, "payload": method.response}));
        json!({
            "telemetry": self.telemetry.iter().map(Sample::to_json).collect::<Vec<_>>(),
            "reported": self.reported,
            "methods": serde_json::Map::from_iter(self.methods.iter().map(answer)),
            "receive": 1,
        })
    }

    /// What a module is told of it: each message has an output, and so many will arrive at its inputs.
    pub(crate) fn module_task(&self, outputs: &[&str], receive: usize) -> Value {
        let mut task = self.task();
        for (index, output) in outputs.iter().enumerate() {
            task["telemetry"][index]["output"] = json!(output);
        }
        task["receive"] = receive.into();
        task
    }

    /// The back end has set what it desires.
    pub(crate) fn desired_version(&self) -> u64 {
        FIRST_VERSION + 1
    }

    /// The back end has changed what it desires.
    pub(crate) fn desired_version_after(&self) -> u64 {
        self.desired_version() + 1
    }

    /// The version that each patch of reported properties makes.
    pub(crate) fn reported_versions(&self) -> Vec<u64> {
        (FIRST_VERSION + 1..).take(self.reported.len()).collect()
    }

    /// The twin as the device gets it at first.
    pub(crate) fn twin(&self) -> Value {
        json!({
            "desired": versioned(&self.desired, self.desired_version()),
            "reported": versioned(&json!({}), FIRST_VERSION),
        })
    }

    /// The change as the device is sent it.
    pub(crate) fn change(&self) -> Value {
        versioned(&self.change, self.desired_version_after())
    }

    /// The twin as the device gets it after all changes.
    pub(crate) fn twin_after(&self) -> Value {
        let reported_version = self.reported_versions().last().copied().unwrap_or(FIRST_VERSION);
        json!({
            "desired": versioned(&self.desired_after, self.desired_version_after()),
            "reported": versioned(&self.reported_after, reported_version),
        })
    }

    /// The calls as the device gets them, in their order.
    pub(crate) fn calls(&self) -> Value {
        let call =
            |method: &Method| json!({"name": method.name, "payload": method.request.clone().unwrap_or(json!({}))});
        self.methods.iter().map(call).collect()
    }
}

fn versioned(properties: &Value, version: u64) -> Value {
    let mut properties = properties.clone();
    properties["$version"] = version.into();
    properties
}
