//! IncrementalAlterConfigs (key 44): sets or deletes some overrides of a topic, a group, a broker or all brokers, or
//! adds and removes words of list values (KIP-339).

use super::alter_broker_configs;
use super::alter_configs::{Id, change, check, overrides_of, plan_each, refuse_each};
use super::change::Change;
use super::context::Context;
use super::refusal::AdminRefusal;
use crate::config::topic::{self, Overrides};
use crate::config::{Kind, Value};
use crate::controller::Plan;
use crate::metadata::Command;
use crate::model::ErrorCode;
use crate::wire::admin::describe_configs::RESOURCE_BROKER;
use crate::wire::admin::incremental_alter_configs::{
    APPEND, DELETE, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterConfigsResponse,
    IncrementalAlterableConfig, SET, SUBTRACT,
};

/// The handler, on the controller's shard.
pub(in crate::api) async fn alter(
    change: Change,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    change.make(request, plan, refuse_all).await
}

pub fn plan(request: &IncrementalAlterConfigsRequest, context: &Context<'_>) -> Plan<IncrementalAlterConfigsResponse> {
    let plan_one = |resource: &_, is_repeated| plan_one(resource, is_repeated, context);
    let (mut commands, responses) = plan_each(&request.resources, id_of, plan_one);
    if request.validate_only {
        commands.clear();
    }
    Plan { commands, answer: IncrementalAlterConfigsResponse { responses, ..Default::default() } }
}

/// The response when the controller rejects the request as a whole.
pub fn refuse_all(
    request: &IncrementalAlterConfigsRequest,
    code: ErrorCode,
    message: &str,
) -> IncrementalAlterConfigsResponse {
    let responses = refuse_each(request.resources.iter().map(id_of), code, message);
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

fn id_of(resource: &IncrementalAlterConfigsResource) -> Id<'_> {
    (resource.resource_type, &resource.resource_name)
}

fn plan_one(
    resource: &IncrementalAlterConfigsResource,
    is_repeated: bool,
    context: &Context<'_>,
) -> Result<Option<Command>, AdminRefusal> {
    let is_null = |config: &IncrementalAlterableConfig| config.config_operation != DELETE && config.value.is_none();
    let keys = resource.configs.iter().map(|config| (config.name.as_str(), is_null(config)));
    check(id_of(resource), is_repeated, keys, context)?;
    let mut overrides = overrides_of(id_of(resource), context);
    for config in &resource.configs {
        carry_out(config, resource.resource_type, &mut overrides, context)?;
    }
    change(id_of(resource), overrides, context)
}

fn carry_out(
    config: &IncrementalAlterableConfig,
    resource_type: i8,
    overrides: &mut Overrides,
    context: &Context<'_>,
) -> Result<(), AdminRefusal> {
    let name = &config.name;
    let text = config.value.as_deref().unwrap_or_default();
    match config.config_operation {
        SET => drop(overrides.insert(name.clone(), text.to_owned())),
        DELETE => drop(overrides.remove(name)),
        APPEND => {
            let mut words = words(name, APPEND, resource_type, overrides, context)?;
            for word in text.split(',') {
                if !words.iter().any(|have| have == word) {
                    words.push(word.to_owned());
                }
            }
            overrides.insert(name.clone(), words.join(","));
        }
        SUBTRACT => {
            let mut words = words(name, SUBTRACT, resource_type, overrides, context)?;
            words.retain(|have| !text.split(',').any(|word| have == word));
            overrides.insert(name.clone(), words.join(","));
        }
        other => {
            return Err(AdminRefusal::new(ErrorCode::InvalidRequest, format!("Unknown operations type {other}")));
        }
    }
    Ok(())
}

/// The words of a list setting's current value.
fn words(
    name: &str,
    operation: i8,
    resource_type: i8,
    overrides: &Overrides,
    context: &Context<'_>,
) -> Result<Vec<String>, AdminRefusal> {
    if resource_type == RESOURCE_BROKER {
        let verb = if operation == APPEND { "append" } else { "subtract" };
        return alter_broker_configs::words(name, verb, overrides);
    }
    let operation = if operation == APPEND { "APPEND" } else { "SUBTRACT" };
    let is_list = |row: &&topic::TopicSetting| matches!(row.setting.kind, Kind::ListOf(_) | Kind::ThrottledReplicas);
    let row = topic::setting(name).filter(is_list).ok_or_else(|| {
        let message = format!("Can't {operation} to key {name} because its type is not LIST.");
        AdminRefusal::new(ErrorCode::InvalidConfig, message)
    })?;
    let own = overrides.get(name).and_then(|text| row.setting.parse(text).ok());
    match own.unwrap_or_else(|| topic::fallback(row, context.config).0) {
        Value::List(words) => Ok(words),
        other => unreachable!("{name} is a list, not {other}"),
    }
}

#[cfg(test)]
mod tests;
