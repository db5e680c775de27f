//! `listener.security.protocol.map`: the security protocol of each listener name (KIP-103).

use super::listener::Listener;

/// Kafka's map: the names that are protocols themselves.
pub const DEFAULT_MAP: &str = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT";

/// How the clients of a listener are authenticated, and how its bytes are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Neither.
    Plaintext,
    /// TLS.
    Ssl,
    /// Authentication without TLS.
    SaslPlaintext,
    /// Both.
    SaslSsl,
}

/// A text that is not `NAME:PROTOCOL,...`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtocolMapError {
    /// A part of the list has no colon.
    #[error("'{text}' is not of the form NAME:PROTOCOL")]
    Form {
        /// The part.
        text: String,
    },
    /// A name is mapped to an unknown protocol.
    #[error("{protocol} is none of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL")]
    Unknown {
        /// The protocol.
        protocol: String,
    },
}

/// The names, in upper case as in [`Listener`], and their protocols.
pub fn parse(text: &str) -> Result<Vec<(String, Protocol)>, ProtocolMapError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let form = || ProtocolMapError::Form { text: part.to_owned() };
            let (name, protocol) = part.rsplit_once(':').ok_or_else(form)?;
            let protocol = match protocol.trim().to_ascii_uppercase().as_str() {
                "PLAINTEXT" => Protocol::Plaintext,
                "SSL" => Protocol::Ssl,
                "SASL_PLAINTEXT" => Protocol::SaslPlaintext,
                "SASL_SSL" => Protocol::SaslSsl,
                other => return Err(ProtocolMapError::Unknown { protocol: other.to_owned() }),
            };
            Ok((name.trim().to_ascii_uppercase(), protocol))
        })
        .collect()
}

/// The protocol of a listener, unless the map lacks its name.
pub fn of_listener(map: &[(String, Protocol)], listener: &Listener) -> Option<Protocol> {
    map.iter().find(|(name, _)| *name == listener.name).map(|(_, protocol)| *protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_gives_each_listener_a_protocol() {
        let map = parse("internal:plaintext, EXTERNAL:SASL_SSL,").unwrap();
        let of = |text: &str| of_listener(&map, &Listener::parse(text).unwrap());
        assert_eq!(of("INTERNAL://a:1"), Some(Protocol::Plaintext));
        assert_eq!(of("EXTERNAL://a:1"), Some(Protocol::SaslSsl));
        assert_eq!(of("PLAINTEXT://a:1"), None);
        assert_eq!(parse(DEFAULT_MAP).unwrap().len(), 4);
        assert!(parse("INTERNAL").unwrap_err().to_string().contains("NAME:PROTOCOL"));
        assert!(parse("INTERNAL:TLS").unwrap_err().to_string().contains("TLS is none of PLAINTEXT"));
    }
}
