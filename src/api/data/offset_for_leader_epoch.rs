//! OffsetForLeaderEpoch (key 23): the end offset of a leader epoch (KIP-101, KIP-279, KIP-320).

use std::rc::Rc;

use crate::api::server::Server;
use crate::model::{ErrorCode, LeaderEpoch, Offset};
use crate::router::message::{self, EpochEnd, Reply};
use crate::wire::data::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: OffsetForLeaderEpochRequest,
    _version: i16,
) -> OffsetForLeaderEpochResponse {
    let image = server.shard.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked_topic in request.topics {
        let topic = image.topic(&asked_topic.topic);
        let mut partitions = Vec::with_capacity(asked_topic.partitions.len());
        for asked in asked_topic.partitions {
            let place = topic
                .ok_or(ErrorCode::UnknownTopicOrPartition)
                .and_then(|topic| server.locate(&image, topic, asked.partition));
            let end = match place {
                Err(error) => Err(error),
                Ok((id, owner)) => {
                    let end = EpochEnd {
                        id,
                        current_leader_epoch: LeaderEpoch(asked.current_leader_epoch),
                        leader_epoch: LeaderEpoch(asked.leader_epoch),
                    };
                    if owner == server.shard.id {
                        epoch_end(server, end)
                    } else {
                        match server.router.call(owner, message::ShardRequest::EpochEnds(vec![end])).reply().await {
                            Reply::EpochEnds(mut ends) => ends.pop().expect("one for one"),
                            _ => unreachable!("an epoch call is answered by EpochEnds"),
                        }
                    }
                }
            };
            let (error_code, (leader_epoch, end_offset)) = match end {
                Ok(end) => (ErrorCode::None, end),
                Err(error) => (error, (LeaderEpoch::UNKNOWN, Offset::UNKNOWN)),
            };
            partitions.push(EpochEndOffset {
                error_code,
                partition: asked.partition,
                leader_epoch: leader_epoch.0,
                end_offset: end_offset.0,
            });
        }
        topics.push(OffsetForLeaderTopicResult { topic: asked_topic.topic, partitions });
    }
    OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics }
}

/// On the owning shard.
pub(in crate::api) fn epoch_end(server: &Server, asked: EpochEnd) -> Result<(LeaderEpoch, Offset), ErrorCode> {
    let partition = server.shard.partition(asked.id).ok_or_else(|| server.shard.error_without(asked.id))?;
    partition.check_epoch(asked.current_leader_epoch)?;
    Ok(partition.end_of_epoch(asked.leader_epoch).unwrap_or((LeaderEpoch::UNKNOWN, Offset::UNKNOWN)))
}
