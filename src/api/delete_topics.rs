//! DeleteTopics (key 20): by name, or from version 6 on by id.

use std::collections::HashSet;

use super::context::Context;
use super::refusal::{DUPLICATE_NAME, Refusal, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID};
use crate::controller::Plan;
use crate::metadata::{Command, Image, Topic};
use crate::model::{ErrorCode, TopicId};
use crate::wire::delete_topics::{DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};

pub fn plan(request: &DeleteTopicsRequest, context: &Context<'_>) -> Plan<DeleteTopicsResponse> {
    let mut plan = Plan { commands: Vec::new(), answer: DeleteTopicsResponse::default() };
    if !context.config.delete_topic_enable {
        // TOPIC_DELETION_DISABLED came with version 3.
        let code = if context.version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
        plan.answer = refuse_all(request, code, "Topic deletion is disabled.");
        return plan;
    }
    let asked = asked(request);
    let mut answered = HashSet::new();
    for state in &asked {
        // Whoever says neither or both is told so each time.
        let is_clear = state.name.is_some() == state.topic_id.is_zero();
        if is_clear && !answered.insert((state.name.as_deref(), state.topic_id)) {
            continue;
        }
        let result = match find(state, &asked, context.image) {
            Ok(topic) if state.name.is_none() && asked.contains(&by_name(topic)) => continue, // Answered by its name.
            Ok(topic) if state.name.is_some() && asked.contains(&by_id(topic)) => {
                let message = "The provided topic name maps to an ID that was already supplied.";
                result(state.name.clone(), topic.id, ErrorCode::InvalidRequest, Some(message.into()))
            }
            Ok(topic) => {
                plan.commands.push(Command::DeleteTopic { id: topic.id });
                // By whichever name it was asked for, the answer has both.
                result(Some(topic.name.as_str().into()), topic.id, ErrorCode::None, None)
            }
            Err(refusal) => result(state.name.clone(), state.topic_id, refusal.code, Some(refusal.message)),
        };
        plan.answer.responses.push(result);
    }
    plan
}

/// The answer when nothing of the request could be done.
pub fn refuse_all(request: &DeleteTopicsRequest, code: ErrorCode, message: &str) -> DeleteTopicsResponse {
    let refuse = |state: DeleteTopicState| result(state.name, state.topic_id, code, Some(message.into()));
    DeleteTopicsResponse {
        responses: asked(request).into_iter().map(refuse).collect(),
        ..DeleteTopicsResponse::default()
    }
}

/// All versions' ways of naming topics as the newest one's.
fn asked(request: &DeleteTopicsRequest) -> Vec<DeleteTopicState> {
    let named = |name: &String| DeleteTopicState { name: Some(name.clone()), topic_id: TopicId::ZERO };
    request.topics.iter().cloned().chain(request.topic_names.iter().map(named)).collect()
}

fn by_name(topic: &Topic) -> DeleteTopicState {
    DeleteTopicState { name: Some(topic.name.as_str().into()), topic_id: TopicId::ZERO }
}

fn by_id(topic: &Topic) -> DeleteTopicState {
    DeleteTopicState { name: None, topic_id: topic.id }
}

fn find<'a>(state: &DeleteTopicState, all: &[DeleteTopicState], image: &'a Image) -> Result<&'a Topic, Refusal> {
    let invalid = |message: &str| Refusal::new(ErrorCode::InvalidRequest, message);
    let is_repeated = all.iter().filter(|other| *other == state).count() > 1;
    match (&state.name, state.topic_id.is_zero()) {
        (Some(_), false) => Err(invalid("You may not specify both topic name and topic id.")),
        (None, true) => Err(invalid("Neither topic name nor id were specified.")),
        (Some(_), true) if is_repeated => Err(invalid(DUPLICATE_NAME)),
        (None, false) if is_repeated => Err(invalid("Duplicate topic id.")),
        (Some(name), true) => {
            let topic = image.topic(name);
            topic.map(|topic| &**topic).ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicOrPartition, UNKNOWN_TOPIC))
        }
        (None, false) => {
            let topic = image.topic_by_id(state.topic_id);
            topic.map(|topic| &**topic).ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicId, UNKNOWN_TOPIC_ID))
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
