//! Settings of Kafka's broker that Tidemill lacks, and the consequence of each: none, a refusal, or another setting.
//!
//! A file of Kafka's works here as far as that is safe. A setting that tunes Kafka's threads or its replication has
//! no effect and gives a warning. A setting that protects data or restricts access is refused: a node that ignored it
//! would serve records without the protection. A value that equals Kafka's default has neither.

mod names;
pub mod roles;
mod rules;

use super::broker::setting;
use Treatment::{NoEffect, Refused};
use names::{NAMES, REMOVED};
use rules::{FAMILIES, RULES};

/// A setting of Kafka's that Tidemill lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KafkaSetting {
    /// Kafka's default. Empty: null, or no default.
    pub default: &'static str,
    /// The consequence of a value that differs from the default.
    pub treatment: Treatment,
}

/// The consequence of a setting that Tidemill lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// Another name of this setting, which takes the value.
    Means(&'static str),
    /// No effect, for this reason.
    NoEffect(&'static str),
    /// Unsafe to ignore: the reason, and the remedy.
    Refused(&'static str),
    /// A part of the node's role in a cluster, which [`roles`] checks.
    Role,
}

impl KafkaSetting {
    /// The setting called `name`, if Kafka has it.
    pub fn find(name: &str) -> Option<KafkaSetting> {
        if let Ok(at) = NAMES.binary_search_by_key(&name, |(name, _)| name) {
            return Some(KafkaSetting { default: NAMES[at].1, treatment: rule(name)? });
        }
        if let Some(of_listener) = name.strip_prefix("listener.name.") {
            return find_of_listener(of_listener);
        }
        let treatment = match REMOVED.contains(&name) {
            true if name.starts_with("zookeeper.") => {
                NoEffect("Kafka 4 has removed it; this node is a cluster by itself, and keeps its metadata itself")
            }
            true => NoEffect("Kafka 4 has removed it"),
            false => FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix))?.1,
        };
        Some(KafkaSetting { default: "", treatment })
    }

    /// Whether the value is Kafka's default, apart from spaces and the case of letters.
    pub fn is_default(&self, value: &str) -> bool {
        let plain = |text: &str| text.split_whitespace().collect::<String>().to_ascii_lowercase();
        plain(value) == plain(self.default)
    }
}

/// Whether Kafka 4.4 has a setting of this name that Tidemill lacks.
pub fn is_name(name: &str) -> bool {
    NAMES.binary_search_by_key(&name, |(name, _)| name).is_ok()
}

/// Every name with a treatment, without the families.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name).chain(REMOVED.iter().copied())
}

fn rule(name: &str) -> Option<Treatment> {
    // A name is not the beginning of a longer one.
    let holds = |text: &str| name == text || (!is_name(text) && name.starts_with(text));
    RULES.iter().find(|(text, _)| holds(text)).map(|(_, treatment)| *treatment)
}

/// `<listener>.<setting>` or `<listener>.<mechanism>.<setting>`: a setting of one listener (KIP-103).
fn find_of_listener(name: &str) -> Option<KafkaSetting> {
    let (_, inner) = name.split_once('.')?;
    let inner = match inner.find("sasl.") {
        Some(at) => &inner[at..],
        None => inner,
    };
    let known = KafkaSetting::find(inner);
    match known {
        Some(KafkaSetting { treatment: Refused(_), .. }) => known,
        None if setting(inner).is_none() => None,
        _ => Some(KafkaSetting { default: "", treatment: NoEffect("a setting holds for all listeners") }),
    }
}

#[cfg(test)]
mod tests {
    use super::Treatment::Means;
    use super::*;

    #[test]
    fn every_name_of_kafka_is_sorted_and_has_a_treatment() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0) && REMOVED.is_sorted());
        for name in names() {
            assert!(setting(name).is_none(), "{name} is a setting of Tidemill");
            let found = KafkaSetting::find(name).unwrap_or_else(|| panic!("{name} has no treatment"));
            if let Means(own) = found.treatment {
                assert!(setting(own).is_some(), "{name} means {own}, which does not exist");
            }
        }
        for (text, _) in RULES {
            let is_used = NAMES.iter().any(|(name, _)| name == text || name.starts_with(text));
            assert!(is_used, "no name begins with {text}");
        }
    }

    #[test]
    fn a_setting_that_protects_data_is_refused_and_a_setting_that_tunes_is_not() {
        for name in [
            "ssl.keystore.location",
            "sasl.jaas.config",
            "listener.name.internal.ssl.keystore.password",
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config",
            "authorizer.class.name",
            "remote.log.storage.system.enable",
            "config.providers.file.class",
        ] {
            let found = KafkaSetting::find(name).expect("Kafka has it");
            assert!(matches!(found.treatment, Refused(_)), "{name}: {found:?}");
        }
        for name in ["num.io.threads", "remote.log.reader.threads", "rsm.config.x", "listener.name.a.max.connections"] {
            let found = KafkaSetting::find(name).expect("Kafka has it");
            assert!(matches!(found.treatment, NoEffect(_)), "{name}: {found:?}");
        }
        for name in ["num.io.thread", "listener.name.a.b", "listener.name.a", "quux"] {
            assert_eq!(KafkaSetting::find(name), None, "{name}");
        }
        // A name is not the beginning of another one.
        assert_eq!(
            KafkaSetting::find("log.dir.failure.timeout.ms").unwrap().treatment,
            NoEffect("a node has one data directory")
        );
        assert_eq!(KafkaSetting::find("broker.id").unwrap().treatment, Means("node.id"));
    }

    #[test]
    fn a_default_is_recognized_with_other_spaces_and_cases() {
        let roles = KafkaSetting::find("ssl.enabled.protocols").unwrap();
        assert!(roles.is_default("TLSv1.2, TLSv1.3") && !roles.is_default("TLSv1.3"));
        assert!(KafkaSetting::find("ssl.keystore.location").unwrap().is_default(" "));
    }
}
