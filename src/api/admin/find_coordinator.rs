//! FindCoordinator (key 10): the broker that coordinates a group or a transactional id.
//!
//! The first request creates the internal topic, and its response already names the coordinator. (Kafka responds with
//! COORDINATOR_NOT_AVAILABLE until the topic exists, and the client retries.)

use std::rc::Rc;

use super::change::Change;
use super::context::Context;
use super::create_topics::plan_internal;
use crate::controller::Plan;
use crate::coordinator::partition_of;
use crate::coordinator::topic::InternalTopic;
use crate::metadata::Image;
use crate::model::ErrorCode;
use crate::router::broker;
use crate::runtime;
use crate::wire::admin::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse, GROUP, TRANSACTION,
};

/// The internal topic that holds the state of the requested coordinators. Share groups are not supported.
fn topic_of(request: &FindCoordinatorRequest) -> Result<InternalTopic, ErrorCode> {
    match request.key_type {
        GROUP => Ok(InternalTopic::ConsumerOffsets),
        TRANSACTION => Ok(InternalTopic::TransactionState),
        _ => Err(ErrorCode::InvalidRequest),
    }
}

/// The internal topic that has to be created first.
pub fn missing(request: &FindCoordinatorRequest, context: &Context<'_>) -> Option<InternalTopic> {
    let asks = context.version < 4 || !request.coordinator_keys.is_empty();
    topic_of(request).ok().filter(|topic| asks && context.image.topic(topic.name()).is_none())
}

/// Plans the internal topic, unless it exists by now.
pub fn plan(request: &FindCoordinatorRequest, context: &Context<'_>, random: &mut dyn FnMut() -> u64) -> Plan<()> {
    let mut plan = Plan { commands: Vec::new(), answer: () };
    if let Some(topic) = missing(request, context) {
        match plan_internal(topic, &mut context.image.clone(), context.config, random) {
            Ok(command) => plan.commands.push(command),
            Err(refusal) => tracing::error!("cannot create the internal topic {}: {}", topic.name(), refusal.message),
        }
    }
    plan
}

/// Answers from the image. `None`: the controller has to create the internal topic first.
pub(in crate::api) fn answer_known(
    request: &FindCoordinatorRequest,
    context: &Context<'_>,
) -> Option<FindCoordinatorResponse> {
    missing(request, context).is_none().then(|| answer(request, context))
}

/// Creates the internal topic on the controller's shard, and answers from the image that has it.
pub(in crate::api) async fn create_missing(change: Change, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let (request, change) = (Rc::new(request), Rc::new(change));
    let create =
        |request: &FindCoordinatorRequest, context: &Context<'_>| plan(request, context, &mut runtime::random_u64);
    let image = match change.clone().propose(request.clone(), create).await {
        Ok((image, ())) => image,
        Err(error) => {
            tracing::error!("cannot create the internal topic of a coordinator: {error}");
            change.server.controller().image()
        }
    };
    answer(&request, &change.context(&image, &change.server.shard.config()))
}

pub fn answer(request: &FindCoordinatorRequest, context: &Context<'_>) -> FindCoordinatorResponse {
    let topic = topic_of(request);
    let find = |key: &str| {
        let found = topic.and_then(|topic| find(key, topic, context.image, context.listener));
        let mut coordinator = Coordinator { key: key.into(), node_id: -1, port: -1, ..Coordinator::default() };
        coordinator.error_message = Some(String::new());
        match found {
            Ok(broker) => {
                coordinator.node_id = broker.id.0;
                coordinator.host = broker.host.into();
                coordinator.port = broker.port;
            }
            Err(code) => coordinator.error_code = code,
        }
        coordinator
    };
    if context.version >= 4 {
        let coordinators = request.coordinator_keys.iter().map(|key| find(key)).collect();
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let Coordinator { node_id, host, port, error_code, .. } = find(&request.key);
    // Kafka's message on success.
    let error_message = Some(if error_code.is_error() { error_code.to_string() } else { "NONE".into() });
    FindCoordinatorResponse { error_code, error_message, node_id, host, port, ..FindCoordinatorResponse::default() }
}

fn find<'a>(
    key: &str,
    topic: InternalTopic,
    image: &'a Image,
    listener: &str,
) -> Result<broker::Broker<'a>, ErrorCode> {
    let topic = image.topic(topic.name()).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let partition = partition_of(key, topic.partitions.len());
    let leader = topic.partitions[partition as usize].leader.and_then(|leader| image.node(leader));
    let node = leader.ok_or(ErrorCode::CoordinatorNotAvailable)?;
    broker::serving_broker(node, listener, topic.id, partition).ok_or(ErrorCode::CoordinatorNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::{World, check_encodes, numbers};

    fn request(key_type: i8, keys: &[&str]) -> FindCoordinatorRequest {
        let coordinator_keys = keys.iter().map(|key| (*key).into()).collect();
        FindCoordinatorRequest { key_type, coordinator_keys, ..FindCoordinatorRequest::default() }
    }

    fn create(world: &mut World, request: &FindCoordinatorRequest) {
        let plan = plan(request, &world.at(6), &mut numbers());
        world.commit(&plan.commands);
    }

    #[test]
    fn the_first_request_creates_the_topic_and_names_its_owner() {
        let mut world = World::nodes(1);
        let groups = request(GROUP, &["a", "b", "a"]);
        assert_eq!(missing(&groups, &world.at(6)), Some(InternalTopic::ConsumerOffsets));
        create(&mut world, &groups);
        assert_eq!(missing(&groups, &world.at(6)), None);
        let topic = world.image.topic("__consumer_offsets").unwrap();
        assert_eq!((topic.partitions.len(), topic.partitions[0].replicas.len()), (50, 1));
        assert_eq!(topic.overrides["cleanup.policy"], "compact");
        let response = answer(&groups, &world.at(6));
        check_encodes(&response, 6);
        let expected = broker::broker_of(world.image.node(crate::model::NodeId(1)).unwrap(), topic.id, 97 % 50);
        assert_eq!(response.coordinators[0].node_id, expected.0);
        assert_eq!(response.coordinators[0], response.coordinators[2]);
        assert!(world.image.topic("__transaction_state").is_none());
        let mut world = World::nodes(1);
        create(&mut world, &request(TRANSACTION, &["t"]));
        assert_eq!(world.image.topic("__transaction_state").unwrap().partitions.len(), 50);
    }

    #[test]
    fn one_key_is_answered_at_the_top_before_version_4() {
        let mut world = World::nodes(1);
        let old_request = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
        assert_eq!(answer(&old_request, &world.at(3)).error_code, ErrorCode::CoordinatorNotAvailable);
        assert_eq!(missing(&old_request, &world.at(0)), Some(InternalTopic::ConsumerOffsets));
        create(&mut world, &request(GROUP, &["g"]));
        for version in 0..4 {
            let response = answer(&old_request, &world.at(version));
            check_encodes(&response, version);
            assert_eq!((response.error_code, response.node_id / 1000), (ErrorCode::None, 1));
        }
    }

    #[test]
    fn an_unknown_key_type_is_rejected_and_creates_no_topic() {
        let world = World::nodes(1);
        for key_type in [2, -1, 7] {
            let request = request(key_type, &["g"]);
            assert_eq!(missing(&request, &world.at(6)), None);
            let response = answer(&request, &world.at(6));
            assert_eq!(
                (response.coordinators[0].error_code, response.coordinators[0].node_id),
                (ErrorCode::InvalidRequest, -1)
            );
        }
        assert_eq!(missing(&request(GROUP, &[]), &world.at(6)), None);
    }
}
