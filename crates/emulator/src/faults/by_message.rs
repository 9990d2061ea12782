//! Faults that a device asks for by the properties of a message, as the testers of the real hub do (docs/hub-over-mqtt.md 11, E42).

use std::time::Duration;

use crate::faults::Fault;

const OPERATION: &str = "AzIoTHub_FaultOperationType";
const REASON: &str = "AzIoTHub_FaultOperationCloseReason";
const DELAY: &str = "AzIoTHub_FaultOperationDelayInSecs";
const DURATION: &str = "AzIoTHub_FaultOperationDurationInSecs";

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) fault: Fault,
    pub(crate) delay: Duration,
    pub(crate) reason: Option<String>,
}

/// What a message asks for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ignored {
    pub(crate) operation: String,
    pub(crate) problem: String,
}

/// The fault that these application properties ask for, on an MQTT connection; `None` if they ask for nothing.
pub(crate) fn asked(properties: &[(String, Option<String>)]) -> Option<Result<Asked, Ignored>> {
    let value = |wanted: &str| properties.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_deref());
    let operation = value(OPERATION)?.unwrap_or_default();
    let ignored = |problem: String| Ignored { operation: operation.chars().take(64).collect(), problem };
    let seconds = |name: &str| match value(name).flatten() {
        None | Some("") => Ok(Duration::ZERO),
        Some(text) => match text.parse::<u32>() {
            Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
            Err(_) => Err(ignored(format!("{name} is no number of seconds"))),
        },
    };
    Some(seconds(DELAY).and_then(|delay| {
        let fault = fault(operation, seconds(DURATION)?).map_err(|problem| ignored(problem.to_owned()))?;
        Ok(Asked { fault, delay, reason: value(REASON).flatten().map(str::to_owned) })
    }))
}

fn fault(operation: &str, lasts: Duration) -> Result<Fault, &'static str> {
    match operation {
        "KillTcp" => Ok(Fault::KillTcp),
        "ShutDownMqtt" => Ok(Fault::OrderlyClose),
        "InvokeThrottling" => Ok(Fault::Throttle { lasts }),
        "InvokeMaxMessageQuota" => Ok(Fault::Quota { lasts }),
        "InvokeAuthError" => Ok(Fault::AuthError { lasts }),
        "ShutDownAmqp" => Err("it is for AMQP only"),
        // The C SDK's tests write one of them in another case.
        _ if operation.starts_with("KillAmqp") => Err("it is for AMQP only"),
        _ => Err("there is no such operation"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(pairs: &[(&str, &str)]) -> Option<Result<Asked, Ignored>> {
        let properties: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        asked(&properties)
    }

    #[test]
    fn an_ordinary_message_asks_for_nothing() {
        assert_eq!(asks(&[]), None);
        assert_eq!(asks(&[(DELAY, "1"), ("azIoTHub_FaultOperationType", "KillTcp")]), None);
    }

    #[test]
    fn type_delay_duration_and_reason_are_read_and_all_but_the_type_may_be_missing() {
        let lasts = Duration::from_secs(20);
        let full = [(OPERATION, "InvokeThrottling"), (REASON, "20"), (DELAY, "1"), (DURATION, "20")];
        let expected =
            Asked { fault: Fault::Throttle { lasts }, delay: Duration::from_secs(1), reason: Some("20".to_owned()) };
        assert_eq!(asks(&full), Some(Ok(expected)));
        let bare = Asked { fault: Fault::KillTcp, delay: Duration::ZERO, reason: None };
        assert_eq!(asks(&[(OPERATION, "KillTcp"), (DELAY, "")]), Some(Ok(bare)));
    }

    #[test]
    fn what_is_not_for_mqtt_or_badly_asked_is_ignored_and_says_why() {
        for (pairs, problem) in [
            (vec![(OPERATION, "KillAmqpc2dLink")], "AMQP"),
            (vec![(OPERATION, "Nonsense")], "no such"),
            (vec![(OPERATION, "")], "no such"),
            (vec![(OPERATION, "KillTcp"), (DELAY, "soon")], "seconds"),
            (vec![(OPERATION, "KillTcp"), (DELAY, "-1")], "seconds"),
            (vec![(OPERATION, "KillTcp"), (DURATION, "99999999999")], "seconds"),
        ] {
            let ignored = asks(&pairs).unwrap().unwrap_err();
            assert!(ignored.problem.contains(problem), "{pairs:?}: {ignored:?}");
        }
    }
}
