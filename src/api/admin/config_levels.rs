//! The levels of a broker's settings, as DescribeConfigs lists them: the synonyms of a value, and its source.

use super::context::Context;
use crate::config::topic::{self, Overrides};
use crate::config::{BrokerConfig, dynamic};
use crate::model::BrokerId;
use crate::wire::admin::describe_configs::{
    DescribeConfigsSynonym, SOURCE_DEFAULT, SOURCE_DYNAMIC_BROKER, SOURCE_DYNAMIC_DEFAULT_BROKER, SOURCE_STATIC_BROKER,
};

/// The settings of one broker, and the values at each level as they were given.
#[derive(Clone, Copy)]
pub(in crate::api) struct Levels<'a> {
    /// The settings that hold.
    pub config: &'a BrokerConfig,
    /// The values of this broker that changed at run time.
    pub of_one: Option<&'a Overrides>,
    /// The values of all brokers that changed at run time.
    pub of_all: Option<&'a Overrides>,
}

impl<'a> Levels<'a> {
    /// The levels of a broker that has the settings `config`.
    pub fn of(context: &Context<'a>, broker: Option<BrokerId>, config: &'a BrokerConfig) -> Levels<'a> {
        let image = context.image;
        let of_one = broker.and_then(|broker| image.broker_overrides(Some(broker)));
        Levels { config, of_one, of_all: image.broker_overrides(None) }
    }

    /// The levels of the broker that answers.
    pub fn here(context: &Context<'a>) -> Levels<'a> {
        Levels::of(context, context.broker(), context.config)
    }

    /// All values of the settings in `names` that decide for `own`, the highest precedence first. As in Kafka, the
    /// values before the first value of `own` are left out.
    pub fn synonyms(&self, own: &str, names: &[&str]) -> Vec<DescribeConfigsSynonym> {
        let mut found = Vec::new();
        for (overrides, source) in [(self.of_one, SOURCE_DYNAMIC_BROKER), (self.of_all, SOURCE_DYNAMIC_DEFAULT_BROKER)]
        {
            let Some(overrides) = overrides else { continue };
            for name in names {
                let is_legal = |text: &&String| dynamic::setting(name).is_none_or(|row| row.parse(text).is_ok());
                let text = overrides.get(*name).filter(is_legal);
                found.extend(text.map(|text| synonym(name, Some(text.clone()), source)));
            }
        }
        found.extend(self.given(names));
        // A null default is not listed.
        let default = |name: &&str| {
            let row = dynamic::setting(name).filter(|row| row.name == *name)?;
            let value = row.default_value().to_text()?;
            Some(synonym(name, Some(value), SOURCE_DEFAULT))
        };
        found.extend(names.iter().filter_map(default));
        found.into_iter().skip_while(|synonym| synonym.name != own).collect()
    }

    /// The values that decide for a topic without its own. Kafka overlooks a configured value of a later setting of a
    /// chain, such as log.retention.hours. It is listed here.
    pub fn of_topic(&self, names: &[&str]) -> Vec<DescribeConfigsSynonym> {
        let Some(first) = names.first() else { return Vec::new() };
        let found = self.synonyms(first, names);
        if !found.is_empty() {
            return found;
        }
        self.given(names).collect()
    }

    /// The values of these settings that a file or a `--set` gave.
    fn given(&self, names: &[&str]) -> impl Iterator<Item = DescribeConfigsSynonym> {
        let given = |name: &&str| Some(synonym(name, self.config.given_value(name)?.to_text(), SOURCE_STATIC_BROKER));
        names.iter().filter_map(given)
    }
}

/// The settings that decide for a broker's setting: a chain such as log.retention.ms, .minutes and .hours, or itself.
pub(super) fn chain(name: &str) -> Vec<&str> {
    if let Some(base) = dynamic::of_listener(name) {
        return vec![name, base];
    }
    let in_chain = topic::SETTINGS
        .iter()
        .map(|row| row.falls_back_to)
        .find(|chain| chain.len() > 1 && chain.iter().any(|(known, _)| *known == name));
    in_chain.map_or_else(|| vec![name], |chain| chain.iter().map(|(known, _)| *known).collect())
}

pub(super) fn synonym(name: &str, value: Option<String>, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym { name: name.into(), value, source }
}
