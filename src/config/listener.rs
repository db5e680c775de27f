//! The addresses that clients connect to: `NAME://host:port`, as in Kafka's `listeners` and `advertised.listeners`.

use std::fmt;
use std::net::IpAddr;

/// Stands for the number of the shard in the host of an advertised listener.
pub const SHARD_IN_HOST: &str = "{shard}";

/// One listener. A response gives the brokers' addresses on the listener that received the request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Listener {
    /// The name before `://`, such as `PLAINTEXT`.
    pub name: String,
    /// Empty: every interface.
    pub host: String,
    /// 0 lets the kernel choose a port.
    pub port: u16,
}

/// Why a text or a list is not a legal `listeners` setting.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListenerError {
    /// The text has no `://`, no port, or an illegal name or host.
    #[error("'{text}' is not of the form NAME://host:port")]
    Form {
        /// The listener's text.
        text: String,
    },
    /// The part after the last colon is not a port.
    #[error("'{port}' in '{text}' is not a port number, 0..65535")]
    Port {
        /// That part.
        port: String,
        /// The listener's text.
        text: String,
    },
    /// The list is empty.
    #[error("at least one NAME://host:port is needed")]
    NoListener,
    /// Two listeners share a name.
    #[error("the name {name} appears twice; each listener needs its own")]
    DuplicateName {
        /// The name.
        name: String,
    },
}

impl Listener {
    /// Parses `PLAINTEXT://0.0.0.0:9092`, `PLAINTEXT://:9092`, `PLAINTEXT://[::1]:9092`.
    pub fn parse(text: &str) -> Result<Listener, ListenerError> {
        let form = || ListenerError::Form { text: text.to_owned() };
        let (name, address) = text.split_once("://").ok_or_else(form)?;
        let (host, port) = host_and_port(address).ok_or_else(form)?;
        if name.is_empty()
            || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
            || host.contains(['/', '[', ']'])
        {
            return Err(form());
        }
        let number = port.parse();
        let port = number.map_err(|_| ListenerError::Port { port: port.to_owned(), text: text.to_owned() })?;
        Ok(Listener { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
    }

    /// Parses a list of at least one, with unique names. Two advertised listeners may share a port on different hosts.
    pub fn parse_all(list: &[String]) -> Result<Vec<Listener>, ListenerError> {
        let listeners = list.iter().map(|text| Listener::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if listeners.is_empty() {
            return Err(ListenerError::NoListener);
        }
        for (i, listener) in listeners.iter().enumerate() {
            if listeners[..i].iter().any(|other| other.name == listener.name) {
                return Err(ListenerError::DuplicateName { name: listener.name.clone() });
            }
        }
        Ok(listeners)
    }

    /// Whether the host is a name, not an IP address and not every interface.
    pub fn is_name(&self) -> bool {
        !self.host.is_empty() && self.host.parse::<IpAddr>().is_err()
    }

    /// Whether the host stands for every interface: a node can bind it, but a client cannot connect to it.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
}

/// Splits `host:port`. The brackets of an IPv6 address are removed.
pub(super) fn host_and_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port))
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]:{}", self.name, self.host, self.port),
            false => write!(f, "{}://{}:{}", self.name, self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_parse_and_print_as_in_kafka() {
        for (text, host, port) in [
            ("PLAINTEXT://localhost:9092", "localhost", 9092),
            ("PLAINTEXT://:9092", "", 9092),
            ("PLAINTEXT://[::1]:0", "::1", 0),
        ] {
            let listener = Listener::parse(text).unwrap();
            assert_eq!((listener.host.as_str(), listener.port, listener.to_string().as_str()), (host, port, text));
        }
        for text in ["localhost:9092", "PLAINTEXT://localhost", "://a:1", "A B://a:1", "A://a:70000", "A://a/b:1", ""] {
            assert!(Listener::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_repeated_listener_name_is_rejected() {
        let parse = |text: &str| Listener::parse_all(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("IN://a:1,OUT://b:2").unwrap().len(), 2);
        assert!(parse("IN://a:1,in://b:2").unwrap_err().to_string().contains("IN appears twice"));
        assert!(Listener::parse_all(&[]).is_err());
    }
}
