//! OffsetDelete (key 47): deletes the committed offsets of some partitions.

use super::request::{Framed, GroupOwner, GroupRequest, durable};
use crate::api::gather::by_topic;
use crate::model::ErrorCode;
use crate::wire::group::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let mut request: OffsetDeleteRequest = call.decode(body)?;
    if request.group_id.is_empty() {
        return Ok(call.respond_now(&refuse(ErrorCode::InvalidGroupId)));
    }
    let ledger = match call.owner(&request.group_id) {
        GroupOwner::Local(ledger) => ledger,
        GroupOwner::Remote(owner) => return Ok(call.forward(owner)),
        GroupOwner::Unavailable(error) => return Ok(call.respond_now(&refuse(error))),
    };
    let image = call.server.shard.image();
    let mut unknown = Vec::new();
    request.topics.retain_mut(|asked| {
        let topic = image.topic(&asked.name);
        let is_unknown = |index: i32| topic.is_none_or(|topic| topic.partition(index).is_none());
        let gone = asked.partitions.extract_if(.., |asked| is_unknown(asked.partition_index));
        let gone = gone.map(|asked| OffsetDeleteResponsePartition {
            partition_index: asked.partition_index,
            error_code: ErrorCode::UnknownTopicOrPartition,
        });
        let partitions: Vec<_> = gone.collect();
        if !partitions.is_empty() {
            unknown.push(OffsetDeleteResponseTopic { name: asked.name.clone(), partitions });
        }
        !asked.partitions.is_empty()
    });
    let stepped = ledger.step(|groups, _, writes| groups.delete_offsets(&request, writes)).await;
    Ok(Box::pin(async move {
        let deleted = durable(&ledger, stepped).await.and_then(|deleted| deleted);
        let response = match deleted {
            Ok(response) => {
                let all = response.topics.into_iter().chain(unknown);
                let topics = by_topic(all.map(|topic| (topic.name, topic.partitions))).into_iter();
                let topics = topics.map(|(name, partitions)| OffsetDeleteResponseTopic { name, partitions });
                OffsetDeleteResponse { topics: topics.collect(), ..response }
            }
            Err(error) => refuse(error),
        };
        call.respond(&response)
    }))
}

fn refuse(error_code: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() }
}
