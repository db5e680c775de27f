//! One setting: its name, its legal values, and the parser from text to a value.

use std::fmt;
use std::str::FromStr;

use super::host_limits::{self, HostLimitError};
use super::listener::{Listener, ListenerError};
use super::protocol::{self, ProtocolMapError};

/// One row of a table of settings.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Kafka's name, or Tidemill's own.
    pub name: &'static str,
    /// The type and the legal values.
    pub kind: Kind,
    /// The default, as a configuration file spells it. `None` is Kafka's null: not set, so another setting decides.
    pub default: Option<&'static str>,
    /// One sentence or more for help, documentation and DescribeConfigs.
    pub doc: &'static str,
}

/// The type and range of a setting.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// Kafka's BOOLEAN.
    Boolean,
    /// Kafka's INT: `min..=max`, or the one value `or` outside that range.
    Int {
        /// The smallest legal value.
        min: i32,
        /// The largest legal value.
        max: i32,
        /// A legal value outside the range, such as -1 for "no limit".
        or: Option<i32>,
    },
    /// Kafka's SHORT.
    Short {
        /// The smallest legal value.
        min: i16,
        /// The largest legal value.
        max: i16,
    },
    /// Kafka's LONG.
    Long {
        /// The smallest legal value.
        min: i64,
        /// The largest legal value.
        max: i64,
    },
    /// Kafka's DOUBLE.
    Double {
        /// The smallest legal value.
        min: f64,
        /// The largest legal value.
        max: f64,
    },
    /// Kafka's STRING, not empty.
    Text,
    /// Exactly one of these words.
    OneOf(&'static [&'static str]),
    /// A comma-separated list of these words; may be empty.
    ListOf(&'static [&'static str]),
    /// `NAME://host:port,...`
    Listeners,
    /// `NAME:PROTOCOL,...`
    ProtocolMap,
    /// `host:count,...`; may be empty.
    HostLimits,
    /// `*`, or `partition:broker,...`: the replicas whose replication a quota throttles (KIP-73).
    ThrottledReplicas,
}

/// A value of a setting, of the type that its [`Kind`] requires.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Not set: another setting decides.
    Null,
    /// A BOOLEAN.
    Bool(bool),
    /// A SHORT, INT or LONG.
    Int(i64),
    /// A DOUBLE.
    Double(f64),
    /// A STRING, or a word from a set.
    Text(String),
    /// A LIST, in its order.
    List(Vec<String>),
}

/// A text that is not a legal value of a setting. Worded as Kafka words it, because clients print it.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("Invalid value {value} for configuration {name}: {reason}")]
pub struct InvalidValue {
    /// The setting's name.
    pub name: &'static str,
    /// The text as given.
    pub value: String,
    /// The reason.
    pub reason: ValueError,
}

/// The reason why a text is not a legal value, with the legal values.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ValueError {
    /// Neither `true` nor `false`; upper and lower case are equal.
    #[error("Expected value to be either true or false")]
    NotBoolean,
    /// Not a number, or a number that Kafka's type of this name cannot hold.
    #[error("Not a number of type {0}")]
    NotNumber(&'static str),
    /// A number below its range.
    #[error("Value must be at least {min}")]
    BelowMin {
        /// The smallest legal value.
        min: Bound,
    },
    /// A number above its range.
    #[error("Value must be no more than {max}")]
    AboveMax {
        /// The largest legal value.
        max: Bound,
    },
    /// A number outside a range that has one exception.
    #[error("Value must be between {min} and {max} or equal to {or}")]
    OutsideRange {
        /// The smallest value of the range.
        min: i32,
        /// The largest value of the range.
        max: i32,
        /// The legal value outside the range.
        or: i32,
    },
    /// The text is empty after trimming.
    #[error("String must be non-empty")]
    Empty,
    /// Not a word from the set.
    #[error("String must be one of: {}", words.join(", "))]
    NotOneOf {
        /// The legal words.
        words: &'static [&'static str],
    },
    /// A word of the list is not in the set.
    #[error("'{word}' is not one of: {}", words.join(", "))]
    UnknownWord {
        /// The word.
        word: String,
        /// The legal words.
        words: &'static [&'static str],
    },
    /// Not a legal list of listeners.
    #[error(transparent)]
    Listeners(#[from] ListenerError),
    /// Not a legal map of listener names to protocols.
    #[error(transparent)]
    ProtocolMap(#[from] ProtocolMapError),
    /// Not a legal list of hosts with their limits.
    #[error(transparent)]
    HostLimits(#[from] HostLimitError),
    /// Neither `*` nor a list of `partition:broker`.
    #[error(
        "must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    )]
    NotThrottledReplicas,
}

/// The bound of a number's range.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound {
    /// The bound of a SHORT, INT or LONG.
    Int(i64),
    /// The bound of a DOUBLE.
    Double(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Int(bound) => write!(f, "{bound}"),
            Bound::Double(bound) => write!(f, "{bound}"),
        }
    }
}

/// An INT in `min..=max`.
pub const fn int(min: i32, max: i32) -> Kind {
    Kind::Int { min, max, or: None }
}

/// An INT of at least `min`.
pub const fn int_from(min: i32) -> Kind {
    int(min, i32::MAX)
}

/// An INT in `min..=max`, or `or`.
pub const fn int_or(or: i32, min: i32, max: i32) -> Kind {
    Kind::Int { min, max, or: Some(or) }
}

/// A SHORT of at least `min`.
pub const fn short_from(min: i16) -> Kind {
    Kind::Short { min, max: i16::MAX }
}

/// A LONG in `min..=max`.
pub const fn long(min: i64, max: i64) -> Kind {
    Kind::Long { min, max }
}

/// A LONG of at least `min`.
pub const fn long_from(min: i64) -> Kind {
    long(min, i64::MAX)
}

/// A DOUBLE in `min..=max`.
pub const fn double(min: f64, max: f64) -> Kind {
    Kind::Double { min, max }
}

impl Setting {
    /// The value that `text` spells.
    pub fn parse(&self, text: &str) -> Result<Value, InvalidValue> {
        self.kind.parse(text.trim()).map_err(|reason| InvalidValue { name: self.name, value: text.to_owned(), reason })
    }

    /// The value of a setting that is not set.
    pub fn default_value(&self) -> Value {
        match self.default {
            None => Value::Null,
            Some(text) => self.parse(text).expect("a default is a legal value; a test parses them all"),
        }
    }

    /// CONF-1: whether `value` is of this setting's type and in its range.
    pub fn is_legal(&self, value: &Value) -> bool {
        match value.to_text() {
            None => self.default.is_none(),
            Some(text) => self.parse(&text).as_ref() == Ok(value),
        }
    }

    /// The legal values, for help and documentation: `true|false`, `1..`, `one of a, b`.
    pub fn range(&self) -> String {
        self.kind.range()
    }
}

impl Kind {
    fn parse(self, text: &str) -> Result<Value, ValueError> {
        match self {
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(ValueError::NotBoolean),
            },
            Kind::Int { min, max, or } => {
                let value: i32 = number(text, "INT")?;
                match or {
                    Some(or) if value == or => {}
                    Some(or) if !(min..=max).contains(&value) => {
                        return Err(ValueError::OutsideRange { min, max, or });
                    }
                    _ => check_bounds(value.into(), min.into(), max.into())?,
                }
                Ok(Value::Int(value.into()))
            }
            Kind::Short { min, max } => {
                let value: i16 = number(text, "SHORT")?;
                check_bounds(value.into(), min.into(), max.into())?;
                Ok(Value::Int(value.into()))
            }
            Kind::Long { min, max } => {
                let value: i64 = number(text, "LONG")?;
                check_bounds(value, min, max)?;
                Ok(Value::Int(value))
            }
            Kind::Double { min, max } => {
                let value: f64 = number(text, "DOUBLE")?;
                match value {
                    _ if value.is_nan() => Err(ValueError::NotNumber("DOUBLE")),
                    _ if value < min => Err(ValueError::BelowMin { min: Bound::Double(min) }),
                    _ if value > max => Err(ValueError::AboveMax { max: Bound::Double(max) }),
                    _ => Ok(Value::Double(value)),
                }
            }
            Kind::Text if text.is_empty() => Err(ValueError::Empty),
            Kind::Text => Ok(Value::Text(text.into())),
            Kind::OneOf(words) if words.contains(&text) => Ok(Value::Text(text.into())),
            Kind::OneOf(words) => Err(ValueError::NotOneOf { words }),
            Kind::ListOf(words) => {
                let list = split(text);
                match list.iter().find(|word| !words.contains(&word.as_str())) {
                    Some(word) => Err(ValueError::UnknownWord { word: word.clone(), words }),
                    None => Ok(Value::List(without_repeats(list))),
                }
            }
            Kind::Listeners => {
                let list = split(text);
                Listener::parse_all(&list)?;
                Ok(Value::List(list))
            }
            Kind::ProtocolMap => {
                protocol::parse(text)?;
                Ok(Value::Text(text.into()))
            }
            Kind::HostLimits => {
                host_limits::parse(text)?;
                Ok(Value::Text(text.into()))
            }
            Kind::ThrottledReplicas => {
                let list = split(text);
                if list.iter().all(|word| is_throttled_replica(word))
                    && (list.len() < 2 || !list.iter().any(|word| word == "*"))
                {
                    Ok(Value::List(list))
                } else {
                    Err(ValueError::NotThrottledReplicas)
                }
            }
        }
    }

    fn range(self) -> String {
        fn span<T: fmt::Display + PartialEq>(min: T, max: T, low: T, high: T) -> String {
            match (min == low, max == high) {
                (true, true) => "any number".into(),
                (false, true) => format!("{min}.."),
                (true, false) => format!("..{max}"),
                (false, false) => format!("{min}..{max}"),
            }
        }
        match self {
            Kind::Boolean => "true|false".into(),
            Kind::Int { min, max, or } => {
                let range = span(min, max, i32::MIN, i32::MAX);
                or.map_or(range.clone(), |or| format!("{range} or {or}"))
            }
            Kind::Short { min, max } => span(min, max, i16::MIN, i16::MAX),
            Kind::Long { min, max } => span(min, max, i64::MIN, i64::MAX),
            Kind::Double { min, max } => span(min, max, f64::NEG_INFINITY, f64::INFINITY),
            Kind::Text => "text".into(),
            Kind::OneOf(words) => words.join("|"),
            Kind::ListOf(words) => format!("list of {}", words.join("|")),
            Kind::Listeners => "NAME://host:port,...".into(),
            Kind::ProtocolMap => "NAME:PROTOCOL,...".into(),
            Kind::HostLimits => "host:count,...".into(),
            Kind::ThrottledReplicas => "* or partition:broker,...".into(),
        }
    }

    /// Whether a value is a whole number.
    pub fn is_whole_number(self) -> bool {
        matches!(self, Kind::Int { .. } | Kind::Short { .. } | Kind::Long { .. })
    }

    /// Kafka's code of the type in DescribeConfigs v3 and up.
    pub fn wire_type(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::Text | Kind::OneOf(_) | Kind::ProtocolMap | Kind::HostLimits => 2,
            Kind::Int { .. } => 3,
            Kind::Short { .. } => 4,
            Kind::Long { .. } => 5,
            Kind::Double { .. } => 6,
            Kind::ListOf(_) | Kind::Listeners | Kind::ThrottledReplicas => 7,
        }
    }
}

fn number<T: FromStr>(text: &str, kafka_type: &'static str) -> Result<T, ValueError> {
    text.parse().map_err(|_| ValueError::NotNumber(kafka_type))
}

fn check_bounds(value: i64, min: i64, max: i64) -> Result<(), ValueError> {
    match value {
        _ if value < min => Err(ValueError::BelowMin { min: Bound::Int(min) }),
        _ if value > max => Err(ValueError::AboveMax { max: Bound::Int(max) }),
        _ => Ok(()),
    }
}

/// The words between the commas, trimmed. An empty text is an empty list.
fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The list without repeated words, as in Kafka.
fn without_repeats(list: Vec<String>) -> Vec<String> {
    let mut words: Vec<String> = Vec::with_capacity(list.len());
    for word in list {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

fn is_throttled_replica(word: &str) -> bool {
    let is_id = |id: &str| id.parse::<i32>().is_ok_and(|id| id >= 0);
    word == "*" || word.split_once(':').is_some_and(|(partition, broker)| is_id(partition) && is_id(broker))
}

/// As Kafka prints it in DescribeConfigs. Null has no text there; it prints as `null` here.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            // Java's Double.toString: an "E" in large and small numbers, and ".0" in whole ones.
            Value::Double(value) if *value == 0.0 || (1e-3..1e7).contains(&value.abs()) => write!(f, "{value:?}"),
            Value::Double(value) => {
                let text = format!("{value:E}");
                match text.split_once('E') {
                    Some((digits, exponent)) if !digits.contains('.') => write!(f, "{digits}.0E{exponent}"),
                    _ => f.write_str(&text),
                }
            }
            Value::Text(value) => f.write_str(value),
            Value::List(words) => f.write_str(&words.join(",")),
        }
    }
}

impl Value {
    /// The text of the value, or `None` for null.
    pub fn to_text(&self) -> Option<String> {
        (*self != Value::Null).then(|| self.to_string())
    }
}

/// Converts a value that its setting's [`Kind`] has checked (CONF-1) into the Rust type of a field.
pub trait FromValue: Sized {
    /// Panics if the value is of another type: the table then names the wrong one.
    fn from_value(value: &Value) -> Self;
}

macro_rules! from_value {
    ($($type:ty: $pattern:pat => $make:expr;)*) => {
        $(impl FromValue for $type {
            fn from_value(value: &Value) -> Self {
                match value {
                    $pattern => $make,
                    other => panic!("CONF-1: {other:?} is not a {}: the table names the wrong type", stringify!($type)),
                }
            }
        })*
    };
}

from_value! {
    bool: Value::Bool(value) => *value;
    i64: Value::Int(value) => *value;
    i16: Value::Int(value) => i16::try_from(*value).expect("a SHORT");
    i32: Value::Int(value) => i32::try_from(*value).expect("an INT");
    u64: Value::Int(value) => u64::try_from(*value).expect("a range from 0");
    u32: Value::Int(value) => u32::try_from(*value).expect("a range within u32");
    u16: Value::Int(value) => u16::try_from(*value).expect("a range within u16");
    usize: Value::Int(value) => usize::try_from(*value).expect("a range from 0");
    f64: Value::Double(value) => *value;
    String: Value::Text(value) => value.clone();
    Vec<String>: Value::List(value) => value.clone();
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Self {
        (*value != Value::Null).then(|| T::from_value(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, text: &str, expected: Result<Value, &str>) {
        let setting = Setting { name: "x", kind, default: None, doc: "" };
        let got = setting.parse(text);
        match expected {
            Ok(value) => assert_eq!(got, Ok(value), "{text}"),
            Err(reason) => {
                let error = got.expect_err(text).to_string();
                assert!(error.contains(reason) && error.contains(&format!("Invalid value {text} ")), "{error}");
            }
        }
    }

    #[test]
    fn a_text_becomes_a_value_or_the_error_names_the_legal_values() {
        check(Kind::Boolean, "TRUE", Ok(Value::Bool(true)));
        check(Kind::Boolean, "yes", Err("either true or false"));
        check(int(1, 9), " 3 ", Ok(Value::Int(3)));
        check(int(1, 9), "0", Err("at least 1"));
        check(int(1, 9), "10", Err("no more than 9"));
        check(int(1, 9), "3000000000", Err("type INT"));
        check(short_from(1), "32767", Ok(Value::Int(32_767)));
        check(short_from(1), "32768", Err("type SHORT"));
        check(short_from(1), "0", Err("at least 1"));
        check(int_or(-1, 1, 9), "-1", Ok(Value::Int(-1)));
        check(int_or(-1, 1, 9), "0", Err("between 1 and 9 or equal to -1"));
        check(long_from(-1), "3000000000", Ok(Value::Int(3_000_000_000)));
        check(long_from(-1), "-2", Err("at least -1"));
        check(long_from(-1), "1.5", Err("type LONG"));
        check(double(0.0, 1.0), "0.25", Ok(Value::Double(0.25)));
        check(double(0.0, 1.0), "NaN", Err("type DOUBLE"));
        check(double(0.0, 1.0), "1.01", Err("no more than 1"));
        check(Kind::Text, "", Err("non-empty"));
        check(Kind::OneOf(&["a", "b"]), "a", Ok(Value::Text("a".into())));
        check(Kind::OneOf(&["a", "b"]), "c", Err("one of: a, b"));
        check(Kind::ListOf(&["a", "b"]), "b, a", Ok(Value::List(vec!["b".into(), "a".into()])));
        check(Kind::ListOf(&["a", "b"]), "", Ok(Value::List(vec![])));
        check(Kind::ListOf(&["a", "b"]), "a,c", Err("'c' is not one of"));
        check(Kind::ListOf(&["a", "b"]), "a,b,a", Ok(Value::List(vec!["a".into(), "b".into()])));
        check(Kind::ThrottledReplicas, "0:1,1:2", Ok(Value::List(vec!["0:1".into(), "1:2".into()])));
        check(Kind::ThrottledReplicas, "*", Ok(Value::List(vec!["*".into()])));
        check(Kind::ThrottledReplicas, "0-1", Err("literal '*'"));
        check(Kind::ThrottledReplicas, "*,0:1", Err("literal '*'"));
    }

    /// CONF-1
    #[test]
    fn a_value_of_another_type_or_out_of_range_is_not_legal() {
        let setting = Setting { name: "x", kind: int_or(-1, 1, 9), default: Some("1"), doc: "" };
        for (value, expected) in [
            (Value::Int(9), true),
            (Value::Int(-1), true),
            (Value::Int(10), false),
            (Value::Text("9".into()), false),
            (Value::Null, false),
        ] {
            assert_eq!(setting.is_legal(&value), expected, "{value:?}");
        }
        assert!(Setting { default: None, ..setting }.is_legal(&Value::Null));
    }

    #[test]
    fn values_print_as_kafka_prints_them() {
        for (value, text) in [
            (Value::Double(1.0), "1.0"),
            (Value::Double(0.5), "0.5"),
            (Value::Double(1e7), "1.0E7"),
            (Value::Double(f64::MAX), "1.7976931348623157E308"),
            (Value::Int(-1), "-1"),
            (Value::Bool(false), "false"),
            (Value::List(vec!["compact".into(), "delete".into()]), "compact,delete"),
        ] {
            assert_eq!(value.to_text().as_deref(), Some(text));
        }
        assert_eq!(Value::Null.to_text(), None);
    }
}
