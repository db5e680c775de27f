//! One setting: what it is called, which values it takes, and how a text becomes such a value.

use std::fmt;

use super::listener::Listener;

/// One row of a table of settings.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be written in a file; `None` is Kafka's null: not set, and something else decides.
    pub default: Option<&'static str>,
    /// One line for help, documentation and DescribeConfigs.
    pub doc: &'static str,
}

/// The values a setting takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    Boolean,
    /// Kafka's INT: `min..=max`, or the one value `or` outside of it.
    Int {
        min: i32,
        max: i32,
        or: Option<i32>,
    },
    /// Kafka's SHORT.
    Short {
        min: i16,
        max: i16,
    },
    /// Kafka's LONG.
    Long {
        min: i64,
        max: i64,
    },
    /// Kafka's DOUBLE.
    Double {
        min: f64,
        max: f64,
    },
    Text,
    /// Exactly one of these words.
    OneOf(&'static [&'static str]),
    /// A comma-separated list of these words; may be empty.
    ListOf(&'static [&'static str]),
    /// `NAME://host:port,...`
    Listeners,
    /// `*`, or `partition:broker,...`: whose replication a quota slows down (KIP-73).
    ThrottledReplicas,
}

/// A value of a setting, of the type its kind asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

/// A value that a setting does not take. Worded as Kafka does, since clients print it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Invalid value {value} for configuration {name}: {reason}")]
pub struct Invalid {
    pub name: &'static str,
    pub value: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

pub const fn int(min: i32, max: i32) -> Kind {
    Kind::Int { min, max, or: None }
}

pub const fn int_from(min: i32) -> Kind {
    int(min, i32::MAX)
}

pub const fn int_or(or: i32, min: i32, max: i32) -> Kind {
    Kind::Int { min, max, or: Some(or) }
}

pub const fn short_from(min: i16) -> Kind {
    Kind::Short { min, max: i16::MAX }
}

pub const fn long(min: i64, max: i64) -> Kind {
    Kind::Long { min, max }
}

pub const fn long_from(min: i64) -> Kind {
    long(min, i64::MAX)
}

pub const fn double(min: f64, max: f64) -> Kind {
    Kind::Double { min, max }
}

impl Setting {
    /// The value that `text` stands for.
    pub fn parse(&self, text: &str) -> Result<Value, Invalid> {
        self.kind.parse(text.trim()).map_err(|reason| Invalid { name: self.name, value: text.to_owned(), reason })
    }

    /// What holds when nobody set it.
    pub fn default_value(&self) -> Value {
        match self.default {
            None => Value::Null,
            Some(text) => self.parse(text).expect("a default is a legal value; a test parses them all"),
        }
    }

    /// `true|false`, `1..`, `one of a, b`: for help and documentation.
    pub fn range(&self) -> String {
        self.kind.range()
    }
}

impl Kind {
    fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err("Expected value to be either true or false".into()),
            },
            Kind::Int { min, max, or } => {
                let value: i32 = text.parse().map_err(|_| "Not a number of type INT".to_owned())?;
                if or != Some(value) {
                    self.check_bounds(value < min, value > max)?;
                }
                Ok(Value::Int(value.into()))
            }
            Kind::Short { min, max } => {
                let value: i16 = text.parse().map_err(|_| "Not a number of type SHORT".to_owned())?;
                self.check_bounds(value < min, value > max)?;
                Ok(Value::Int(value.into()))
            }
            Kind::Long { min, max } => {
                let value: i64 = text.parse().map_err(|_| "Not a number of type LONG".to_owned())?;
                self.check_bounds(value < min, value > max)?;
                Ok(Value::Int(value))
            }
            Kind::Double { min, max } => {
                let value: f64 = text.parse().map_err(|_| "Not a number of type DOUBLE".to_owned())?;
                if value.is_nan() {
                    return Err("Not a number of type DOUBLE".into());
                }
                self.check_bounds(value < min, value > max)?;
                Ok(Value::Double(value))
            }
            Kind::Text if text.is_empty() => Err("String must be non-empty".into()),
            Kind::Text => Ok(Value::Text(text.into())),
            Kind::OneOf(words) if words.contains(&text) => Ok(Value::Text(text.into())),
            Kind::OneOf(words) => Err(format!("String must be one of: {}", words.join(", "))),
            Kind::ListOf(words) => {
                let list = split(text);
                match list.iter().find(|word| !words.contains(&word.as_str())) {
                    Some(word) => Err(format!("'{word}' is not one of: {}", words.join(", "))),
                    None => Ok(Value::List(without_repeats(list))),
                }
            }
            Kind::Listeners => {
                let list = split(text);
                Listener::parse_all(&list)?;
                Ok(Value::List(list))
            }
            Kind::ThrottledReplicas => {
                let list = split(text);
                if list.iter().all(|word| is_throttled_replica(word))
                    && (list.len() < 2 || !list.iter().any(|w| w == "*"))
                {
                    Ok(Value::List(list))
                } else {
                    Err("must be the literal '*' or a list of replicas in the following format: \
                         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                        .into())
                }
            }
        }
    }

    fn check_bounds(self, is_below: bool, is_above: bool) -> Result<(), String> {
        let (min, max) = match self {
            Kind::Int { min, max, .. } => (min.to_string(), max.to_string()),
            Kind::Short { min, max } => (min.to_string(), max.to_string()),
            Kind::Long { min, max } => (min.to_string(), max.to_string()),
            Kind::Double { min, max } => (min.to_string(), max.to_string()),
            _ => unreachable!("only numbers have bounds"),
        };
        if let Kind::Int { or: Some(or), .. } = self
            && (is_below || is_above)
        {
            return Err(format!("Value must be between {min} and {max} or equal to {or}"));
        }
        match (is_below, is_above) {
            (true, _) => Err(format!("Value must be at least {min}")),
            (_, true) => Err(format!("Value must be no more than {max}")),
            _ => Ok(()),
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
            Kind::ThrottledReplicas => "* or partition:broker,...".into(),
        }
    }

    /// Kafka's number for the type, in DescribeConfigs v3 and up.
    pub fn wire_type(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::Text | Kind::OneOf(_) => 2,
            Kind::Int { .. } => 3,
            Kind::Short { .. } => 4,
            Kind::Long { .. } => 5,
            Kind::Double { .. } => 6,
            Kind::ListOf(_) | Kind::Listeners | Kind::ThrottledReplicas => 7,
        }
    }
}

/// The words between the commas, without blanks around them; an empty text is an empty list.
fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A word that appears twice counts once, as in Kafka.
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

/// As Kafka prints it: what DescribeConfigs answers. Null has no text; it prints as `null`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            // As Java's Double.toString: an "E" for what is large or small, and a ".0" where there is no fraction.
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
    /// The text that stands for it, or `None` for null.
    pub fn to_text(&self) -> Option<String> {
        (*self != Value::Null).then(|| self.to_string())
    }
}

/// A field's Rust type, made from a value that was checked against the setting's kind.
pub trait FromValue: Sized {
    fn from_value(value: &Value) -> Self;
}

macro_rules! from_value {
    ($($type:ty: $pattern:pat => $make:expr;)*) => {
        $(impl FromValue for $type {
            fn from_value(value: &Value) -> Self {
                match value { $pattern => $make, other => panic!("{other:?} is not a {}: the table names the wrong type", stringify!($type)) }
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
    fn a_text_becomes_a_value_of_its_kind_or_says_what_would_be_right() {
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
