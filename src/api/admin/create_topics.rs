//! CreateTopics (key 19): creates or rejects each topic of the request on its own.

use std::collections::HashMap;

use super::change::Change;
use super::context::Context;
use super::describe_configs;
use super::refusal::{AdminRefusal, DUPLICATE_NAME, PARTITIONS_PER_REQUEST_MAX, TOO_MANY_PARTITIONS};
use crate::config::BrokerConfig;
use crate::config::topic::{self, Overrides};
use crate::controller::{Plan, placement};
use crate::coordinator::topic::InternalTopic;
use crate::metadata::{Command, Delta, Image, apply_to};
use crate::model::{BrokerId, ErrorCode, NodeId, TopicId, TopicName};
use crate::router::broker;
use crate::runtime;
use crate::wire::admin::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};

/// The handler, on the controller's shard.
pub(in crate::api) async fn create(change: Change, request: CreateTopicsRequest) -> CreateTopicsResponse {
    change
        .make(
            request,
            |request: &_, context: &Context<'_>| plan(request, context, &mut runtime::random_u64),
            refuse_all,
        )
        .await
}

/// Plans all topics of the request. `random` returns a fresh random number.
pub fn plan(
    request: &CreateTopicsRequest,
    context: &Context<'_>,
    random: &mut dyn FnMut() -> u64,
) -> Plan<CreateTopicsResponse> {
    let mut plan = Plan { commands: Vec::new(), answer: CreateTopicsResponse::default() };
    if partitions_asked(request, context.config) > PARTITIONS_PER_REQUEST_MAX {
        plan.answer = refuse_all(request, ErrorCode::PolicyViolation, TOO_MANY_PARTITIONS);
        return plan;
    }
    let mut times: HashMap<&str, usize> = HashMap::new();
    request.topics.iter().for_each(|topic| *times.entry(&topic.name).or_default() += 1);
    // Topics of one request can collide with each other. Each is therefore planned on an image that includes the
    // previous ones.
    let mut image = context.image.clone();
    for topic in &request.topics {
        let Some(times) = times.remove(topic.name.as_str()) else { continue };
        let planned = if times > 1 {
            Err(AdminRefusal::new(ErrorCode::InvalidRequest, DUPLICATE_NAME))
        } else {
            plan_one(topic, &mut image, context, random)
        };
        let result = match planned {
            Ok(command) => {
                let result = created(&command, context.config);
                plan.commands.push(command);
                result
            }
            Err(refusal) => refused(&topic.name, refusal),
        };
        plan.answer.topics.push(result);
    }
    if request.validate_only {
        plan.commands.clear();
    }
    plan
}

/// The response when the request is rejected as a whole, or the controller failed.
pub fn refuse_all(request: &CreateTopicsRequest, code: ErrorCode, message: &str) -> CreateTopicsResponse {
    let refuse = |topic: &CreatableTopic| refused(&topic.name, AdminRefusal::new(code, message));
    CreateTopicsResponse { topics: request.topics.iter().map(refuse).collect(), ..CreateTopicsResponse::default() }
}

/// Plans an auto-created topic with the broker's defaults, and adds it to `image`.
pub(in crate::api) fn plan_default(
    name: &TopicName,
    image: &mut Image,
    config: &BrokerConfig,
    random: &mut dyn FnMut() -> u64,
) -> Result<Command, AdminRefusal> {
    let partitions = partitions_of(-1, config)?;
    if partitions > PARTITIONS_PER_REQUEST_MAX {
        return Err(AdminRefusal::new(ErrorCode::PolicyViolation, TOO_MANY_PARTITIONS));
    }
    let replicas = place(image, partitions, -1, config, random())?;
    let (id, name) = (fresh_topic_id(random), name.as_str().into());
    try_on(image, Command::CreateTopic { id, name, replicas, overrides: Vec::new() })
}

/// Plans an internal topic, with its own partition count and overrides.
pub(in crate::api) fn plan_internal(
    topic: InternalTopic,
    image: &mut Image,
    config: &BrokerConfig,
    random: &mut dyn FnMut() -> u64,
) -> Result<Command, AdminRefusal> {
    let factor = i16::try_from(topic.replicas(config, image)).unwrap_or(i16::MAX);
    let replicas = place(image, topic.partitions(config), factor, config, random())?;
    let (id, name) = (fresh_topic_id(random), topic.name().into());
    try_on(image, Command::CreateTopic { id, name, replicas, overrides: topic.overrides(config) })
}

fn plan_one(
    topic: &CreatableTopic,
    image: &mut Image,
    context: &Context<'_>,
    random: &mut dyn FnMut() -> u64,
) -> Result<Command, AdminRefusal> {
    // Kafka checks the name first, then the configs, then the numbers.
    check_name(&topic.name, image)?;
    let overrides = overrides_of(&topic.configs, context.config)?;
    let replicas = if topic.assignments.is_empty() {
        let partitions = partitions_of(topic.num_partitions, context.config)?;
        place(image, partitions, topic.replication_factor, context.config, random())?
    } else {
        assigned(topic, image)?
    };
    let (id, name) = (fresh_topic_id(random), topic.name.clone());
    try_on(image, Command::CreateTopic { id, name, replicas, overrides: overrides.into_iter().collect() })
}

fn check_name(name: &str, image: &Image) -> Result<(), AdminRefusal> {
    let name =
        TopicName::new(name).map_err(|error| AdminRefusal::new(ErrorCode::InvalidTopicException, error.to_string()))?;
    if image.topic(name.as_str()).is_some() {
        return Err(AdminRefusal::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    Ok(())
}

/// Applies the command to the image on which the next topic is planned.
fn try_on(image: &mut Image, command: Command) -> Result<Command, AdminRefusal> {
    let index = image.index + 1;
    apply_to(image, &mut Delta::default(), index, std::slice::from_ref(&command))?;
    Ok(command)
}

/// The overrides exactly as written, as in Kafka, so that a client reads back the text that it set. The last value of a
/// repeated config wins.
fn overrides_of(configs: &[CreatableTopicConfig], config: &BrokerConfig) -> Result<Overrides, AdminRefusal> {
    let invalid = |error: topic::InvalidOverride| AdminRefusal::new(ErrorCode::InvalidConfig, error.to_string());
    let mut overrides = Overrides::new();
    for given in configs {
        topic::check(&given.name, given.value.as_deref()).map_err(invalid)?;
        overrides.insert(given.name.clone(), given.value.clone().unwrap_or_default());
    }
    topic::check_all(&overrides, config).map_err(invalid)?;
    Ok(overrides)
}

fn partitions_of(asked: i32, config: &BrokerConfig) -> Result<usize, AdminRefusal> {
    let count = if asked == -1 { config.num_partitions } else { asked };
    usize::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
        AdminRefusal::new(
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        )
    })
}

/// The number of partitions that the request would create, rejected topics included. Stops above the limit.
fn partitions_asked(request: &CreateTopicsRequest, config: &BrokerConfig) -> usize {
    let asked = request.topics.iter().map(|topic| match topic.assignments.len() {
        0 => partitions_of(topic.num_partitions, config).unwrap_or(0),
        assigned => assigned,
    });
    asked.fold(0, usize::saturating_add)
}

fn place(
    image: &Image,
    partitions: usize,
    factor: i16,
    config: &BrokerConfig,
    chance: u64,
) -> Result<Vec<Vec<NodeId>>, AdminRefusal> {
    let factor = if factor == -1 { config.default_replication_factor } else { i32::from(factor) };
    let invalid = |message: String| AdminRefusal::new(ErrorCode::InvalidReplicationFactor, message);
    if factor <= 0 {
        return Err(invalid("Replication factor must be larger than 0, or -1 to use the default value.".into()));
    }
    placement::place(image, 0, partitions, factor as usize, chance)
        .map_err(|few| invalid(too_few_nodes(factor as usize, few)))
}

pub(in crate::api) fn too_few_nodes(factor: usize, few: placement::TooFewNodes) -> String {
    format!(
        "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
         reached because only {} node(s) are up. Replicas of a partition never share a node, however many brokers it \
         shows.",
        few.live
    )
}

/// The replicas that the client chose, by partition.
fn assigned(topic: &CreatableTopic, image: &Image) -> Result<Vec<Vec<NodeId>>, AdminRefusal> {
    let contradiction = |what: &str| {
        let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err(AdminRefusal::new(ErrorCode::InvalidRequest, message))
    };
    if topic.replication_factor != -1 {
        return contradiction("replication factor");
    }
    if topic.num_partitions != -1 {
        return contradiction("numPartitions");
    }
    let mut assignments: Vec<&CreatableReplicaAssignment> = topic.assignments.iter().collect();
    assignments.sort_by_key(|assignment| assignment.partition_index);
    let invalid = |message: String| AdminRefusal::new(ErrorCode::InvalidReplicaAssignment, message);
    for (expected, assignment) in assignments.iter().enumerate() {
        let index = assignment.partition_index;
        if expected > 0 && assignments[expected - 1].partition_index == index {
            return Err(invalid(format!("Found multiple manual partition assignments for partition {index}")));
        }
        if i64::from(index) != expected as i64 {
            return Err(invalid("partitions should be a consecutive 0-based integer sequence".into()));
        }
    }
    let factor = assignments[0].broker_ids.len();
    assignments.iter().map(|assignment| replicas_of(&assignment.broker_ids, factor, image)).collect()
}

/// The nodes of these brokers, as the `factor` replicas of one partition.
pub(in crate::api) fn replicas_of(brokers: &[i32], factor: usize, image: &Image) -> Result<Vec<NodeId>, AdminRefusal> {
    let invalid = |message: String| Err(AdminRefusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if brokers.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    let mut nodes: Vec<NodeId> = Vec::with_capacity(brokers.len());
    for broker in brokers {
        let Some(node) = broker::node_of(image, BrokerId(*broker)) else {
            return invalid(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            ));
        };
        if nodes.contains(&node.id) {
            return invalid(match brokers.iter().filter(|other| *other == broker).count() {
                1 => format!(
                    "The manual partition assignment includes node {} more than once: brokers {brokers:?} share nodes.",
                    node.id.0
                ),
                _ => format!("The manual partition assignment includes the broker {broker} more than once."),
            });
        }
        nodes.push(node.id);
    }
    if nodes.len() != factor {
        return invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with \
             previous partitions, which have {factor} replica(s).",
            nodes.len()
        ));
    }
    Ok(nodes)
}

/// A random (version 4) UUID that does not print with a leading dash, which command lines would take for an option.
fn fresh_topic_id(random: &mut dyn FnMut() -> u64) -> TopicId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random().to_be_bytes());
    bytes[8..].copy_from_slice(&random().to_be_bytes());
    let mut id = uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes();
    if TopicId(id).to_string().starts_with('-') {
        id[0] ^= 0x80;
    }
    TopicId(id)
}

fn created(command: &Command, config: &BrokerConfig) -> CreatableTopicResult {
    let Command::CreateTopic { id, name, replicas, overrides } = command else { unreachable!("what plan_one makes") };
    let overrides: Overrides = overrides.iter().cloned().collect();
    let entries = describe_configs::topic_entries(&overrides, config);
    let configs = entries.map(|entry| CreatableTopicConfigs {
        name: entry.setting.name.into(),
        value: entry.value,
        read_only: false,
        config_source: entry.source,
        is_sensitive: false,
    });
    CreatableTopicResult {
        name: name.clone(),
        topic_id: *id,
        num_partitions: replicas.len() as i32,
        replication_factor: replicas[0].len() as i16,
        configs: Some(configs.collect()),
        ..CreatableTopicResult::default()
    }
}

fn refused(name: &str, refusal: AdminRefusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.into(),
        error_code: refusal.code,
        error_message: Some(refusal.message),
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}

#[cfg(test)]
mod tests;
