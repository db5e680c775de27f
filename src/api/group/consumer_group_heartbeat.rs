//! ConsumerGroupHeartbeat (key 68): a member of a consumer group joins, stays or leaves, and receives its assignment
//! (KIP-848).

use super::request::{Framed, GroupOwner, GroupRequest, durable, host_of};
use crate::coordinator::group::consumer::{Client, GroupRefusal};
use crate::model::ErrorCode;
use crate::wire::group::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::{Malformed, Reader};

/// The first version whose members choose their own ids (KIP-1082).
const OWN_IDS_FROM: i16 = 1;

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let version = call.header.version;
    let request: ConsumerGroupHeartbeatRequest = call.decode(body)?;
    if let Err(refused) = check(&request, version, &call.server.shard.config().group_consumer_assignors) {
        return Ok(call.respond_now(&refuse(refused)));
    }
    let ledger = match call.owner(&request.group_id) {
        GroupOwner::Local(ledger) => ledger,
        GroupOwner::Remote(owner) => return Ok(call.forward(owner)),
        GroupOwner::Unavailable(error) => return Ok(call.respond_now(&refuse(error.into()))),
    };
    let host = host_of(call.peer);
    let client = Client { id: &call.client_id, host: &host };
    let stepped = ledger.step(|groups, now, writes| groups.consumer_heartbeat(&request, client, now, writes)).await;
    Ok(Box::pin(async move {
        let response = durable(&ledger, stepped).await.map_err(GroupRefusal::from).and_then(|response| response);
        call.respond(&response.unwrap_or_else(refuse))
    }))
}

/// The checks that need no group state.
fn check(request: &ConsumerGroupHeartbeatRequest, version: i16, assignors: &[String]) -> Result<(), GroupRefusal> {
    let invalid = |message: &str| Err(GroupRefusal::new(ErrorCode::InvalidRequest, message));
    let is_empty = |text: &Option<String>| text.as_deref().is_some_and(|text| text.trim().is_empty());
    let epoch = request.member_epoch;
    if (version >= OWN_IDS_FROM || epoch > 0 || epoch == -1) && request.member_id.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        // librdkafka rejoins with nothing but its topics if the application unsubscribes while it revokes partitions.
        // It takes Kafka's INVALID_REQUEST as fatal. After this error it rejoins with a whole request.
        0 if request.rebalance_timeout_ms == -1 && request.topic_partitions.is_none() => {
            let message = "The member must abandon all its partitions and rejoin with its whole description.";
            return Err(GroupRefusal::new(ErrorCode::FencedMemberEpoch, message));
        }
        0 if request.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if request.topic_partitions.as_ref().is_none_or(|has| !has.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
        }
        -2 if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        ..-2 => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    match &request.server_assignor {
        Some(asked) if !assignors.contains(asked) => {
            let message =
                format!("ServerAssignor {asked} is not supported. Supported assignors: {}.", assignors.join(", "));
            Err(GroupRefusal::new(ErrorCode::UnsupportedAssignor, message))
        }
        _ => Ok(()),
    }
}

fn refuse(refused: GroupRefusal) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: refused.error,
        error_message: Some(refused.message),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TopicId;
    use crate::wire::group::consumer_group_heartbeat::TopicPartitions;

    #[test]
    fn a_member_that_rejoins_with_nothing_but_its_topics_is_fenced() {
        let (none, topic) = (Some(vec![]), TopicPartitions { topic_id: TopicId([1; 16]), partitions: vec![0] });
        let invalid = Some(ErrorCode::InvalidRequest);
        for (member_epoch, rebalance_timeout_ms, topic_partitions, expected) in [
            (0, -1, None, Some(ErrorCode::FencedMemberEpoch)),
            (0, -1, none.clone(), invalid),
            (0, 1, None, invalid),
            (0, 1, Some(vec![topic]), invalid),
            (0, 1, none, None),
            (1, -1, None, None),
        ] {
            let request = ConsumerGroupHeartbeatRequest {
                group_id: "g".into(),
                member_id: "m".into(),
                member_epoch,
                rebalance_timeout_ms,
                subscribed_topic_names: Some(vec!["t".into()]),
                topic_partitions,
                ..Default::default()
            };
            assert_eq!(check(&request, 1, &[]).err().map(|refused| refused.error), expected, "{request:?}");
        }
    }
}
