//! Where clients connect: `NAME://host:port`, as in Kafka's `listeners` and `advertised.listeners`.

use std::fmt;

/// One listener. A request's answers name brokers by the address of the listener it came in on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Listener {
    pub name: String,
    /// Empty means every interface.
    pub host: String,
    pub port: u16,
}

impl Listener {
    /// `PLAINTEXT://0.0.0.0:9092`, `PLAINTEXT://:9092`, `PLAINTEXT://[::1]:9092`.
    pub fn parse(text: &str) -> Result<Listener, String> {
        let wanted = || format!("'{text}' is not of the form NAME://host:port");
        let (name, address) = text.split_once("://").ok_or_else(wanted)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wanted)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if name.is_empty()
            || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
            || host.contains(['/', '[', ']'])
        {
            return Err(wanted());
        }
        let port = port.parse().map_err(|_| format!("'{port}' in '{text}' is not a port number, 0..65535"))?;
        Ok(Listener { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
    }

    /// All of a list. A name may appear once; two may be advertised with one port, on different hosts.
    pub fn parse_all(list: &[String]) -> Result<Vec<Listener>, String> {
        let listeners = list.iter().map(|text| Listener::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if listeners.is_empty() {
            return Err("at least one NAME://host:port is needed".into());
        }
        for (i, listener) in listeners.iter().enumerate() {
            if listeners[..i].iter().any(|other| other.name == listener.name) {
                return Err(format!("the name {} appears twice; each listener needs its own", listener.name));
            }
        }
        Ok(listeners)
    }

    /// Such a host can be bound, but a client cannot connect to it.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
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
    fn listeners_read_as_kafka_writes_them() {
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
    fn a_listener_name_appears_once() {
        let parse = |text: &str| Listener::parse_all(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("IN://a:1,OUT://b:2").unwrap().len(), 2);
        assert!(parse("IN://a:1,in://b:2").unwrap_err().contains("IN appears twice"));
        assert!(Listener::parse_all(&[]).is_err());
    }
}
