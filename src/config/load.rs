//! Reads a TOML file and `--set key=value` words into a [`BrokerConfig`], or into a list of all problems.
//!
//! `"log.retention.ms" = 1`, `log.retention.ms = 1` and `[log.retention]` over `ms = 1` are the same setting. A `--set`
//! overrides the file, and a later `--set` overrides an earlier one.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::broker::{BrokerConfig, SETTINGS, setting};
use super::consistency::{Contradiction, contradictions};
use super::nearest::nearest;
use super::setting::{InvalidValue, Value};

/// The text of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file's name in messages.
    pub name: &'a str,
    /// Its content, as TOML.
    pub text: &'a str,
}

/// Every problem of a configuration, not only the first. Prints one line each.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub struct LoadError {
    /// In the order of the files, then of the checks between settings.
    pub problems: Vec<LocatedProblem>,
}

/// A problem and its place in the configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct LocatedProblem {
    /// `tidemill.toml:12`, `--set num.partitions=0`, or `default`.
    pub place: String,
    /// The problem.
    pub problem: Problem,
}

/// One fault of a configuration.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Problem {
    /// The text is not TOML.
    #[error("not TOML: {reason}{}", if *names_overlap { OVERLAP_HINT } else { "" })]
    NotToml {
        /// The message of the parser.
        reason: String,
        /// The text gives one name to a value and to a table, as in `max.connections` and `max.connections.per.ip`.
        names_overlap: bool,
    },
    /// A file sets a name twice.
    #[error("{name} was set before, at {earlier}")]
    SetTwice {
        /// The setting.
        name: String,
        /// The place of the first assignment.
        earlier: String,
    },
    /// The word after `--set` has no `=`.
    #[error("expected key=value")]
    NotAnAssignment,
    /// No setting has the name.
    #[error("unknown setting {name}{hint}")]
    UnknownSetting {
        /// The name.
        name: String,
        /// A suggestion.
        hint: Hint,
    },
    /// The value is not legal for its setting.
    #[error(transparent)]
    InvalidValue(#[from] InvalidValue),
    /// The TOML value has no text form.
    #[error("{name}: {error}")]
    NotPlain {
        /// The setting.
        name: String,
        /// The reason.
        error: NotPlain,
    },
    /// The value is legal, but not together with another setting.
    #[error("{}: {_0}", _0.setting())]
    Contradiction(Contradiction),
}

/// Why a TOML value has no counterpart in a `--set`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotPlain {
    /// A number beyond TOML's 64 bits.
    #[error("{number} is too large")]
    TooLarge {
        /// The number as written.
        number: String,
    },
    /// A list in a list, or a table in a list.
    #[error("expected a list of plain values")]
    NestedList,
    /// A table or a date in place of a value.
    #[error("expected a plain value")]
    Table,
}

/// The settings that an unknown name most likely meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hint {
    /// No name is near.
    Nothing,
    /// The name is this one with a typing error.
    Nearest(&'static str),
    /// The name is the first part of these.
    PrefixOf(Vec<&'static str>),
}

const OVERLAP_HINT: &str = "; write such names in quotes: \"max.connections.per.ip\" = 1";

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Nothing => Ok(()),
            Hint::Nearest(name) => write!(f, "; did you mean {name}?"),
            Hint::PrefixOf(names) => write!(f, "; did you mean one of {}?", names.join(", ")),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, LocatedProblem { place, problem }) in self.problems.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{place}: {problem}")?;
        }
        Ok(())
    }
}

/// Reads the settings. `sets` are the arguments of `--set`.
pub fn load(file: Option<Source<'_>>, sets: &[String]) -> Result<BrokerConfig, LoadError> {
    let mut loader = Loader::default();
    if let Some(source) = file {
        loader.read_file(source);
    }
    for set in sets {
        loader.read_set(set);
    }
    let Loader { given, places, mut problems } = loader;
    if problems.is_empty() {
        let config = BrokerConfig::from_given(given);
        for contradiction in contradictions(&config) {
            let place = places.get(contradiction.setting()).cloned().unwrap_or_else(|| "default".into());
            problems.push(LocatedProblem { place, problem: Problem::Contradiction(contradiction) });
        }
        if problems.is_empty() {
            return Ok(config);
        }
    }
    Err(LoadError { problems })
}

#[derive(Default)]
struct Loader {
    given: BTreeMap<&'static str, Value>,
    /// The place in the configuration that set each of `given`.
    places: BTreeMap<&'static str, String>,
    problems: Vec<LocatedProblem>,
}

impl Loader {
    fn read_file(&mut self, source: Source<'_>) {
        let place = |at: usize| {
            let line = 1 + source.text.as_bytes().iter().take(at).filter(|&&c| c == b'\n').count();
            format!("{}:{line}", source.name)
        };
        match DeTable::parse(source.text) {
            Ok(table) => self.read_table("", table.get_ref(), &place),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                // In TOML, max.connections and max.connections.per.ip give one name to a number and to a table.
                let names_overlap = error.message().contains("dotted key");
                let reason = error.message().trim().to_owned();
                self.report(place(at), Problem::NotToml { reason, names_overlap });
            }
        }
    }

    fn read_table(&mut self, prefix: &str, table: &DeTable<'_>, place: &dyn Fn(usize) -> String) {
        // In the order of the file, so that the messages are in that order too.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            let at = place(key.span().start);
            if let DeValue::Table(inner) = value.get_ref() {
                self.read_table(&name, inner, place);
                continue;
            }
            let earlier = setting(&name).and_then(|row| self.places.get(row.name)).cloned();
            match (text_of(value), earlier) {
                (Err(error), _) => self.report(at, Problem::NotPlain { name, error }),
                (Ok(_), Some(earlier)) => self.report(at, Problem::SetTwice { name, earlier }),
                (Ok(text), None) => self.set(&name, &text, at),
            }
        }
    }

    fn read_set(&mut self, set: &str) {
        let place = format!("--set {set}");
        match set.split_once('=') {
            Some((name, text)) => self.set(name.trim(), text, place),
            None => self.report(place, Problem::NotAnAssignment),
        }
    }

    fn set(&mut self, name: &str, text: &str, place: String) {
        let Some(row) = setting(name) else {
            return self.report(place, Problem::UnknownSetting { name: name.to_owned(), hint: hint(name) });
        };
        match row.parse(text) {
            Ok(value) => {
                self.given.insert(row.name, value);
                self.places.insert(row.name, place);
            }
            Err(invalid) => self.report(place, invalid.into()),
        }
    }

    fn report(&mut self, place: String, problem: Problem) {
        self.problems.push(LocatedProblem { place, problem });
    }
}

fn hint(name: &str) -> Hint {
    let names = || SETTINGS.iter().map(|setting| setting.name);
    let within: Vec<&str> =
        names().filter(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))).collect();
    if !within.is_empty() {
        return Hint::PrefixOf(within);
    }
    nearest(name, names()).map_or(Hint::Nothing, Hint::Nearest)
}

/// A TOML value as the text that a `--set` would have. An array becomes a comma-separated list.
fn text_of(value: &Spanned<DeValue<'_>>) -> Result<String, NotPlain> {
    Ok(match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| NotPlain::TooLarge { number: number.to_string() })?
            .to_string(),
        DeValue::Float(number) => number.as_str().into(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::Array(_) | DeValue::Table(_) => Err(NotPlain::NestedList),
                _ => text_of(item),
            });
            texts.collect::<Result<Vec<_>, _>>()?.join(",")
        }
        DeValue::Table(_) => return Err(NotPlain::Table),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Routing;

    fn file(text: &str) -> Result<BrokerConfig, LoadError> {
        load(Some(Source { name: "t.toml", text }), &[])
    }

    fn check_error(got: Result<BrokerConfig, LoadError>, expected: &[&str]) {
        let lines: Vec<String> = got.expect_err("an error").to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected), "{line:?} does not contain {expected:?}");
        }
    }

    #[test]
    fn nested_dotted_and_quoted_keys_are_the_same_setting() {
        for text in [
            "[log.retention]\nms = 7",
            "log.retention.ms = 7",
            "\"log.retention.ms\" = 7",
            "[log]\n\"retention.ms\" = \"7\"",
        ] {
            assert_eq!(file(text).unwrap().log_retention_ms, Some(7), "{text}");
        }
    }

    #[test]
    fn values_may_have_any_toml_form() {
        let config = file(
            "node.id = 0x10\nrouting = \"forward\"\nflush.ack = false\nlog.cleanup.policy = [\"compact\", \"delete\"]\n\
             journal.bytes = 134_217_728\nlog.cleaner.min.cleanable.ratio = 0.25\n\
             listeners = [\"IN://:9092\", \"OUT://:9093\"]\nadvertised.listeners = \"IN://a:1, OUT://b:2\"",
        )
        .unwrap();
        assert_eq!((config.node_id, config.routing, config.flush_ack), (16, Routing::Forward, false));
        assert_eq!((config.journal_bytes, config.log_cleaner_min_cleanable_ratio), (128 << 20, 0.25));
        assert_eq!(config.log_cleanup_policy, ["compact", "delete"]);
        assert_eq!(config.advertised()[1].to_string(), "OUT://b:2");
        assert!(config.is_given("node.id") && !config.is_given("num.partitions"));
    }

    #[test]
    fn a_set_overrides_the_file_and_earlier_sets() {
        let source = Source { name: "t.toml", text: "num.partitions = 2" };
        let sets = ["num.partitions=3".into(), "num.partitions=4".into()];
        assert_eq!(load(Some(source), &sets).unwrap().num_partitions, 4);
        assert_eq!(load(Some(source), &[]).unwrap().num_partitions, 2);
    }

    #[test]
    fn an_unknown_setting_is_rejected_with_the_nearest_name_and_its_place() {
        check_error(
            file("\n[log]\nretension.ms = 1"),
            &["t.toml:3: unknown setting log.retension.ms; did you mean log.retention.ms?"],
        );
        check_error(
            load(None, &["num.partition=1".into()]),
            &["--set num.partition=1: unknown setting num.partition; did you mean num.partitions?"],
        );
        check_error(file("quux = 1"), &["t.toml:1: unknown setting quux"]);
        check_error(file("log.roll = 1"), &["did you mean one of log.roll.ms, log.roll.hours, log.roll.jitter.ms"]);
    }

    #[test]
    fn every_problem_is_reported_with_its_place_and_the_legal_values() {
        check_error(
            file("num.partitions = 0\nflush.ack = \"maybe\"\n\nrouting = \"sideways\"\nnode.id = [[1]]"),
            &[
                "t.toml:1: Invalid value 0 for configuration num.partitions: Value must be at least 1",
                "t.toml:2: Invalid value maybe for configuration flush.ack: Expected value to be either true or false",
                "t.toml:4: Invalid value sideways for configuration routing: String must be one of: direct, steer, ",
                "t.toml:5: node.id: expected a list of plain values",
            ],
        );
        check_error(file("a = = 1"), &["t.toml:1: not TOML"]);
        check_error(
            file("max.connections = 1\nmax.connections.per.ip = 1"),
            &["t.toml:2: not TOML: cannot extend value"],
        );
        check_error(file("max.connections = 1\nmax.connections.per.ip = 1"), &["write such names in quotes"]);
        assert!(file("max.connections = 2\n\"max.connections.per.ip\" = 1").is_ok());
        check_error(load(None, &["num.partitions".into()]), &["--set num.partitions: expected key=value"]);
    }

    #[test]
    fn a_setting_given_twice_in_the_file_is_rejected() {
        check_error(
            file("num.partitions = 1\n\"num.partitions\" = 2"),
            &["t.toml:2: num.partitions was set before, at t.toml:1"],
        );
    }

    #[test]
    fn settings_that_contradict_each_other_are_rejected() {
        for (text, expected) in [
            ("listeners = \"PLAINTEXT://0.0.0.0:9092\"", "clients cannot connect to PLAINTEXT://0.0.0.0:9092"),
            ("listeners = \"SSL://a:9092\"", "only plain listeners are supported"),
            ("listeners = \"A://a:1,B://a:1\"", "the port 1 appears twice"),
            ("advertised.listeners = \"OUT://a:1\"", "advertises a name that is not in listeners"),
            ("listeners = \"A://a:65530\"\nshards = 8", "no room for 8 ports"),
            ("journal.bytes = 134217729", "such as 134217728"),
            ("log.dirs = \"a,b\"", "keeps its data in one"),
            ("log.cleaner.io.buffer.load.factor = 0.0", "must be above 0"),
            ("log.cleaner.io.buffer.size = 33554433", "a sixteenth of memory.bytes"),
            ("message.max.bytes = 2000\nsocket.request.max.bytes = 1024", "no request could carry it"),
        ] {
            check_error(file(text), &[expected]);
        }
        assert!(file("listeners = \"A://:9092\"\nadvertised.listeners = \"A://b:9092\"").is_ok());
        for routing in ["forward", "steer"] {
            assert!(file(&format!("listeners = \"A://a:65530\"\nshards = 8\nrouting = \"{routing}\"")).is_ok());
        }
        let template = "advertised.listeners = \"PLAINTEXT://k-{shard}.example:9092\"\nrouting = ";
        assert!(file(&format!("{template}\"steer\"")).is_ok() && file(&format!("{template}\"direct\"")).is_ok());
        check_error(file(&format!("{template}\"forward\"")), &["{shard} in the host of", "routing=steer"]);
    }

    #[test]
    fn a_contradiction_is_reported_at_the_place_of_its_setting() {
        check_error(file("\njournal.bytes = 134217729"), &["t.toml:2: journal.bytes: must be a multiple"]);
        check_error(load(None, &["log.dirs=a,b".into()]), &["--set log.dirs=a,b: log.dirs: several"]);
    }
}
