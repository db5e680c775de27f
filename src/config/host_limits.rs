//! `max.connections.per.ip.overrides`: the limits of single hosts, `host:count,...`.

use super::setting::{FromValue, Value};

/// The most connections from the addresses of one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostLimit {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The limit.
    pub max: usize,
}

/// A text that is not `host:count,...`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostLimitError {
    /// A part of the list has no colon, or no legal host before it.
    #[error("'{text}' is not of the form host:count")]
    Form {
        /// The part.
        text: String,
    },
    /// The part after the last colon is not a number of connections.
    #[error("'{count}' in '{text}' is not a number of connections, 0..{}", i32::MAX)]
    Count {
        /// That part.
        count: String,
        /// The host and the count.
        text: String,
    },
}

/// Parses `10.0.0.1:100,client.example.com:5,[::1]:2`. The brackets may be missing, as in Kafka.
pub fn parse(text: &str) -> Result<Vec<HostLimit>, HostLimitError> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_one).collect()
}

fn parse_one(text: &str) -> Result<HostLimit, HostLimitError> {
    let form = || HostLimitError::Form { text: text.to_owned() };
    let (host, count) = text.rsplit_once(':').ok_or_else(form)?;
    let (host, count) = (host.trim(), count.trim());
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || !host.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-:%".contains(&c)) {
        return Err(form());
    }
    let max = count.parse::<i32>().ok().and_then(|count| usize::try_from(count).ok());
    let max = max.ok_or_else(|| HostLimitError::Count { count: count.to_owned(), text: text.to_owned() })?;
    Ok(HostLimit { host: host.to_owned(), max })
}

impl FromValue for Vec<HostLimit> {
    fn from_value(value: &Value) -> Vec<HostLimit> {
        parse(&String::from_value(value)).expect("CONF-1: parsed when it was set")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_a_count_behind_its_last_colon() {
        for (text, expected) in [
            ("", &[][..]),
            ("10.0.0.1:100", &[("10.0.0.1", 100)]),
            (" a.example.com : 5 , b_1:0,", &[("a.example.com", 5), ("b_1", 0)]),
            ("::1:2,[fe80::1]:3", &[("::1", 2), ("fe80::1", 3)]),
        ] {
            let found = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let found: Vec<_> = found.iter().map(|limit| (limit.host.as_str(), limit.max)).collect();
            assert_eq!(found, expected, "{text}");
        }
        for (text, expected) in [
            ("10.0.0.1", "'10.0.0.1' is not of the form host:count"),
            (":3", "':3' is not of the form"),
            ("a b:3", "'a b:3' is not of the form"),
            ("a:1,b:many", "'many' in 'b:many' is not a number of connections"),
            ("a:-1", "'-1' in 'a:-1' is not a number"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
