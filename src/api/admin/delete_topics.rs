//! DeleteTopics (key 20): deletes topics by name or, from version 6 on, by id.

use std::collections::{HashMap, HashSet};

use super::change::Change;
use super::context::Context;
use super::refusal::{AdminRefusal, DUPLICATE_NAME, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID};
use crate::controller::Plan;
use crate::metadata::{Command, Image, Topic};
use crate::model::{ErrorCode, TopicId};
use crate::wire::admin::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

/// The handler, on the controller's shard.
pub(in crate::api) async fn delete(change: Change, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    change.make(request, plan, refuse_all).await
}

pub fn plan(request: &DeleteTopicsRequest, context: &Context<'_>) -> Plan<DeleteTopicsResponse> {
    let mut plan = Plan { commands: Vec::new(), answer: DeleteTopicsResponse::default() };
    if !context.config.delete_topic_enable {
        // TOPIC_DELETION_DISABLED came with version 3.
        let code = if context.version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
        plan.answer = refuse_all(request, code, "Topic deletion is disabled.");
        return plan;
    }
    let asked = asked(request);
    let mut counts: HashMap<Key<'_>, usize> = HashMap::new();
    asked.iter().for_each(|state| *counts.entry(key(state)).or_default() += 1);
    let mut answered = HashSet::new();
    for state in &asked {
        // A topic with neither name nor id, or with both, gets an error each time.
        let is_clear = state.name.is_some() == state.topic_id.is_zero();
        if is_clear && !answered.insert(key(state)) {
            continue;
        }
        let is_repeated = counts[&key(state)] > 1;
        let result = match find(state, is_repeated, context.image) {
            // Its name is in the request too and gets the result.
            Ok(topic) if state.name.is_none() && counts.contains_key(&by_name(topic)) => continue,
            Ok(topic) if state.name.is_some() && counts.contains_key(&by_id(topic)) => {
                let message = "The provided topic name maps to an ID that was already supplied.";
                result(state.name.clone(), topic.id, ErrorCode::InvalidRequest, Some(message.into()))
            }
            Ok(topic) => {
                plan.commands.push(Command::DeleteTopic { id: topic.id });
                // The response has both name and id.
                result(Some(topic.name.as_str().into()), topic.id, ErrorCode::None, None)
            }
            Err(refusal) => result(state.name.clone(), state.topic_id, refusal.code, Some(refusal.message)),
        };
        plan.answer.responses.push(result);
    }
    plan
}

/// The response when the controller rejects the request as a whole.
pub fn refuse_all(request: &DeleteTopicsRequest, code: ErrorCode, message: &str) -> DeleteTopicsResponse {
    let refuse = |state: DeleteTopicState| result(state.name, state.topic_id, code, Some(message.into()));
    DeleteTopicsResponse {
        responses: asked(request).into_iter().map(refuse).collect(),
        ..DeleteTopicsResponse::default()
    }
}

/// The topics of the request, in the form of the newest version.
fn asked(request: &DeleteTopicsRequest) -> Vec<DeleteTopicState> {
    let named = |name: &String| DeleteTopicState { name: Some(name.clone()), topic_id: TopicId::ZERO };
    request.topics.iter().cloned().chain(request.topic_names.iter().map(named)).collect()
}

/// A topic by its name or by its id.
type Key<'a> = (Option<&'a str>, TopicId);

fn key(state: &DeleteTopicState) -> Key<'_> {
    (state.name.as_deref(), state.topic_id)
}

fn by_name(topic: &Topic) -> Key<'_> {
    (Some(topic.name.as_str()), TopicId::ZERO)
}

fn by_id(topic: &Topic) -> Key<'_> {
    (None, topic.id)
}

fn find<'a>(state: &DeleteTopicState, is_repeated: bool, image: &'a Image) -> Result<&'a Topic, AdminRefusal> {
    let invalid = |message: &str| AdminRefusal::new(ErrorCode::InvalidRequest, message);
    match (&state.name, state.topic_id.is_zero()) {
        (Some(_), false) => Err(invalid("You may not specify both topic name and topic id.")),
        (None, true) => Err(invalid("Neither topic name nor id were specified.")),
        (Some(_), true) if is_repeated => Err(invalid(DUPLICATE_NAME)),
        (None, false) if is_repeated => Err(invalid("Duplicate topic id.")),
        (Some(name), true) => {
            let topic = image.topic(name);
            topic
                .map(|topic| &**topic)
                .ok_or_else(|| AdminRefusal::new(ErrorCode::UnknownTopicOrPartition, UNKNOWN_TOPIC))
        }
        (None, false) => {
            let topic = image.topic_by_id(state.topic_id);
            topic.map(|topic| &**topic).ok_or_else(|| AdminRefusal::new(ErrorCode::UnknownTopicId, UNKNOWN_TOPIC_ID))
        }
    }
}

fn result(
    name: Option<String>,
    topic_id: TopicId,
    error_code: ErrorCode,
    message: Option<String>,
) -> DeletableTopicResult {
    DeletableTopicResult { name, topic_id, error_code, error_message: message }
}

#[cfg(test)]
mod tests;
