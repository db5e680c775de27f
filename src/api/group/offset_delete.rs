//! OffsetDelete (key 47): forgets what a group has committed for some partitions.

use super::coordinate::{Call, Framed, Place, settled};
use crate::api::gather::by_topic;
use crate::model::ErrorCode;
use crate::wire::group::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: Call, reader: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let mut request = OffsetDeleteRequest::decode(reader, call.header.version)?;
    if request.group_id.is_empty() {
        return Ok(call.now(&refuse(ErrorCode::InvalidGroupId)));
    }
    let ledger = match call.place(&request.group_id) {
        Place::Here(ledger) => ledger,
        Place::There(owner) => return Ok(call.forward(owner)),
        Place::Nowhere(error) => return Ok(call.now(&refuse(error))),
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
        let deleted = settled(&ledger, stepped).await.and_then(|deleted| deleted);
        let response = match deleted {
            Ok(response) => {
                let all = response.topics.into_iter().chain(unknown);
                let topics = by_topic(all.map(|topic| (topic.name, topic.partitions))).into_iter();
                let topics = topics.map(|(name, partitions)| OffsetDeleteResponseTopic { name, partitions });
                OffsetDeleteResponse { topics: topics.collect(), ..response }
            }
            Err(error) => refuse(error),
        };
        call.answer(&response)
    }))
}

fn refuse(error_code: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() }
}
