//! DescribeConfigs (key 32): the settings of a topic, a group, a broker of this node or all brokers, with the source
//! and the synonyms of each value.

use std::borrow::Cow;

use super::config_levels::{Levels, chain, synonym};
use super::context::Context;
use super::refusal::AdminRefusal;
use crate::api::gather::deduplicate_if_many;
use crate::config::group::{self, GroupSetting};
use crate::config::topic::{self, Overrides, TopicSetting};
use crate::config::{Setting, broker, dynamic};
use crate::model::{BrokerId, ErrorCode, TopicName};
use crate::router::broker::{brokers_of, first_broker, node_of};
use crate::wire::admin::describe_configs::{
    DescribeConfigsEntry, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym, RESOURCE_BROKER, RESOURCE_TOPIC, SOURCE_DEFAULT,
    SOURCE_DYNAMIC_DEFAULT_BROKER, SOURCE_DYNAMIC_TOPIC, SOURCE_GROUP, TYPE_UNKNOWN,
};
use crate::wire::admin::list_config_resources::RESOURCE_GROUP;

pub fn answer(request: &DescribeConfigsRequest, context: &Context<'_>) -> DescribeConfigsResponse {
    let result = |resource: &DescribeConfigsResource| {
        let described = describe(resource, context);
        // On success Kafka's message is empty, not null.
        let (error_code, message, entries) = match described {
            Ok(entries) => (ErrorCode::None, String::new(), entries),
            Err(refusal) => (refusal.code, refusal.message, Vec::new()),
        };
        DescribeConfigsResult {
            error_code,
            error_message: Some(message),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: entries
                .into_iter()
                .filter(|entry| is_wanted(&entry.name, resource))
                .map(|entry| entry.into_wire(request))
                .collect(),
        }
    };
    let resources = deduplicate_if_many(request.resources.iter(), |resource| {
        (resource.resource_type, resource.resource_name.as_str())
    });
    DescribeConfigsResponse { results: resources.map(result).collect(), ..DescribeConfigsResponse::default() }
}

/// Null keys and an empty list both mean all keys.
fn is_wanted(name: &str, resource: &DescribeConfigsResource) -> bool {
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    keys.is_empty() || keys.iter().any(|key| key == name)
}

/// A setting with its value.
pub(in crate::api) struct ConfigEntry {
    pub name: Cow<'static, str>,
    /// `None`: no setting has the name.
    row: Option<&'static Setting>,
    pub value: Option<String>,
    /// One of Kafka's `ConfigSource`.
    pub source: i8,
    is_read_only: bool,
    /// The settings that determine the value, the one with the highest precedence first.
    synonyms: Vec<DescribeConfigsSynonym>,
}

impl ConfigEntry {
    /// The value of an unknown setting may be a password. As in Kafka, no client gets it.
    fn into_wire(self, request: &DescribeConfigsRequest) -> DescribeConfigsEntry {
        let is_sensitive = self.row.is_none();
        let mut synonyms = if request.include_synonyms { self.synonyms } else { Vec::new() };
        if is_sensitive {
            synonyms.iter_mut().for_each(|synonym| synonym.value = None);
        }
        DescribeConfigsEntry {
            name: self.name.into_owned(),
            value: self.value.filter(|_| !is_sensitive),
            read_only: self.is_read_only,
            config_source: self.source,
            is_sensitive,
            synonyms,
            config_type: self.row.map_or(TYPE_UNKNOWN, |row| row.kind.wire_type()),
            documentation: self.row.map(|row| row.doc.into()).filter(|_| request.include_documentation),
        }
    }
}

fn describe(resource: &DescribeConfigsResource, context: &Context<'_>) -> Result<Vec<ConfigEntry>, AdminRefusal> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        RESOURCE_TOPIC => {
            TopicName::new(name)
                .map_err(|error| AdminRefusal::new(ErrorCode::InvalidTopicException, error.to_string()))?;
            let topic =
                context.image.topic(name).ok_or_else(|| AdminRefusal::new(ErrorCode::UnknownTopicOrPartition, ""))?;
            Ok(topic_entries(&as_read(&topic.overrides), Levels::here(context)).collect())
        }
        RESOURCE_BROKER if name.is_empty() => Ok(default_entries(context)),
        RESOURCE_BROKER => {
            let broker = match context.image.node(context.node) {
                Some(node) if name.parse() == Ok(context.node.0) => first_broker(node),
                _ => broker_here(name, context, ("Broker", " or empty string"))?,
            };
            Ok(broker_entries(broker, context))
        }
        RESOURCE_GROUP if name.is_empty() => {
            Err(AdminRefusal::new(ErrorCode::InvalidRequest, "Group name must not be empty"))
        }
        RESOURCE_GROUP => {
            let none = Overrides::new();
            let overrides = context.image.group_overrides(name).unwrap_or(&none);
            let levels = Levels::here(context);
            Ok(group::SETTINGS.iter().map(|row| group_entry(row, overrides, levels)).collect())
        }
        other => {
            let message = format!(
                "there are no configs for resources of type {other}, only for topics (2), brokers (4) and groups (32)"
            );
            Err(AdminRefusal::new(ErrorCode::InvalidRequest, message))
        }
    }
}

/// The broker of this node whose id is `name`. Kafka's message differs between APIs.
pub(in crate::api) fn broker_here(
    name: &str,
    context: &Context<'_>,
    (what, or_else): (&str, &str),
) -> Result<BrokerId, AdminRefusal> {
    let invalid = |message: String| AdminRefusal::new(ErrorCode::InvalidRequest, message);
    let id: i32 = name.parse().map_err(|_| invalid(format!("{what} id must be an integer, but it is: {name}")))?;
    if node_of(context.image, BrokerId(id)).is_some_and(|node| node.id == context.node) {
        return Ok(BrokerId(id));
    }
    let here: Vec<String> = context
        .image
        .node(context.node)
        .into_iter()
        .flat_map(|node| brokers_of(node, context.listener))
        .map(|broker| broker.id.0.to_string())
        .collect();
    Err(invalid(format!("Unexpected broker id, expected {}{or_else}, but received {id}", here.join(" or "))))
}

/// Overrides in the canonical form of their values. Kafka responds to CreateTopics with the values as written, and to
/// DescribeConfigs with this form.
fn as_read(overrides: &Overrides) -> Overrides {
    let read = |name: &str, text: &str| topic::setting(name)?.setting.parse(text).ok()?.to_text();
    overrides.iter().map(|(name, text)| (name.clone(), read(name, text).unwrap_or_else(|| text.clone()))).collect()
}

/// All settings of a topic with these overrides.
pub(in crate::api) fn topic_entries(overrides: &Overrides, levels: Levels<'_>) -> impl Iterator<Item = ConfigEntry> {
    topic::SETTINGS.iter().map(move |row| topic_entry(row, overrides, levels))
}

fn topic_entry(row: &'static TopicSetting, overrides: &Overrides, levels: Levels<'_>) -> ConfigEntry {
    let own = overrides.get(row.setting.name).filter(|text| row.setting.parse(text).is_ok());
    let own_synonym = own.map(|text| synonym(row.setting.name, Some(text.clone()), SOURCE_DYNAMIC_TOPIC));
    let names: Vec<&str> = row.falls_back_to.iter().map(|(name, _)| *name).collect();
    let synonyms: Vec<_> = own_synonym.into_iter().chain(levels.of_topic(&names)).collect();
    let value = own.cloned().or_else(|| topic::fallback(row, levels.config).0.to_text());
    entry(&row.setting, value, synonyms)
}

fn group_entry(row: &'static GroupSetting, overrides: &Overrides, levels: Levels<'_>) -> ConfigEntry {
    let read = |text: &String| row.setting.parse(text).ok()?.to_text();
    let own = overrides.get(row.setting.name).map(|text| read(text).unwrap_or_else(|| text.clone()));
    let own_synonym = own.clone().map(|text| synonym(row.setting.name, Some(text), SOURCE_GROUP));
    let of_broker = levels.synonyms(row.falls_back_to, &[row.falls_back_to]);
    let value = own.or_else(|| levels.config.value(row.falls_back_to)?.to_text());
    entry(&row.setting, value, own_synonym.into_iter().chain(of_broker).collect())
}

/// The source of a value is that of the first synonym.
fn entry(row: &'static Setting, value: Option<String>, synonyms: Vec<DescribeConfigsSynonym>) -> ConfigEntry {
    let source = synonyms.first().map_or(SOURCE_DEFAULT, |synonym| synonym.source);
    ConfigEntry { name: row.name.into(), row: Some(row), value, source, is_read_only: false, synonyms }
}

/// All settings of a broker: those of the node, those of Kafka's that change at run time without effect, and those that
/// were set under other names.
fn broker_entries(broker: BrokerId, context: &Context<'_>) -> Vec<ConfigEntry> {
    let (image, of_one) = (context.image, context.image.broker_overrides(Some(broker)));
    let resolved = dynamic::resolve(context.config, image.broker_overrides(None), of_one);
    let levels = Levels::of(context, Some(broker), &resolved.config);
    let rows = broker::SETTINGS.iter().chain(dynamic::others());
    let mut entries: Vec<ConfigEntry> = rows.map(|row| broker_entry(row.name.into(), levels)).collect();
    let mut stored: Vec<&String> =
        [levels.of_one, levels.of_all].into_iter().flatten().flat_map(Overrides::keys).collect();
    stored.retain(|name| dynamic::setting(name).is_none_or(|row| row.name != **name));
    stored.sort_unstable();
    stored.dedup();
    entries.extend(stored.into_iter().map(|name| broker_entry(name.clone().into(), levels)));
    entries
}

fn broker_entry(name: Cow<'static, str>, levels: Levels<'_>) -> ConfigEntry {
    let synonyms = levels.synonyms(&name, &chain(&name));
    let row = dynamic::setting(&name);
    let value = match levels.config.value(&name) {
        Some(value) => value.to_text(),
        // A setting without a part here: as it was set, or its default.
        None => {
            let text = synonyms.first().and_then(|synonym| synonym.value.clone());
            let read = |text: String| row.and_then(|row| row.parse(&text).ok()?.to_text()).or(Some(text));
            text.and_then(read)
        }
    };
    let source = synonyms.first().map_or(SOURCE_DEFAULT, |synonym| synonym.source);
    ConfigEntry { is_read_only: !dynamic::changes(&name), name, row, value, source, synonyms }
}

/// The defaults of all brokers that were set at run time.
fn default_entries(context: &Context<'_>) -> Vec<ConfigEntry> {
    let of_all = context.image.broker_overrides(None).into_iter().flatten();
    let entry = |(name, text): (&String, &String)| ConfigEntry {
        row: dynamic::setting(name),
        value: Some(text.clone()),
        source: SOURCE_DYNAMIC_DEFAULT_BROKER,
        is_read_only: !dynamic::changes(name),
        synonyms: vec![synonym(name, Some(text.clone()), SOURCE_DYNAMIC_DEFAULT_BROKER)],
        name: name.clone().into(),
    };
    of_all.map(entry).collect()
}

#[cfg(test)]
mod tests;
