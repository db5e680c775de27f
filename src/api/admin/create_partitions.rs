//! CreatePartitions (key 37): adds partitions to existing topics. Removing partitions would lose records.

use super::change::Change;
use super::context::Context;
use super::refusal::{AdminRefusal, PARTITIONS_PER_REQUEST_MAX, TOO_MANY_PARTITIONS, plan_each_name};
use super::replicas::{self, Placed};
use crate::controller::Plan;
use crate::metadata::{Command, Topic};
use crate::model::ErrorCode;
use crate::runtime;
use crate::wire::admin::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

/// The handler, on the controller's shard.
pub(in crate::api) async fn create(change: Change, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let is_trial = request.validate_only;
    let (server, before) = (change.server.clone(), change.server.shard.image());
    let mut response = change
        .make(
            request,
            |request: &_, context: &Context<'_>| plan(request, context, &mut runtime::random_u64),
            refuse_all,
        )
        .await;
    for result in response.results.iter().filter(|result| !is_trial && !result.error_code.is_error()) {
        if let Some(note) = &result.error_message {
            tracing::info!("topic {}: {note}", result.name);
        }
    }
    let image = server.shard.image();
    for answered in response.results.iter_mut().filter(|answered| answered.error_code == ErrorCode::None) {
        let Some(topic) = image.topic(&answered.name) else { continue };
        let first = before.topic_by_id(topic.id).map_or(0, |before| before.partitions.len() as i32);
        if let Some(message) = server.offline.describe(topic, first) {
            *answered = result(&answered.name, ErrorCode::KafkaStorageError, Some(message));
        }
    }
    response
}

/// Plans all topics of the request. `random` returns a fresh random number.
pub fn plan(
    request: &CreatePartitionsRequest,
    context: &Context<'_>,
    random: &mut dyn FnMut() -> u64,
) -> Plan<CreatePartitionsResponse> {
    let mut plan = Plan { commands: Vec::new(), answer: CreatePartitionsResponse::default() };
    let mut room = PARTITIONS_PER_REQUEST_MAX;
    let plan_one = |topic: &_| plan_one(topic, context, &mut room, random());
    for (topic, planned) in plan_each_name(&request.topics, |topic| &topic.name, plan_one) {
        let (code, message) = match planned {
            Ok((command, note)) => {
                plan.commands.push(command);
                // Clients take a message without an error code for a success.
                (ErrorCode::None, note)
            }
            Err(refusal) => (refusal.code, Some(refusal.message).filter(|message| !message.is_empty())),
        };
        plan.answer.results.push(result(&topic.name, code, message));
    }
    if request.validate_only {
        plan.commands.clear();
    }
    plan
}

/// The response when the controller rejects the request as a whole.
pub fn refuse_all(request: &CreatePartitionsRequest, code: ErrorCode, message: &str) -> CreatePartitionsResponse {
    let refuse = |topic: &CreatePartitionsTopic| result(&topic.name, code, Some(message.into()));
    CreatePartitionsResponse {
        results: request.topics.iter().map(refuse).collect(),
        ..CreatePartitionsResponse::default()
    }
}

fn result(name: &str, error_code: ErrorCode, error_message: Option<String>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult { name: name.into(), error_code, error_message }
}

/// The command that adds the partitions, and a note on the differences from the request.
fn plan_one(
    asked: &CreatePartitionsTopic,
    context: &Context<'_>,
    room: &mut usize,
    chance: u64,
) -> Result<(Command, Option<String>), AdminRefusal> {
    let image = context.image;
    let topic = image.topic(&asked.name).ok_or_else(|| AdminRefusal::new(ErrorCode::UnknownTopicOrPartition, ""))?;
    let added = count_to_add(asked, topic)?;
    if added > *room {
        return Err(AdminRefusal::new(ErrorCode::PolicyViolation, TOO_MANY_PARTITIONS));
    }
    let have = topic.partitions.len();
    let factor = topic.partitions[0].replicas.len();
    let Placed { replicas, note } = match &asked.assignments {
        None => replicas::place(image, have, added, factor, chance)?,
        Some(assignments) if assignments.len() != added => {
            let message = format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(AdminRefusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        Some(assignments) => {
            let brokers: Vec<&[i32]> = assignments.iter().map(|assignment| &*assignment.broker_ids).collect();
            let nodes = |brokers: &&[i32]| match replicas::chosen(brokers, image)? {
                nodes if nodes.len() != factor => Err(replicas::inconsistent(brokers.len(), factor)),
                nodes => Ok(nodes),
            };
            let replicas = brokers.iter().map(nodes).collect::<Result<_, _>>()?;
            let note = replicas::note_elsewhere(topic.id, have, &replicas, &brokers, image);
            Placed { replicas, note }
        }
    };
    *room -= added;
    Ok((Command::CreatePartitions { id: topic.id, have: have as u32, replicas }, note))
}

/// The number of partitions to add.
fn count_to_add(asked: &CreatePartitionsTopic, topic: &Topic) -> Result<usize, AdminRefusal> {
    let (name, have) = (&topic.name, topic.partitions.len());
    let invalid = |message: String| Err(AdminRefusal::new(ErrorCode::InvalidPartitions, message));
    match usize::try_from(asked.count) {
        Ok(count) if count == have => invalid(format!("Topic already has {have} partition(s).")),
        Ok(count) if count > have => Ok(count - have),
        _ => invalid(format!(
            "The topic {name} currently has {have} partition(s); {} would not be an increase.",
            asked.count
        )),
    }
}

#[cfg(test)]
mod tests;
