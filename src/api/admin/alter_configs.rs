//! AlterConfigs (key 33): replaces all overrides of a topic, a group, a broker or all brokers (before KIP-339). Its
//! checks of resources and of changes also serve IncrementalAlterConfigs.

use std::collections::HashSet;

use super::alter_broker_configs::{self, broker_of};
use super::change::Change;
use super::context::Context;
use super::refusal::AdminRefusal;
use crate::config::group;
use crate::config::topic::{self, Overrides};
use crate::controller::Plan;
use crate::metadata::Command;
use crate::model::{ErrorCode, TopicName};
use crate::wire::admin::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::wire::admin::describe_configs::{RESOURCE_BROKER, RESOURCE_TOPIC};
use crate::wire::admin::list_config_resources::{RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP};

/// The handler, on the controller's shard.
pub(in crate::api) async fn alter(change: Change, request: AlterConfigsRequest) -> AlterConfigsResponse {
    change.make(request, plan, refuse_all).await
}

pub fn plan(request: &AlterConfigsRequest, context: &Context<'_>) -> Plan<AlterConfigsResponse> {
    let plan_one = |resource: &_, is_repeated| plan_one(resource, is_repeated, context);
    let (mut commands, responses) = plan_each(&request.resources, id_of, plan_one);
    if request.validate_only {
        commands.clear();
    }
    Plan { commands, answer: AlterConfigsResponse { responses, ..Default::default() } }
}

/// The response when the controller rejects the request as a whole.
pub fn refuse_all(request: &AlterConfigsRequest, code: ErrorCode, message: &str) -> AlterConfigsResponse {
    let responses = refuse_each(request.resources.iter().map(id_of), code, message);
    AlterConfigsResponse { responses, ..Default::default() }
}

fn id_of(resource: &AlterConfigsResource) -> Id<'_> {
    (resource.resource_type, &resource.resource_name)
}

fn plan_one(
    resource: &AlterConfigsResource,
    is_repeated: bool,
    context: &Context<'_>,
) -> Result<Option<Command>, AdminRefusal> {
    let keys = resource.configs.iter().map(|config| (config.name.as_str(), config.value.is_none()));
    check(id_of(resource), is_repeated, keys, context)?;
    let given = resource.configs.iter();
    let overrides = given.filter_map(|config| Some((config.name.clone(), config.value.clone()?))).collect();
    change(id_of(resource), overrides, context)
}

/// A resource's type and name.
pub(in crate::api) type Id<'a> = (i8, &'a str);

/// Plans each resource on its own. `plan_one` gets a resource, and whether the request repeats it.
pub(in crate::api) fn plan_each<R>(
    resources: &[R],
    id_of: impl Fn(&R) -> Id<'_>,
    plan_one: impl Fn(&R, bool) -> Result<Option<Command>, AdminRefusal>,
) -> (Vec<Command>, Vec<AlterConfigsResourceResponse>) {
    let mut seen = HashSet::new();
    let repeated: HashSet<Id<'_>> = resources.iter().map(&id_of).filter(|id| !seen.insert(*id)).collect();
    let mut commands = Vec::new();
    let planned = resources.iter().map(|resource| {
        let id = id_of(resource);
        let planned = plan_one(resource, repeated.contains(&id));
        response(id, planned.map(|command| commands.extend(command)))
    });
    let responses = planned.collect();
    (commands, responses)
}

/// The same error for each resource.
pub(in crate::api) fn refuse_each<'a>(
    ids: impl Iterator<Item = Id<'a>>,
    code: ErrorCode,
    message: &str,
) -> Vec<AlterConfigsResourceResponse> {
    ids.map(|id| response(id, Err(AdminRefusal::new(code, message)))).collect()
}

/// On success the message is null, unlike in DescribeConfigs.
fn response((resource_type, name): Id<'_>, outcome: Result<(), AdminRefusal>) -> AlterConfigsResourceResponse {
    let (error_code, error_message) = match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err(refusal) => (refusal.code, Some(refusal.message)),
    };
    AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name: name.into() }
}

/// Checks in Kafka's order whether the resource can be changed. `keys`: the settings to change, and whether to null.
pub(in crate::api) fn check<'a>(
    (resource_type, name): Id<'_>,
    is_repeated: bool,
    keys: impl Iterator<Item = (&'a str, bool)> + Clone,
    context: &Context<'_>,
) -> Result<(), AdminRefusal> {
    let invalid = |message: String| Err(AdminRefusal::new(ErrorCode::InvalidRequest, message));
    if is_repeated {
        return invalid("Each resource must appear at most once.".into());
    }
    let mut names = HashSet::new();
    if !keys.clone().all(|(key, _)| names.insert(key)) {
        return invalid("Error due to duplicate config keys".into());
    }
    let nulls: Vec<&str> = keys.clone().filter(|(_, is_null)| *is_null).map(|(key, _)| key).collect();
    if !nulls.is_empty() {
        return invalid(format!("Null value not supported for : {}", nulls.join(", ")));
    }
    match resource_type {
        RESOURCE_TOPIC if name.is_empty() => invalid("Default topic resources are not allowed.".into()),
        RESOURCE_TOPIC => Ok(()),
        RESOURCE_BROKER => broker_of(name, context).map(drop),
        RESOURCE_GROUP if name.is_empty() => invalid("Default group resources are not allowed.".into()),
        RESOURCE_GROUP => Ok(()),
        RESOURCE_BROKER_LOGGER | RESOURCE_CLIENT_METRICS => invalid(format!(
            "Unknown resource type {resource_type}. Brokers' loggers and client metrics have no configs here."
        )),
        other => invalid(format!("Unknown resource type {other}")),
    }
}

/// The current overrides of a topic, a group, a broker or all brokers.
pub(in crate::api) fn overrides_of((resource_type, name): Id<'_>, context: &Context<'_>) -> Overrides {
    let overrides = match resource_type {
        RESOURCE_BROKER => broker_of(name, context).ok().and_then(|broker| context.image.broker_overrides(broker)),
        RESOURCE_GROUP => context.image.group_overrides(name),
        _ => context.image.topic(name).map(|topic| &topic.overrides),
    };
    overrides.cloned().unwrap_or_default()
}

/// The command that gives a resource exactly these overrides; `None` if it has them already.
pub(in crate::api) fn change(
    id: Id<'_>,
    overrides: Overrides,
    context: &Context<'_>,
) -> Result<Option<Command>, AdminRefusal> {
    let illegal = |message: String| AdminRefusal::new(ErrorCode::InvalidConfig, message);
    let (resource_type, name) = id;
    if resource_type == RESOURCE_BROKER {
        let changes = changes(&overrides_of(id, context), &overrides);
        return alter_broker_configs::change(broker_of(name, context)?, &overrides, changes, context);
    }
    if resource_type == RESOURCE_GROUP {
        group::check_all(&overrides, context.config).map_err(|error| illegal(error.to_string()))?;
        let changes = changes(&overrides_of(id, context), &overrides);
        return Ok((!changes.is_empty()).then(|| Command::SetGroupConfig { group: name.into(), changes }));
    }
    // Kafka checks the name and the settings first, then whether the topic exists.
    TopicName::new(name).map_err(|error| AdminRefusal::new(ErrorCode::InvalidTopicException, error.to_string()))?;
    topic::check_all(&overrides, context.config).map_err(|error| illegal(error.to_string()))?;
    let topic = context.image.topic(name).ok_or_else(|| {
        AdminRefusal::new(ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."))
    })?;
    let changes = changes(&topic.overrides, &overrides);
    Ok((!changes.is_empty()).then_some(Command::SetTopicConfig { id: topic.id, changes }))
}

/// The changes that make `next` of `before`.
fn changes(before: &Overrides, next: &Overrides) -> Vec<(String, Option<String>)> {
    let removed = before.keys().filter(|key| !next.contains_key(*key)).map(|key| (key.clone(), None));
    let set = next.iter().filter(|(key, text)| before.get(*key) != Some(text));
    removed.chain(set.map(|(key, text)| (key.clone(), Some(text.clone())))).collect()
}

#[cfg(test)]
mod tests;
