//! AlterPartitionReassignments (key 45): accepts the replicas that a partition already has, and rejects all others. A
//! topic's id decides which shard serves a partition, so a partition cannot move to another broker of its node.

use super::context::Context;
use super::refusal::{AdminRefusal, UNKNOWN_TOPIC};
use crate::model::{BrokerId, ErrorCode, PartitionIndex};
use crate::router::broker;
use crate::wire::admin::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};

pub fn answer(
    request: &AlterPartitionReassignmentsRequest,
    context: &Context<'_>,
) -> AlterPartitionReassignmentsResponse {
    let may_resize = request.allow_replication_factor_change;
    let responses = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let (index, replicas) = (asked.partition_index, asked.replicas.as_deref());
            let (error_code, error_message) = match check(&topic.name, index, replicas, may_resize, context) {
                Ok(()) => (ErrorCode::None, None),
                Err(refusal) => (refusal.code, Some(refusal.message).filter(|message| !message.is_empty())),
            };
            ReassignablePartitionResponse { partition_index: index, error_code, error_message }
        });
        ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: may_resize,
        responses: responses.collect(),
        // As in Kafka.
        error_message: request.topics.is_empty().then(String::new),
        ..AlterPartitionReassignmentsResponse::default()
    }
}

/// Whether the partition has these replicas. `None` cancels a reassignment, and none is ever in progress.
fn check(
    name: &str,
    index: PartitionIndex,
    replicas: Option<&[i32]>,
    may_resize: bool,
    context: &Context<'_>,
) -> Result<(), AdminRefusal> {
    let unknown = || AdminRefusal::new(ErrorCode::UnknownTopicOrPartition, UNKNOWN_TOPIC);
    let topic = context.image.topic(name).ok_or_else(unknown)?;
    let partition = topic.partition(index).ok_or_else(unknown)?;
    let replicas = replicas.ok_or_else(|| AdminRefusal::new(ErrorCode::NoReassignmentInProgress, ""))?;
    check_assignment(replicas, context)?;
    let have = context.replicas(topic, index as usize, partition).all;
    if replicas == have {
        return Ok(());
    }
    if !may_resize && replicas.len() != have.len() {
        let message = format!("The replication factor is changed from {} to {}", have.len(), replicas.len());
        return Err(AdminRefusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    // Without the name: a request can repeat one partition very often.
    let message = format!("Tidemill does not move partitions; the replicas stay {have:?}.");
    Err(AdminRefusal::new(ErrorCode::InvalidReplicaAssignment, message))
}

/// Checks that the brokers exist and differ. Reports the lowest wrong one, as Kafka does.
fn check_assignment(replicas: &[i32], context: &Context<'_>) -> Result<(), AdminRefusal> {
    let invalid = |message: String| Err(AdminRefusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for (at, broker) in sorted.iter().enumerate() {
        if broker::node_of(context.image, BrokerId(*broker)).is_none() {
            return invalid(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            ));
        }
        if at > 0 && sorted[at - 1] == *broker {
            return invalid(format!("The manual partition assignment includes the broker {broker} more than once."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::{World, check_encodes};
    use crate::wire::admin::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};

    fn ask(world: &World, index: i32, replicas: Option<&[i32]>, may_resize: bool) -> (ErrorCode, Option<String>) {
        let partition = ReassignablePartition { partition_index: index, replicas: replicas.map(<[i32]>::to_vec) };
        let request = AlterPartitionReassignmentsRequest {
            allow_replication_factor_change: may_resize,
            topics: vec![ReassignableTopic { name: "a".into(), partitions: vec![partition] }],
            ..AlterPartitionReassignmentsRequest::default()
        };
        let mut response = answer(&request, &world.at(1));
        check_encodes(&response, 1);
        assert_eq!(response.allow_replication_factor_change, may_resize);
        let result = response.responses.remove(0).partitions.remove(0);
        (result.error_code, result.error_message)
    }

    /// The broker that serves a-0, and the other broker of its node.
    fn brokers(world: &World) -> (i32, i32) {
        let topic = world.image.topic("a").unwrap();
        let leader = world.at(1).replicas(topic, 0, &topic.partitions[0]).leader;
        (leader, 2001 - leader)
    }

    #[test]
    fn the_present_replicas_are_accepted_and_all_others_are_rejected() {
        let world = World::nodes(1).topic("a", &[&[1]]);
        let (leader, other) = brokers(&world);
        assert_eq!(ask(&world, 0, Some(&[leader]), true), (ErrorCode::None, None));
        let invalid = ErrorCode::InvalidReplicaAssignment;
        let checks: [(&[i32], ErrorCode, &str); 5] = [
            (&[], invalid, "empty replica list"),
            (&[leader, 77], invalid, "includes broker 77, but"),
            (&[leader, leader], invalid, "more than once"),
            (&[other], invalid, "does not move partitions"),
            (&[leader, other], invalid, "does not move partitions"),
        ];
        for (replicas, code, message) in checks {
            let (found, text) = ask(&world, 0, Some(replicas), true);
            assert_eq!(found, code, "{replicas:?}");
            assert!(text.as_ref().is_some_and(|text| text.contains(message)), "{replicas:?}: {text:?}");
        }
        assert_eq!(ask(&world, 0, Some(&[leader, other]), false).0, ErrorCode::InvalidReplicationFactor);
        assert_eq!(ask(&world, 1, Some(&[leader]), true).0, ErrorCode::UnknownTopicOrPartition);
    }

    #[test]
    fn no_reassignment_is_in_progress() {
        let world = World::nodes(1).topic("a", &[&[1]]);
        assert_eq!(ask(&world, 0, None, true).0, ErrorCode::NoReassignmentInProgress);
        assert_eq!(ask(&world, -1, None, true).0, ErrorCode::UnknownTopicOrPartition);
    }
}
