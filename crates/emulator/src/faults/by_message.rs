//! Faults that a device asks for by the properties of a message, as the testers of the real hub do (docs/hub-over-mqtt.md 11, E42).

use std::time::Duration;

use crate::activity::AmqpLink;
use crate::faults::Fault;

const OPERATION: &str = "AzIoTHub_FaultOperationType";
const REASON: &str = "AzIoTHub_FaultOperationCloseReason";
const DELAY: &str = "AzIoTHub_FaultOperationDelayInSecs";
const DURATION: &str = "AzIoTHub_FaultOperationDurationInSecs";

/// What the message came over: each protocol has faults of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Mqtt,
    Amqp,
}

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

/// The fault that these application properties ask for; `None` if they ask for nothing.
pub(crate) fn asked(properties: &[(String, Option<String>)], protocol: Protocol) -> Option<Result<Asked, Ignored>> {
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
        let fault = fault(operation, seconds(DURATION)?, protocol).map_err(|problem| ignored(problem.to_owned()))?;
        Ok(Asked { fault, delay, reason: value(REASON).flatten().map(str::to_owned) })
    }))
}

fn fault(operation: &str, lasts: Duration, protocol: Protocol) -> Result<Fault, &'static str> {
    match (operation, protocol) {
        ("KillTcp", _) => Ok(Fault::KillTcp),
        ("InvokeThrottling", _) => Ok(Fault::Throttle { lasts }),
        ("InvokeMaxMessageQuota", _) => Ok(Fault::Quota { lasts }),
        ("InvokeAuthError", _) => Ok(Fault::AuthError { lasts }),
        ("ShutDownMqtt", Protocol::Mqtt) => Ok(Fault::OrderlyClose),
        ("ShutDownMqtt", Protocol::Amqp) => Err("it is for MQTT only"),
        ("ShutDownAmqp", Protocol::Amqp) => Ok(Fault::AmqpClose { condition: None }),
        // The C SDK's tests write one of them in another case.
        _ => match (amqp_fault(&operation.to_ascii_lowercase()), protocol) {
            (Some(fault), Protocol::Amqp) => Ok(fault),
            (Some(_), Protocol::Mqtt) => Err("it is for AMQP only"),
            (None, _) => Err("there is no such operation"),
        },
    }
}

fn amqp_fault(operation: &str) -> Option<Fault> {
    let detach = |link| Fault::AmqpDetach { link, condition: Some("amqp:link:detach-forced".to_owned()) };
    Some(match operation {
        "shutdownamqp" => Fault::AmqpClose { condition: None },
        "killamqpconnection" => Fault::AmqpClose { condition: Some("amqp:connection:forced".to_owned()) },
        "killamqpsession" => Fault::AmqpEnd { condition: Some("amqp:internal-error".to_owned()) },
        "killamqpcbslinkreq" => detach(AmqpLink::TokenRequests),
        "killamqpcbslinkresp" => detach(AmqpLink::TokenReplies),
        "killamqpd2clink" => detach(AmqpLink::Telemetry),
        "killamqpc2dlink" => detach(AmqpLink::CloudToDevice),
        "killamqptwinlinkreq" => detach(AmqpLink::TwinRequests),
        "killamqptwinlinkresp" => detach(AmqpLink::TwinReplies),
        "killamqpmethodreqlink" => detach(AmqpLink::MethodRequests),
        "killamqpmethodresplink" => detach(AmqpLink::MethodResponses),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(pairs: &[(&str, &str)]) -> Option<Result<Asked, Ignored>> {
        let properties: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        asked(&properties, Protocol::Mqtt)
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
