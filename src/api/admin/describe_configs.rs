//! DescribeConfigs (key 32): the settings of a topic, a group or this node, with the source and the synonyms of each
//! value.

use super::context::Context;
use super::refusal::AdminRefusal;
use crate::api::gather::deduplicate_if_many;
use crate::config::group::{self, GroupSetting};
use crate::config::topic::{self, Overrides, TopicSetting};
use crate::config::{BrokerConfig, Setting, broker};
use crate::model::{BrokerId, ErrorCode, NodeId, TopicName};
use crate::router::broker::{brokers_of, node_of};
use crate::wire::admin::describe_configs::{
    DescribeConfigsEntry, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym, RESOURCE_BROKER, RESOURCE_TOPIC, SOURCE_DEFAULT,
    SOURCE_DYNAMIC_TOPIC, SOURCE_GROUP, SOURCE_STATIC_BROKER,
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
                .filter(|entry| is_wanted(entry.setting.name, resource))
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
    pub setting: &'static Setting,
    pub value: Option<String>,
    /// One of Kafka's `ConfigSource`.
    pub source: i8,
    is_read_only: bool,
    /// The settings that determine the value, the one with the highest precedence first.
    synonyms: Vec<DescribeConfigsSynonym>,
}

impl ConfigEntry {
    fn into_wire(self, request: &DescribeConfigsRequest) -> DescribeConfigsEntry {
        DescribeConfigsEntry {
            name: self.setting.name.into(),
            value: self.value,
            read_only: self.is_read_only,
            config_source: self.source,
            is_sensitive: false,
            synonyms: if request.include_synonyms { self.synonyms } else { Vec::new() },
            config_type: self.setting.kind.wire_type(),
            documentation: request.include_documentation.then(|| self.setting.doc.into()),
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
            Ok(topic_entries(&as_read(&topic.overrides), context.config).collect())
        }
        // No setting can change while a broker runs, so no cluster-wide defaults exist.
        RESOURCE_BROKER if name.is_empty() => Ok(Vec::new()),
        RESOURCE_BROKER => {
            check_is_here(name, context, ("Broker", " or empty string"))?;
            Ok(broker::SETTINGS.iter().map(|setting| broker_entry(setting, context.config)).collect())
        }
        RESOURCE_GROUP if name.is_empty() => {
            Err(AdminRefusal::new(ErrorCode::InvalidRequest, "Group name must not be empty"))
        }
        RESOURCE_GROUP => {
            let none = Overrides::new();
            let overrides = context.image.group_overrides(name).unwrap_or(&none);
            Ok(group::SETTINGS.iter().map(|row| group_entry(row, overrides, context.config)).collect())
        }
        other => {
            let message = format!(
                "there are no configs for resources of type {other}, only for topics (2), brokers (4) and groups (32)"
            );
            Err(AdminRefusal::new(ErrorCode::InvalidRequest, message))
        }
    }
}

/// Checks that `name` is this node or one of its brokers. Kafka's message differs between APIs.
pub(in crate::api) fn check_is_here(
    name: &str,
    context: &Context<'_>,
    (what, or_else): (&str, &str),
) -> Result<(), AdminRefusal> {
    let invalid = |message: String| AdminRefusal::new(ErrorCode::InvalidRequest, message);
    let id: i32 = name.parse().map_err(|_| invalid(format!("{what} id must be an integer, but it is: {name}")))?;
    let is_broker = node_of(context.image, BrokerId(id)).is_some_and(|node| node.id == context.node);
    if is_broker || NodeId(id) == context.node {
        return Ok(());
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
pub(in crate::api) fn topic_entries(overrides: &Overrides, config: &BrokerConfig) -> impl Iterator<Item = ConfigEntry> {
    topic::SETTINGS.iter().map(|row| topic_entry(row, overrides, config))
}

fn topic_entry(row: &'static TopicSetting, overrides: &Overrides, config: &BrokerConfig) -> ConfigEntry {
    let mut synonyms = Vec::new();
    let own = overrides.get(row.setting.name).filter(|text| row.setting.parse(text).is_ok());
    if let Some(text) = own {
        synonyms.push(synonym(row.setting.name, Some(text.clone()), SOURCE_DYNAMIC_TOPIC));
    }
    for (name, _) in row.falls_back_to {
        if config.is_given(name) {
            synonyms.push(given_synonym(name, config));
        }
    }
    // For a chain such as log.retention.ms, .minutes, .hours Kafka lists the default of the first setting only.
    synonyms.extend(row.falls_back_to.first().and_then(|(name, _)| default_synonym(name)));
    let (fallback, from) = topic::fallback(row, config);
    let source = match (&own, from) {
        (Some(_), _) => SOURCE_DYNAMIC_TOPIC,
        (None, Some(name)) if config.is_given(name) => SOURCE_STATIC_BROKER,
        _ => SOURCE_DEFAULT,
    };
    let value = own.cloned().or_else(|| fallback.to_text());
    ConfigEntry { setting: &row.setting, value, source, is_read_only: false, synonyms }
}

fn group_entry(row: &'static GroupSetting, overrides: &Overrides, config: &BrokerConfig) -> ConfigEntry {
    let read = |text: &String| row.setting.parse(text).ok()?.to_text();
    let own = overrides.get(row.setting.name).map(|text| read(text).unwrap_or_else(|| text.clone()));
    let own_synonym = own.clone().map(|text| synonym(row.setting.name, Some(text), SOURCE_GROUP));
    let of_broker = config.is_given(row.falls_back_to).then(|| given_synonym(row.falls_back_to, config));
    let source = match (&own, &of_broker) {
        (Some(_), _) => SOURCE_GROUP,
        (None, Some(_)) => SOURCE_STATIC_BROKER,
        (None, None) => SOURCE_DEFAULT,
    };
    let value = own.or_else(|| config.value(row.falls_back_to)?.to_text());
    let synonyms = own_synonym.into_iter().chain(of_broker).chain(default_synonym(row.falls_back_to)).collect();
    ConfigEntry { setting: &row.setting, value, source, is_read_only: false, synonyms }
}

fn broker_entry(setting: &'static Setting, config: &BrokerConfig) -> ConfigEntry {
    let is_given = config.is_given(setting.name);
    let given = is_given.then(|| given_synonym(setting.name, config));
    let synonyms = given.into_iter().chain(default_synonym(setting.name)).collect();
    let value = config.value(setting.name).and_then(|value| value.to_text());
    let source = if is_given { SOURCE_STATIC_BROKER } else { SOURCE_DEFAULT };
    // Clients cannot change the settings of a running node.
    ConfigEntry { setting, value, source, is_read_only: true, synonyms }
}

fn given_synonym(name: &str, config: &BrokerConfig) -> DescribeConfigsSynonym {
    synonym(name, config.value(name).and_then(|value| value.to_text()), SOURCE_STATIC_BROKER)
}

/// A null default is not listed as a synonym.
fn default_synonym(name: &str) -> Option<DescribeConfigsSynonym> {
    let value = broker::setting(name)?.default_value().to_text()?;
    Some(synonym(name, Some(value), SOURCE_DEFAULT))
}

fn synonym(name: &str, value: Option<String>, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym { name: name.into(), value, source }
}

#[cfg(test)]
mod tests;
