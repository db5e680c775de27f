//! CreateTopics (key 19): creates or rejects each topic of the request on its own.

use super::change::Change;
use super::config_levels::Levels;
use super::context::Context;
use super::describe_configs;
use super::refusal::{AdminRefusal, PARTITIONS_PER_REQUEST_MAX, TOO_MANY_PARTITIONS, plan_each_name};
use super::replicas::{self, Placed};
use crate::config::BrokerConfig;
use crate::config::topic::{self, Overrides};
use crate::controller::Plan;
use crate::coordinator::topic::InternalTopic;
use crate::metadata::{Command, Delta, Image, apply_to};
use crate::model::{ErrorCode, NodeId, TopicId, TopicName};
use crate::runtime;
use crate::wire::admin::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};

/// The handler, on the controller's shard.
pub(in crate::api) async fn create(change: Change, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let (is_trial, server) = (request.validate_only, change.server.clone());
    let mut response = change
        .make(
            request,
            |request: &_, context: &Context<'_>| plan(request, context, &mut runtime::random_u64),
            refuse_all,
        )
        .await;
    for topic in response.topics.iter().filter(|topic| !is_trial && !topic.error_code.is_error()) {
        if let Some(note) = &topic.error_message {
            tracing::info!("topic {}: {note}", topic.name);
        }
    }
    let image = server.shard.image();
    for result in response.topics.iter_mut().filter(|result| result.error_code == ErrorCode::None) {
        let topic = image.topic_by_id(result.topic_id);
        if let Some(message) = topic.and_then(|topic| server.offline.describe(topic, 0)) {
            *result = refused(&result.name, AdminRefusal::new(ErrorCode::KafkaStorageError, message));
        }
    }
    response
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
    // Topics of one request can collide with each other. Each is therefore planned on an image that includes the
    // previous ones.
    let mut image = context.image.clone();
    let plan_one = |topic: &_| plan_one(topic, &mut image, context, random);
    for (topic, planned) in plan_each_name(&request.topics, |topic| &topic.name, plan_one) {
        let result = match planned {
            Ok((command, note)) => {
                // Clients take a message without an error code for a success.
                let result = CreatableTopicResult { error_message: note, ..created(&command, Levels::here(context)) };
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
    let Placed { replicas, note } = place(image, partitions, -1, config, random())?;
    if let Some(note) = note {
        tracing::info!("topic {}: {note}", name.as_str());
    }
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
    let Placed { replicas, .. } = place(image, topic.partitions(config), factor, config, random())?;
    let (id, name) = (fresh_topic_id(random), topic.name().into());
    try_on(image, Command::CreateTopic { id, name, replicas, overrides: topic.overrides(config) })
}

/// The command that creates the topic, and a note on the differences from the request.
fn plan_one(
    topic: &CreatableTopic,
    image: &mut Image,
    context: &Context<'_>,
    random: &mut dyn FnMut() -> u64,
) -> Result<(Command, Option<String>), AdminRefusal> {
    // Kafka checks the name first, then the configs, then the numbers.
    check_name(&topic.name, image)?;
    let overrides = overrides_of(&topic.configs, context.config)?;
    let (id, Placed { replicas, note }) = if topic.assignments.is_empty() {
        let partitions = partitions_of(topic.num_partitions, context.config)?;
        let placed = place(image, partitions, topic.replication_factor, context.config, random())?;
        (fresh_topic_id(random), placed)
    } else {
        let brokers = assigned(topic)?;
        let replicas = nodes_of(&brokers, image)?;
        let id = replicas::id_for(&brokers, image, || fresh_topic_id(random));
        let note = replicas::note_elsewhere(id, 0, &replicas, &brokers, image);
        (id, Placed { replicas, note })
    };
    let (name, overrides) = (topic.name.clone(), overrides.into_iter().collect());
    Ok((try_on(image, Command::CreateTopic { id, name, replicas, overrides })?, note))
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
) -> Result<Placed, AdminRefusal> {
    let factor = if factor == -1 { config.default_replication_factor } else { i32::from(factor) };
    if factor <= 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(AdminRefusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    replicas::place(image, 0, partitions, factor as usize, chance)
}

/// The brokers that the client chose, by partition.
fn assigned(topic: &CreatableTopic) -> Result<Vec<&[i32]>, AdminRefusal> {
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
    Ok(assignments.iter().map(|assignment| &*assignment.broker_ids).collect())
}

/// The nodes of the chosen brokers. All partitions have equally many.
fn nodes_of(brokers: &[&[i32]], image: &Image) -> Result<Vec<Vec<NodeId>>, AdminRefusal> {
    let factor = brokers[0].len();
    let nodes = |brokers: &&[i32]| match replicas::chosen(brokers, image)? {
        _ if brokers.len() != factor => Err(replicas::inconsistent(brokers.len(), factor)),
        nodes => Ok(nodes),
    };
    brokers.iter().map(nodes).collect()
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

fn created(command: &Command, levels: Levels<'_>) -> CreatableTopicResult {
    let Command::CreateTopic { id, name, replicas, overrides } = command else { unreachable!("what plan_one makes") };
    let overrides: Overrides = overrides.iter().cloned().collect();
    let entries = describe_configs::topic_entries(&overrides, levels);
    let configs = entries.map(|entry| CreatableTopicConfigs {
        name: entry.name.into_owned(),
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
