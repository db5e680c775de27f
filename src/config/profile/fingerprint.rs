//! The properties of a machine or of a device by which a profile is recognised.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Properties by name, such as `cpu_model` or `scheduler`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub BTreeMap<String, String>);

/// With another value of one of these, it is another machine or another device, and the measurements say nothing.
const IDENTITY: [&str; 9] = [
    "cpu_model",
    "cpus",
    "hypervisor",
    "numa_nodes",
    "smt",
    "device_model",
    "device_bytes",
    "device_transport",
    "file_system",
];

/// A property that has changed since a profile was measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The property.
    pub name: String,
    /// Its value in the profile.
    pub then: String,
    /// Its value on this machine.
    pub now: String,
    /// The profile is of another machine or another device.
    pub is_identity: bool,
}

impl Fingerprint {
    /// Sets a property. An absent value is left out.
    pub fn set(&mut self, name: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.to_string());
        }
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The properties that differ between this fingerprint, of a profile, and the one of this machine. A property that
    /// only one of them has is compared only if it is part of the identity: another release may record other ones.
    pub fn differences(&self, now: &Fingerprint) -> Vec<Difference> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let mut found = Vec::new();
        for name in names {
            let is_identity = IDENTITY.contains(&name.as_str());
            let (then, now) = match (self.get(name), now.get(name)) {
                (Some(then), Some(now)) if then != now => (then, now),
                (Some(then), None) if is_identity => (then, "unknown"),
                (None, Some(now)) if is_identity => ("unknown", now),
                _ => continue,
            };
            found.push(Difference { name: name.clone(), then: then.into(), now: now.into(), is_identity });
        }
        found
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {}, is {}", self.name, self.then, self.now)
    }
}
