//! A TOML file and `--set key=value` words become a [`BrokerConfig`], or a list of everything that is wrong with them.
//!
//! `"log.retention.ms" = 1`, `log.retention.ms = 1` and `[log.retention]` over `ms = 1` are the same setting. A `--set` wins over
//! the file, and a later `--set` over an earlier one.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::broker::{BrokerConfig, SETTINGS, setting};
use super::nearest::nearest;
use super::setting::Value;

/// A configuration file's text and the name to call it by in messages.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// Everything that is wrong, not only the first thing. Prints one line each.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Fault {
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// `tidemill.toml:12`, `--set num.partitions=0`, or empty when no one place is at fault.
    pub place: String,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {}", problem.place, problem.message)?;
        }
        Ok(())
    }
}

/// Reads the settings; `sets` are the words after `--set`.
pub fn load(file: Option<Source<'_>>, sets: &[String]) -> Result<BrokerConfig, Fault> {
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
        for (name, message) in config.contradictions() {
            let place = places.get(name).cloned().unwrap_or_else(|| "default".into());
            problems.push(Problem { place, message: format!("{name}: {message}") });
        }
        if problems.is_empty() {
            return Ok(config);
        }
    }
    Err(Fault { problems })
}

#[derive(Default)]
struct Loader {
    given: BTreeMap<&'static str, Value>,
    /// Where each of `given` comes from.
    places: BTreeMap<&'static str, String>,
    problems: Vec<Problem>,
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
                // TOML takes max.connections and max.connections.per.ip for a number and a table of one name.
                let is_both = error.message().contains("dotted key");
                let hint = if is_both { "; write such names in quotes: \"max.connections.per.ip\" = 1" } else { "" };
                let message = format!("not TOML: {}{hint}", error.message().trim());
                self.problems.push(Problem { place: place(at), message });
            }
        }
    }

    fn read_table(&mut self, prefix: &str, table: &DeTable<'_>, place: &dyn Fn(usize) -> String) {
        // In the order of the file, so that messages are too.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            let at = place(key.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => self.read_table(&name, inner, place),
                _ => match text_of(value) {
                    Ok(text) => {
                        if let Some(earlier) = setting(&name).and_then(|row| self.places.get(row.name)) {
                            let message = format!("{name} was set before, at {earlier}");
                            self.problems.push(Problem { place: at, message });
                        } else {
                            self.give(&name, &text, at);
                        }
                    }
                    Err(message) => self.problems.push(Problem { place: at, message: format!("{name}: {message}") }),
                },
            }
        }
    }

    fn read_set(&mut self, set: &str) {
        let place = format!("--set {set}");
        match set.split_once('=') {
            Some((name, text)) => self.give(name.trim(), text, place),
            None => self.problems.push(Problem { place, message: "expected key=value".into() }),
        }
    }

    fn give(&mut self, name: &str, text: &str, place: String) {
        let message = match setting(name) {
            None => format!("unknown setting {name}{}", hint(name)),
            Some(row) => match row.parse(text) {
                Ok(value) => {
                    self.given.insert(row.name, value);
                    self.places.insert(row.name, place);
                    return;
                }
                Err(invalid) => invalid.to_string(),
            },
        };
        self.problems.push(Problem { place, message });
    }
}

/// What the reader probably meant by `name`.
fn hint(name: &str) -> String {
    let names = || SETTINGS.iter().map(|setting| setting.name);
    let within: Vec<&str> =
        names().filter(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))).collect();
    if !within.is_empty() {
        return format!("; did you mean one of {}?", within.join(", "));
    }
    nearest(name, names()).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}

/// A TOML value as the text that a `--set` would have; arrays become comma-separated lists.
fn text_of(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    Ok(match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| format!("{number} is too large"))?
            .to_string(),
        DeValue::Float(number) => number.as_str().into(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::Array(_) | DeValue::Table(_) => Err("expected a list of plain values".to_owned()),
                _ => text_of(item),
            });
            texts.collect::<Result<Vec<_>, _>>()?.join(",")
        }
        DeValue::Table(_) => return Err("expected a plain value".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Routing;

    fn file(text: &str) -> Result<BrokerConfig, Fault> {
        load(Some(Source { name: "t.toml", text }), &[])
    }

    fn check_fault(got: Result<BrokerConfig, Fault>, expected: &[&str]) {
        let lines: Vec<String> = got.expect_err("a fault").to_string().lines().map(str::to_owned).collect();
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
    fn values_may_be_written_in_any_toml_way() {
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
    fn a_set_wins_over_the_file_and_a_later_one_over_an_earlier_one() {
        let source = Source { name: "t.toml", text: "num.partitions = 2" };
        let sets = ["num.partitions=3".into(), "num.partitions=4".into()];
        assert_eq!(load(Some(source), &sets).unwrap().num_partitions, 4);
        assert_eq!(load(Some(source), &[]).unwrap().num_partitions, 2);
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_nearest_name_and_its_place() {
        check_fault(
            file("\n[log]\nretension.ms = 1"),
            &["t.toml:3: unknown setting log.retension.ms; did you mean log.retention.ms?"],
        );
        check_fault(
            load(None, &["num.partition=1".into()]),
            &["--set num.partition=1: unknown setting num.partition; did you mean num.partitions?"],
        );
        check_fault(file("quux = 1"), &["t.toml:1: unknown setting quux"]);
        check_fault(file("log.roll = 1"), &["did you mean one of log.roll.ms, log.roll.hours, log.roll.jitter.ms"]);
    }

    #[test]
    fn every_fault_is_told_with_its_place_and_what_would_be_right() {
        check_fault(
            file("num.partitions = 0\nflush.ack = \"maybe\"\n\nrouting = \"sideways\"\nnode.id = [[1]]"),
            &[
                "t.toml:1: Invalid value 0 for configuration num.partitions: Value must be at least 1",
                "t.toml:2: Invalid value maybe for configuration flush.ack: Expected value to be either true or false",
                "t.toml:4: Invalid value sideways for configuration routing: String must be one of: direct, forward",
                "t.toml:5: node.id: expected a list of plain values",
            ],
        );
        check_fault(file("a = = 1"), &["t.toml:1: not TOML"]);
        check_fault(
            file("max.connections = 1\nmax.connections.per.ip = 1"),
            &["t.toml:2: not TOML: cannot extend value"],
        );
        check_fault(file("max.connections = 1\nmax.connections.per.ip = 1"), &["write such names in quotes"]);
        assert!(file("max.connections = 2\n\"max.connections.per.ip\" = 1").is_ok());
        check_fault(load(None, &["num.partitions".into()]), &["--set num.partitions: expected key=value"]);
    }

    #[test]
    fn a_setting_given_twice_in_the_file_is_refused() {
        check_fault(
            file("num.partitions = 1\n\"num.partitions\" = 2"),
            &["t.toml:2: num.partitions was set before, at t.toml:1"],
        );
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for (text, expected) in [
            ("listeners = \"PLAINTEXT://0.0.0.0:9092\"", "clients cannot connect to PLAINTEXT://0.0.0.0:9092"),
            ("listeners = \"SSL://a:9092\"", "only plain listeners exist so far"),
            ("listeners = \"A://a:1,B://a:1\"", "the port 1 appears twice"),
            ("advertised.listeners = \"OUT://a:1\"", "advertises a name that is not in listeners"),
            ("listeners = \"A://a:65530\"\nshards = 8", "no room for 8 ports"),
            ("journal.bytes = 134217729", "such as 134217728"),
            ("log.dirs = \"a,b\"", "keeps its data in one"),
            ("log.cleaner.io.buffer.load.factor = 0.0", "must be above 0"),
            ("log.cleaner.io.buffer.size = 33554433", "a sixteenth of memory.bytes"),
            ("message.max.bytes = 2000\nsocket.request.max.bytes = 1024", "no request could carry it"),
        ] {
            check_fault(file(text), &[expected]);
        }
        assert!(file("listeners = \"A://:9092\"\nadvertised.listeners = \"A://b:9092\"").is_ok());
        assert!(file("listeners = \"A://a:65530\"\nshards = 8\nrouting = \"forward\"").is_ok());
    }

    #[test]
    fn a_contradiction_is_told_at_the_place_of_its_setting() {
        check_fault(file("\njournal.bytes = 134217729"), &["t.toml:2: journal.bytes: must be a multiple"]);
        check_fault(load(None, &["log.dirs=a,b".into()]), &["--set log.dirs=a,b: log.dirs: several"]);
    }
}
