//! The roles of a Kafka node and its controller quorum. A Tidemill node is broker and controller in one.

use std::collections::BTreeMap;

const ROLES: &str = "process.roles";
const CONTROLLER_LISTENERS: &str = "controller.listener.names";

/// Why a node of Kafka's with these roles is no node of Tidemill's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoleProblem {
    /// A broker without a controller, or a controller without a broker.
    #[error(
        "process.roles is {roles}: a Tidemill node is broker and controller in one. Write \
         process.roles=broker,controller, or remove it"
    )]
    Roles {
        /// The value.
        roles: String,
    },
    /// All listeners are controllers'.
    #[error("listeners has only listeners of the controller; add one for clients, such as PLAINTEXT://localhost:9092")]
    NoClientListener,
    /// The quorum has other nodes. Each of them would be a cluster by itself.
    #[error(
        "{name} has {count} controllers: a Tidemill node is a cluster by itself so far. Name this node alone, or \
         remove it"
    )]
    Quorum {
        /// The setting.
        name: &'static str,
        /// The number of controllers.
        count: usize,
    },
}

/// Checks the roles among Kafka's settings, by name. Returns each problem with the name of its setting.
pub fn check(given: &BTreeMap<String, String>) -> Vec<(&'static str, RoleProblem)> {
    let mut found = Vec::new();
    let roles = given.get(ROLES).map_or("", |roles| roles.trim());
    let mut words = words(roles);
    words.sort_unstable();
    words.dedup();
    if !words.is_empty() && words != ["broker", "controller"] {
        found.push((ROLES, RoleProblem::Roles { roles: roles.to_owned() }));
    }
    for name in ["controller.quorum.voters", "controller.quorum.bootstrap.servers"] {
        let count = given.get(name).map_or(0, |list| self::words(list).len());
        if count > 1 {
            found.push((name, RoleProblem::Quorum { name, count }));
        }
    }
    found
}

/// Removes the listeners of controllers from a list such as `listeners`. Here controllers use no sockets.
pub fn without_controllers(listeners: &[String], given: &BTreeMap<String, String>) -> Vec<String> {
    let names = given.get(CONTROLLER_LISTENERS).map_or(Vec::new(), |list| words(list));
    let is_controller = |listener: &String| {
        let name = listener.split("://").next().unwrap_or_default();
        names.iter().any(|controller| controller.eq_ignore_ascii_case(name))
    };
    listeners.iter().filter(|listener| !is_controller(listener)).cloned().collect()
}

fn words(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        rows.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_node_is_broker_and_controller_and_alone() {
        for (name, value, expected) in [
            ("process.roles", "broker,controller", None),
            ("process.roles", " controller , broker", None),
            ("process.roles", "", None),
            ("process.roles", "broker", Some("broker and controller in one")),
            ("process.roles", "controller", Some("broker and controller in one")),
            ("controller.quorum.voters", "1@localhost:9093", None),
            ("controller.quorum.voters", "1@a:9093,2@b:9093,3@c:9093", Some("has 3 controllers")),
            ("controller.quorum.bootstrap.servers", "a:9093, b:9093", Some("has 2 controllers")),
        ] {
            let found = check(&given(&[(name, value)]));
            match expected {
                None => assert_eq!(found, vec![], "{name}={value}"),
                Some(words) => assert!(found[0].0 == name && found[0].1.to_string().contains(words), "{found:?}"),
            }
        }
    }

    #[test]
    fn the_listeners_of_controllers_are_left_out() {
        let listeners = ["PLAINTEXT://:9092".to_owned(), "CONTROLLER://:9093".to_owned()];
        assert_eq!(without_controllers(&listeners, &given(&[])), listeners);
        assert_eq!(
            without_controllers(&listeners, &given(&[("controller.listener.names", "controller")])),
            listeners[..1]
        );
    }
}
