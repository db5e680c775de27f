//! Reads a file, the environment and the arguments into a [`BrokerConfig`], or into a list of all problems.
//!
//! An argument overrides the environment, the environment overrides the file, and the file overrides the default. A
//! later argument overrides an earlier one. The file is TOML or in the format of Kafka's `server.properties`. In TOML,
//! `"log.retention.ms" = 1`, `log.retention.ms = 1` and `[log.retention]` over `ms = 1` are the same setting.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::broker::{BrokerConfig, SETTINGS, setting, without_effect};
use super::consistency::contradictions;
use super::environment::{self, Variable};
use super::kafka::roles::{self, RoleProblem};
use super::kafka::{self, KafkaSetting, Treatment};
use super::nearest::nearest;
use super::problem::{Hint, LoadError, LocatedProblem, NotPlain, Problem};
use super::properties;
use super::setting::{Setting, Value};
use super::units::plain_number;
use super::warning::{LocatedWarning, Warning};

/// The text of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file's name in messages. `.properties` and `.toml` decide the format; with other names the content does.
    pub name: &'a str,
    /// Its content.
    pub text: &'a str,
}

/// A setting on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Argument {
    /// The argument as given, such as `--set num.partitions=3` or `--shards 2`.
    pub place: String,
    /// `name=value`
    pub assignment: String,
}

/// All inputs of the configuration.
#[derive(Clone, Copy, Default, Debug)]
pub struct Inputs<'a> {
    /// The file.
    pub file: Option<Source<'a>>,
    /// Names and values. Variables without the prefix `TIDEMILL_` are ignored.
    pub environment: &'a [(String, String)],
    /// In their order.
    pub arguments: &'a [Argument],
}

/// The settings, and the warnings about those that have no effect.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: BrokerConfig,
    /// In the order of the sources, then by name.
    pub warnings: Vec<LocatedWarning>,
}

impl Argument {
    /// The argument `--set <word>`.
    pub fn set(word: &str) -> Argument {
        Argument { place: format!("--set {word}"), assignment: word.to_owned() }
    }
}

/// Reads a file and the words of `--set`, without the environment. Drops the warnings.
pub fn load(file: Option<Source<'_>>, sets: &[String]) -> Result<BrokerConfig, LoadError> {
    let arguments: Vec<_> = sets.iter().map(|word| Argument::set(word)).collect();
    Ok(load_all(Inputs { file, arguments: &arguments, ..Inputs::default() })?.config)
}

/// Reads the settings from all inputs.
pub fn load_all(inputs: Inputs<'_>) -> Result<Loaded, LoadError> {
    let mut loader = Loader::default();
    if let Some(source) = inputs.file {
        loader.read_file(source);
    }
    loader.level = Level::Environment;
    for (variable, value) in inputs.environment {
        loader.read_variable(variable, value);
    }
    loader.level = Level::Argument;
    for Argument { place, assignment } in inputs.arguments {
        match assignment.split_once('=') {
            Some((name, text)) => loader.set(name.trim(), text, place.clone()),
            None => loader.report(place.clone(), Problem::NotAnAssignment),
        }
    }
    loader.finish()
}

/// The inputs, from the weakest to the strongest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Level {
    #[default]
    File,
    Environment,
    Argument,
}

/// The place of an assignment.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Origin {
    level: Level,
    place: String,
    /// The setting was given by a second name of Kafka's, such as `broker.id`.
    is_renamed: bool,
}

#[derive(Default)]
struct Loader {
    /// The input that is being read.
    level: Level,
    given: BTreeMap<&'static str, Value>,
    /// The origin of each of `given`.
    origins: BTreeMap<&'static str, Origin>,
    /// Settings of Kafka's that Tidemill lacks: name, value, and place.
    of_kafka: BTreeMap<String, (String, String)>,
    warnings: Vec<LocatedWarning>,
    problems: Vec<LocatedProblem>,
}

impl Loader {
    fn read_file(&mut self, source: Source<'_>) {
        let is_properties = source.name.ends_with(".properties");
        let table = if is_properties { None } else { Some(DeTable::parse(source.text)) };
        let is_like_properties = properties::looks_like_properties(source.text);
        match table {
            None => self.read_properties(source),
            Some(Err(_)) if is_like_properties && !source.name.ends_with(".toml") => self.read_properties(source),
            Some(Ok(table)) => self.read_table("", table.get_ref(), &|at| place_in(source, at)),
            Some(Err(error)) => {
                let at = error.span().map_or(0, |span| span.start);
                // In TOML, max.connections and max.connections.per.ip give one name to a number and to a table.
                let names_overlap = error.message().contains("dotted key");
                let reason = error.message().trim().to_owned();
                self.report(place_in(source, at), Problem::NotToml { reason, names_overlap, is_like_properties });
            }
        }
    }

    fn read_properties(&mut self, source: Source<'_>) {
        match properties::parse(source.text) {
            Err(error) => self.report(format!("{}:{}", source.name, error.line), error.into()),
            Ok(found) => {
                for property in found {
                    let place = format!("{}:{}", source.name, property.line);
                    if let Some(earlier) = self.earlier(&property.name) {
                        let warning = Warning::SetAgain { name: property.name.clone(), earlier };
                        self.warn(place.clone(), warning);
                    }
                    self.set(&property.name, &property.value, place);
                }
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
            match (text_of(value), self.earlier(&name)) {
                (Err(error), _) => self.report(at, Problem::NotPlain { name, error }),
                (Ok(_), Some(earlier)) => self.report(at, Problem::SetTwice { name, earlier }),
                (Ok(text), None) => self.set(&name, &text, at),
            }
        }
    }

    fn read_variable(&mut self, variable: &str, value: &str) {
        match environment::meaning(variable, value) {
            Variable::Other => {}
            Variable::Setting(name) => self.set(name, value, variable.to_owned()),
            Variable::Unknown(hint) => self.report(variable.to_owned(), Problem::UnknownVariable { hint }),
        }
    }

    /// The place where the file has set this very name.
    fn earlier(&self, name: &str) -> Option<String> {
        let own = self.origins.get(name).filter(|origin| !origin.is_renamed).map(|origin| &origin.place);
        own.or(self.of_kafka.get(name).map(|(_, place)| place)).cloned()
    }

    fn set(&mut self, name: &str, text: &str, place: String) {
        if let Some(row) = setting(name) {
            return self.set_own(row, text, place, false);
        }
        let Some(of_kafka) = KafkaSetting::find(name) else {
            return self.report(place, Problem::UnknownSetting { name: name.to_owned(), hint: hint(name) });
        };
        if let Treatment::Means(instead) = of_kafka.treatment {
            let (name, row) = (name.to_owned(), setting(instead).expect("a test checks the name"));
            if of_kafka.is_default(text) && row.parse(text).is_err() {
                // broker.id=-1: not set.
                return;
            }
            let is_given =
                self.origins.get(instead).is_some_and(|origin| origin.level == self.level && !origin.is_renamed);
            if is_given {
                return self.warn(place, Warning::Overridden { name, instead });
            }
            self.warn(place.clone(), Warning::Renamed { name, instead });
            return self.set_own(row, text, place, true);
        }
        self.of_kafka.insert(name.to_owned(), (text.to_owned(), place));
    }

    fn set_own(&mut self, row: &'static Setting, text: &str, place: String, is_renamed: bool) {
        match row.parse(text) {
            Ok(value) => {
                self.given.insert(row.name, value);
                self.origins.insert(row.name, Origin { level: self.level, place, is_renamed });
            }
            Err(invalid) => {
                let plain = if row.kind.is_whole_number() { plain_number(row.name, text) } else { None };
                self.report(place, Problem::InvalidValue { invalid, plain });
            }
        }
    }

    /// Checks Kafka's settings and the settings together.
    fn finish(mut self) -> Result<Loaded, LoadError> {
        self.apply_roles();
        self.judge_settings_of_kafka();
        if !self.problems.is_empty() {
            return Err(LoadError { problems: self.problems });
        }
        let config = BrokerConfig::from_given(std::mem::take(&mut self.given));
        for (name, reason) in without_effect(&config) {
            self.warn(self.place_of(name), Warning::NoEffect { name: name.to_owned(), reason });
        }
        for contradiction in contradictions(&config) {
            self.report(self.place_of(contradiction.setting()), Problem::Contradiction(contradiction));
        }
        match self.problems.is_empty() {
            true => Ok(Loaded { config, warnings: self.warnings }),
            false => Err(LoadError { problems: self.problems }),
        }
    }

    /// Checks the roles of a Kafka node, and leaves out the listeners of its controller.
    fn apply_roles(&mut self) {
        let given: BTreeMap<_, _> =
            self.of_kafka.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect();
        for (name, problem) in roles::check(&given) {
            let place = self.of_kafka[name].1.clone();
            self.report(place, problem.into());
        }
        for name in ["listeners", "advertised.listeners"] {
            let Some(Value::List(listeners)) = self.given.get(name) else { continue };
            let kept = roles::without_controllers(listeners, &given);
            if !kept.is_empty() {
                self.given.insert(name, Value::List(kept));
                continue;
            }
            self.given.remove(name);
            if name == "listeners" {
                self.report(self.place_of(name), RoleProblem::NoClientListener.into());
            }
        }
    }

    fn judge_settings_of_kafka(&mut self) {
        for (name, (value, place)) in std::mem::take(&mut self.of_kafka) {
            let found = KafkaSetting::find(&name).expect("found when it was read");
            if found.is_default(&value) {
                continue;
            }
            match found.treatment {
                Treatment::NoEffect(reason) => self.warn(place, Warning::NoEffect { name, reason }),
                Treatment::Refused(reason) => self.report(place, Problem::Unsafe { name, reason }),
                Treatment::Means(_) | Treatment::Role => {}
            }
        }
    }

    /// The place that set `name`, or the setting that `name` falls back to.
    fn place_of(&self, name: &str) -> String {
        let origin = self.origins.get(name);
        let origin = origin.or_else(|| self.origins.get("listeners").filter(|_| name == "advertised.listeners"));
        origin.map_or_else(|| "default".into(), |origin| origin.place.clone())
    }

    fn report(&mut self, place: String, problem: Problem) {
        self.problems.push(LocatedProblem { place, problem });
    }

    fn warn(&mut self, place: String, warning: Warning) {
        self.warnings.push(LocatedWarning { place, warning });
    }
}

/// The file and the line of a byte.
fn place_in(source: Source<'_>, at: usize) -> String {
    let line = 1 + source.text.as_bytes().iter().take(at).filter(|&&c| c == b'\n').count();
    format!("{}:{line}", source.name)
}

fn hint(name: &str) -> Hint {
    let names = || SETTINGS.iter().map(|setting| setting.name);
    let within: Vec<&str> =
        names().filter(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))).collect();
    if !within.is_empty() {
        return Hint::PrefixOf(within);
    }
    let near = nearest(name, names()).or_else(|| nearest(name, kafka::names()));
    near.map_or(Hint::Nothing, |near| Hint::Nearest(near.to_owned()))
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
mod tests;
