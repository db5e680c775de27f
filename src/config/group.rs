//! The settings of a single group: those of Kafka that concern consumer groups (KIP-848), and the broker settings that
//! they fall back to.

use super::broker::BrokerConfig;
use super::nearest::nearest;
use super::setting::{InvalidValue, Setting, Value, int_from};
use super::topic::Overrides;

/// A group's setting, and the broker settings that decide for a group without it and bound its value.
#[derive(Clone, Copy, Debug)]
pub struct GroupSetting {
    /// The group's own name, type and description.
    pub setting: Setting,
    /// The broker setting that holds for a group without an override.
    pub falls_back_to: &'static str,
    /// The broker settings with the least and the largest value that a group may have.
    bounds: (&'static str, &'static str),
}

const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
const ASSIGNMENT_INTERVAL: &str = "consumer.assignment.interval.ms";

/// Every group setting, sorted by name.
pub const SETTINGS: &[GroupSetting] = &[
    GroupSetting {
        setting: Setting {
            name: ASSIGNMENT_INTERVAL,
            kind: int_from(0),
            default: None,
            doc: "The least time between two assignments of the group, if it is large.",
        },
        falls_back_to: "group.consumer.assignment.interval.ms",
        bounds: ("group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"),
    },
    GroupSetting {
        setting: Setting {
            name: HEARTBEAT_INTERVAL,
            kind: int_from(1),
            default: None,
            doc: "The heartbeat interval of the group's members.",
        },
        falls_back_to: "group.consumer.heartbeat.interval.ms",
        bounds: ("group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    },
    GroupSetting {
        setting: Setting {
            name: SESSION_TIMEOUT,
            kind: int_from(1),
            default: None,
            doc: "How long a member of the group may send no heartbeat before it is removed.",
        },
        falls_back_to: "group.consumer.session.timeout.ms",
        bounds: ("group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    },
];

/// Kafka's settings of groups of kinds that do not exist here begin with these words.
const OTHER_KINDS: [&str; 3] = ["share.", "streams.", "errors.deadletterqueue."];

/// Why a group cannot have a setting. The messages are Kafka's where Kafka refuses too.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum InvalidGroupSetting {
    /// No group setting has this name.
    #[error(
        "Unknown group config name: {name}{}",
        hint.map(|hint| format!("; did you mean {hint}?")).unwrap_or_default()
    )]
    Unknown {
        /// The name as given.
        name: String,
        /// The most similar name, if one is near.
        hint: Option<&'static str>,
    },
    /// Kafka has the setting, for groups of another kind.
    #[error("{name} would have no effect: only classic groups and consumer groups exist here")]
    OtherKind {
        /// The setting's name.
        name: String,
    },
    /// The value is not legal for the setting.
    #[error(transparent)]
    InvalidValue(#[from] InvalidValue),
    /// The value is outside of the broker's limits.
    #[error("{name} must be in the range {least} to {most} inclusive.")]
    OutOfRange {
        /// The setting's name.
        name: &'static str,
        /// The broker's `group.consumer.min.` setting.
        least: i64,
        /// The broker's `group.consumer.max.` setting.
        most: i64,
    },
    /// A session would end between two heartbeats.
    #[error("{SESSION_TIMEOUT} must be greater than {HEARTBEAT_INTERVAL}")]
    Heartbeat,
}

/// The settings of one group: its overrides, and the broker's settings for the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// `consumer.session.timeout.ms`
    pub session_timeout_ms: i32,
    /// `consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: i32,
    /// `consumer.assignment.interval.ms`
    pub assignment_interval_ms: i32,
}

impl GroupConfig {
    /// The settings of a group with these overrides on such a broker.
    pub fn resolve(overrides: Option<&Overrides>, broker: &BrokerConfig) -> GroupConfig {
        let own = |name: &str| {
            let row = setting(name).expect("a row of the table");
            match row.setting.parse(overrides?.get(name)?) {
                // The broker's limits may have changed since the group got its value (Kafka caps it too).
                Ok(Value::Int(value)) => Some(value.clamp(row.least(broker), row.most(broker)) as i32),
                _ => None,
            }
        };
        GroupConfig {
            session_timeout_ms: own(SESSION_TIMEOUT).unwrap_or(broker.group_consumer_session_timeout_ms),
            heartbeat_interval_ms: own(HEARTBEAT_INTERVAL).unwrap_or(broker.group_consumer_heartbeat_interval_ms),
            assignment_interval_ms: own(ASSIGNMENT_INTERVAL).unwrap_or(broker.group_consumer_assignment_interval_ms),
        }
    }
}

impl GroupSetting {
    fn least(&self, broker: &BrokerConfig) -> i64 {
        bound(self.bounds.0, broker)
    }

    /// At least the least value, if the broker's limits contradict each other.
    fn most(&self, broker: &BrokerConfig) -> i64 {
        bound(self.bounds.1, broker).max(self.least(broker))
    }
}

fn bound(name: &str, broker: &BrokerConfig) -> i64 {
    match broker.value(name) {
        Some(Value::Int(value)) => value,
        other => unreachable!("{name} is a number of the broker, not {other:?}; a test checks the names"),
    }
}

/// The row called `name`.
pub fn setting(name: &str) -> Option<&'static GroupSetting> {
    SETTINGS.iter().find(|row| row.setting.name == name)
}

/// Checks each override, and all of them together on such a broker.
pub fn check_all(overrides: &Overrides, broker: &BrokerConfig) -> Result<(), InvalidGroupSetting> {
    for (name, text) in overrides {
        let Some(row) = setting(name) else {
            if OTHER_KINDS.iter().any(|kind| name.starts_with(kind)) {
                return Err(InvalidGroupSetting::OtherKind { name: name.clone() });
            }
            let hint = nearest(name, SETTINGS.iter().map(|row| row.setting.name));
            return Err(InvalidGroupSetting::Unknown { name: name.clone(), hint });
        };
        let Value::Int(value) = row.setting.parse(text)? else { unreachable!("every group setting is a number") };
        let (least, most) = (row.least(broker), row.most(broker));
        if !(least..=most).contains(&value) {
            return Err(InvalidGroupSetting::OutOfRange { name: row.setting.name, least, most });
        }
    }
    let config = GroupConfig::resolve(Some(overrides), broker);
    if config.session_timeout_ms <= config.heartbeat_interval_ms {
        return Err(InvalidGroupSetting::Heartbeat);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::broker;

    fn overrides(settings: &[(&str, &str)]) -> Overrides {
        settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn every_group_setting_falls_back_to_a_broker_setting_and_has_limits() {
        let broker = BrokerConfig::default();
        for row in SETTINGS {
            for name in [row.falls_back_to, row.bounds.0, row.bounds.1] {
                assert!(broker::setting(name).is_some_and(|setting| setting.kind.is_whole_number()), "{name}");
            }
            let value = bound(row.falls_back_to, &broker);
            assert!((row.least(&broker)..=row.most(&broker)).contains(&value), "{}", row.setting.name);
        }
    }

    #[test]
    fn overrides_precede_the_broker_within_its_limits() {
        let broker = BrokerConfig::default();
        let resolve = |settings: &[(&str, &str)]| {
            let config = GroupConfig::resolve(Some(&overrides(settings)), &broker);
            (config.session_timeout_ms, config.heartbeat_interval_ms, config.assignment_interval_ms)
        };
        assert_eq!(GroupConfig::resolve(None, &broker), GroupConfig::resolve(Some(&Overrides::new()), &broker));
        assert_eq!(resolve(&[]), (45_000, 5_000, 1_000));
        assert_eq!(resolve(&[(SESSION_TIMEOUT, "50000"), (HEARTBEAT_INTERVAL, "7000")]), (50_000, 7_000, 1_000));
        assert_eq!(resolve(&[(ASSIGNMENT_INTERVAL, "0")]), (45_000, 5_000, 0));
        // Values that were legal when they were set.
        assert_eq!(resolve(&[(SESSION_TIMEOUT, "1"), (HEARTBEAT_INTERVAL, "900000")]), (45_000, 15_000, 1_000));
        assert_eq!(resolve(&[(SESSION_TIMEOUT, "x")]), (45_000, 5_000, 1_000));
    }

    #[test]
    fn an_illegal_group_setting_is_refused_with_the_reason() {
        let broker = BrokerConfig::default();
        for (name, value, expected) in [
            ("nope", "1", "Unknown group config name: nope"),
            ("consumer.session.timeout", "1", "did you mean consumer.session.timeout.ms?"),
            ("share.session.timeout.ms", "50000", "only classic groups and consumer groups exist here"),
            (SESSION_TIMEOUT, "soon", "Invalid value soon for configuration consumer.session.timeout.ms"),
            (SESSION_TIMEOUT, "44999", "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive."),
            (SESSION_TIMEOUT, "60001", "must be in the range 45000 to 60000 inclusive."),
            (HEARTBEAT_INTERVAL, "15001", "must be in the range 5000 to 15000 inclusive."),
            (ASSIGNMENT_INTERVAL, "-1", "Invalid value -1 for configuration consumer.assignment.interval.ms"),
        ] {
            let error = check_all(&overrides(&[(name, value)]), &broker).expect_err("it is refused").to_string();
            assert!(error.contains(expected), "{name}={value}: {error}");
        }
        let mut narrow = BrokerConfig::default();
        narrow.group_consumer_heartbeat_interval_ms = 45_000;
        assert_eq!(check_all(&Overrides::new(), &narrow), Err(InvalidGroupSetting::Heartbeat));
        assert_eq!(check_all(&overrides(&[(SESSION_TIMEOUT, "50000")]), &broker), Ok(()));
    }
}
