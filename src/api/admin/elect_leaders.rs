//! ElectLeaders (key 43): reports for each partition why no election takes place. A partition is led by its only live
//! in-sync replica, so no other replica can become its leader.

use super::context::Context;
use super::refusal::{AdminRefusal, UNKNOWN_TOPIC};
use crate::metadata::Partition;
use crate::model::ErrorCode;
use crate::wire::admin::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PREFERRED, PartitionResult, ReplicaElectionResult, TopicPartitions,
    UNCLEAN,
};

pub fn answer(request: &ElectLeadersRequest, context: &Context<'_>) -> ElectLeadersResponse {
    let election_type = request.election_type;
    if !matches!(election_type, PREFERRED | UNCLEAN) {
        return refuse_all(request, ErrorCode::InvalidRequest, &format!("Unknown election type {election_type}"));
    }
    let replica_election_results = match &request.topic_partitions {
        Some(asked) => asked.iter().map(|topic| of_topic(topic, election_type, context)).collect(),
        None => of_all(election_type, context),
    };
    ElectLeadersResponse { replica_election_results, ..ElectLeadersResponse::default() }
}

/// Partitions that need no election are left out, as in Kafka.
fn of_all(election_type: i8, context: &Context<'_>) -> Vec<ReplicaElectionResult> {
    let topics = context.image.topics().map(|topic| {
        let refusals = topic.partitions.iter().map(|partition| refusal(partition, election_type));
        let results = (0..).zip(refusals).filter(|(_, refusal)| refusal.code != ErrorCode::ElectionNotNeeded);
        ReplicaElectionResult {
            topic: topic.name.to_string(),
            partition_result: results.map(|(partition_id, refusal)| result(partition_id, refusal)).collect(),
        }
    });
    topics.collect()
}

fn of_topic(asked: &TopicPartitions, election_type: i8, context: &Context<'_>) -> ReplicaElectionResult {
    let topic = context.image.topic(&asked.topic);
    let results = asked.partitions.iter().map(|&partition_id| {
        let partition = topic.and_then(|topic| topic.partition(partition_id));
        let unknown = || AdminRefusal::new(ErrorCode::UnknownTopicOrPartition, UNKNOWN_TOPIC);
        result(partition_id, partition.map_or_else(unknown, |partition| refusal(partition, election_type)))
    });
    ReplicaElectionResult { topic: asked.topic.clone(), partition_result: results.collect() }
}

/// Why the partition gets no new leader.
fn refusal(partition: &Partition, election_type: i8) -> AdminRefusal {
    let has_leader = match election_type {
        PREFERRED => partition.leader.is_some() && partition.leader == partition.replicas.first().copied(),
        _ => partition.leader.is_some(),
    };
    let (code, message) = match election_type {
        _ if has_leader => (ErrorCode::ElectionNotNeeded, "Leader election not needed for topic partition."),
        PREFERRED => (ErrorCode::PreferredLeaderNotAvailable, "The preferred leader was not available."),
        _ => (ErrorCode::EligibleLeadersNotAvailable, "Eligible topic partition leaders are not available."),
    };
    AdminRefusal::new(code, message)
}

fn result(partition_id: i32, refusal: AdminRefusal) -> PartitionResult {
    PartitionResult { partition_id, error_code: refusal.code, error_message: Some(refusal.message) }
}

/// The response to a request that is rejected as a whole.
fn refuse_all(request: &ElectLeadersRequest, error_code: ErrorCode, message: &str) -> ElectLeadersResponse {
    let refuse = |topic: &TopicPartitions| ReplicaElectionResult {
        topic: topic.topic.clone(),
        partition_result: topic
            .partitions
            .iter()
            .map(|&partition_id| result(partition_id, AdminRefusal::new(error_code, message)))
            .collect(),
    };
    let asked = request.topic_partitions.iter().flatten();
    ElectLeadersResponse {
        error_code,
        replica_election_results: asked.map(refuse).collect(),
        ..ElectLeadersResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::{World, check_encodes};

    fn ask(world: &World, election_type: i8, asked: Option<&[(&str, &[i32])]>) -> (ErrorCode, Vec<(i32, ErrorCode)>) {
        let topic = |(topic, partitions): &(&str, &[i32])| TopicPartitions {
            topic: (*topic).into(),
            partitions: partitions.to_vec(),
        };
        let topic_partitions = asked.map(|asked| asked.iter().map(topic).collect());
        let request = ElectLeadersRequest { election_type, topic_partitions, ..ElectLeadersRequest::default() };
        let response = answer(&request, &world.at(2));
        check_encodes(&response, 2);
        let results = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
        (response.error_code, results.map(|result| (result.partition_id, result.error_code)).collect())
    }

    #[test]
    fn a_partition_with_a_leader_needs_no_election() {
        let world = World::nodes(1).topic("a", &[&[1], &[1]]);
        for election_type in [PREFERRED, UNCLEAN] {
            let expected = [
                (1, ErrorCode::ElectionNotNeeded),
                (2, ErrorCode::UnknownTopicOrPartition),
                (0, ErrorCode::UnknownTopicOrPartition),
            ];
            let asked: &[(&str, &[i32])] = &[("a", &[1, 2]), ("b", &[0])];
            assert_eq!(ask(&world, election_type, Some(asked)), (ErrorCode::None, expected.into()));
            assert_eq!(ask(&world, election_type, None), (ErrorCode::None, vec![]));
        }
    }

    #[test]
    fn a_partition_without_live_replicas_gets_no_leader() {
        let world = World::nodes(2).topic("a", &[&[2]]).without_node(2);
        for (election_type, code) in
            [(PREFERRED, ErrorCode::PreferredLeaderNotAvailable), (UNCLEAN, ErrorCode::EligibleLeadersNotAvailable)]
        {
            assert_eq!(ask(&world, election_type, None), (ErrorCode::None, vec![(0, code)]));
        }
    }

    #[test]
    fn an_unknown_election_type_is_an_error_of_the_request_and_of_each_partition() {
        let world = World::nodes(1).topic("a", &[&[1]]);
        let invalid = ErrorCode::InvalidRequest;
        assert_eq!(ask(&world, 2, Some(&[("a", &[0])])), (invalid, vec![(0, invalid)]));
        assert_eq!(ask(&world, -1, None), (invalid, vec![]));
    }
}
