//! Topic names, with the rules of Kafka's `Topic.validate`.

use std::fmt;

/// A legal topic name: 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(std::sync::Arc<str>);

/// Why a name is illegal. The client gets the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidTopicName {
    /// The name has no characters.
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    /// The name is `.` or `..`, which directories cannot have.
    #[error("Topic name is invalid: '{0}' is not allowed")]
    Dots(String),
    /// The name has more than 249 characters, so `<topic>-<partition>` might exceed a file name's 255.
    #[error("Topic name is invalid: the length of '{0}' is longer than the max allowed length 249")]
    TooLong(String),
    /// A character is not in Kafka's alphabet.
    #[error(
        "Topic name is invalid: '{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    )]
    Characters(String),
}

impl TopicName {
    /// The longest legal name, in bytes.
    pub const LENGTH_MAX: usize = 249;

    /// The name, if it is legal.
    pub fn new(name: &str) -> Result<TopicName, InvalidTopicName> {
        TopicName::check(name)?;
        Ok(TopicName(name.into()))
    }

    /// Checks a name without an allocation, for requests that name hundreds of thousands of topics.
    pub fn check(name: &str) -> Result<(), InvalidTopicName> {
        if name.is_empty() {
            return Err(InvalidTopicName::Empty);
        }
        if name == "." || name == ".." {
            return Err(InvalidTopicName::Dots(name.into()));
        }
        if name.len() > Self::LENGTH_MAX {
            return Err(InvalidTopicName::TooLong(name.into()));
        }
        if !name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-')) {
            return Err(InvalidTopicName::Characters(name.into()));
        }
        Ok(())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the names differ only in `.` and `_`. Kafka rejects such pairs, because metric names do not distinguish
    /// them.
    pub fn collides_with(&self, other: &TopicName) -> bool {
        self.0.len() == other.0.len()
            && self.0.bytes().zip(other.0.bytes()).all(|(a, b)| {
                let fold = |c| if c == b'.' { b'_' } else { c };
                fold(a) == fold(b)
            })
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names_are_those_of_kafka() {
        for name in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            assert!(TopicName::new(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(TopicName::new(name).is_err(), "{name}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        let name = |n| TopicName::new(n).unwrap();
        assert!(name("a.b").collides_with(&name("a_b")));
        assert!(!name("a.b").collides_with(&name("a-b")));
    }
}
