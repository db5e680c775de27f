//! Settings in the environment: `TIDEMILL_LOG_RETENTION_MS` is `log.retention.ms`.

use super::broker;
use super::kafka;
use super::nearest::nearest;
use super::problem::Hint;

/// The beginning of the variables that are settings.
pub const PREFIX: &str = "TIDEMILL_";

/// Variables that are no settings: of the log, of the client commands, and of Tidemill's own tests. The tests' nodes
/// inherit the tests' environment.
const OTHERS: &[&str] = &["LOG", "LOG_FORMAT", "BOOTSTRAP"];
/// The beginnings of the tests' variables.
const OF_TESTS: &[&str] = &["TEST_", "COPIER_", "CRASH_", "FUZZ_", "MEMBERS_", "ORACLE_", "POWER_", "STREAMS_"];

/// The meaning of a variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Variable {
    /// The setting of this name, Tidemill's or Kafka's.
    Setting(&'static str),
    /// A variable that does not belong to the settings.
    Other,
    /// A misspelt name.
    Unknown(Hint),
}

/// The meaning of a variable of the environment.
pub fn meaning(variable: &str, value: &str) -> Variable {
    let Some(name) = variable.strip_prefix(PREFIX) else { return Variable::Other };
    let of_this_name = |setting: &&'static str| spelling(setting) == name;
    if let Some(setting) = own_names().find(of_this_name) {
        return Variable::Setting(setting);
    }
    // Before Kafka's names: an old one is `port`.
    if OTHERS.contains(&name) || OF_TESTS.iter().any(|prefix| name.starts_with(prefix)) || is_of_service(name, value) {
        return Variable::Other;
    }
    if let Some(setting) = kafka::names().find(of_this_name) {
        return Variable::Setting(setting);
    }
    let dotted = name.to_ascii_lowercase().replace('_', ".");
    let near =
        nearest(&dotted, own_names().chain(kafka::names())).map(|setting| format!("{PREFIX}{}", spelling(setting)));
    Variable::Unknown(near.map_or(Hint::Nothing, Hint::Nearest))
}

fn own_names() -> impl Iterator<Item = &'static str> {
    broker::SETTINGS.iter().map(|setting| setting.name)
}

fn spelling(setting: &str) -> String {
    setting.to_ascii_uppercase().replace('.', "_")
}

/// Kubernetes and Docker describe a service called `tidemill` in variables such as `TIDEMILL_SERVICE_HOST` and
/// `TIDEMILL_PORT_9092_TCP_ADDR`.
fn is_of_service(name: &str, value: &str) -> bool {
    let has_port_number = name.split("PORT_").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.ends_with("SERVICE_HOST")
        || name.ends_with("SERVICE_PORT")
        || name.contains("SERVICE_PORT_")
        || has_port_number
        || (name.ends_with("PORT") && value.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_setting_or_is_known_to_be_none() {
        for (variable, value, expected) in [
            ("TIDEMILL_LOG_RETENTION_MS", "1", Variable::Setting("log.retention.ms")),
            ("TIDEMILL_NODE_ID", "1", Variable::Setting("node.id")),
            ("TIDEMILL_SSL_KEYSTORE_LOCATION", "/x", Variable::Setting("ssl.keystore.location")),
            ("TIDEMILL_LOG", "debug", Variable::Other),
            ("TIDEMILL_LOG_FORMAT", "json", Variable::Other),
            ("TIDEMILL_BOOTSTRAP", "a:1", Variable::Other),
            ("TIDEMILL_TEST_PEER", "kafka", Variable::Other),
            ("KAFKA_NODE_ID", "1", Variable::Other),
            ("TIDEMILL_SERVICE_HOST", "10.0.0.1", Variable::Other),
            ("TIDEMILL_0_SERVICE_PORT_KAFKA", "9092", Variable::Other),
            ("TIDEMILL_PORT", "tcp://10.0.0.1:9092", Variable::Other),
            ("TIDEMILL_PORT_9092_TCP_ADDR", "10.0.0.1", Variable::Other),
        ] {
            assert_eq!(meaning(variable, value), expected, "{variable}");
        }
        let Variable::Unknown(hint) = meaning("TIDEMILL_LOG_RETENSION_MS", "1") else { panic!("it is misspelt") };
        assert_eq!(hint, Hint::Nearest("TIDEMILL_LOG_RETENTION_MS".into()));
        assert_eq!(meaning("TIDEMILL_QUUX", "1"), Variable::Unknown(Hint::Nothing));
    }

    #[test]
    fn no_setting_hides_behind_another_meaning() {
        for setting in broker::SETTINGS {
            let variable = format!("{PREFIX}{}", spelling(setting.name));
            assert_eq!(meaning(&variable, "tcp://x"), Variable::Setting(setting.name), "{variable}");
            assert!(!OTHERS.contains(&spelling(setting.name).as_str()), "{variable}");
        }
    }
}
