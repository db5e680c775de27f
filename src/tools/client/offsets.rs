//! From a time, or a word for a place in the log, to an offset.

use super::leaders::PartitionResult;
use super::{Client, ClientError};
use crate::wire::ApiKey;
use crate::wire::data::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic, timestamp_from_version,
};

pub use crate::wire::data::list_offsets::{EARLIEST, LATEST, MAX_TIMESTAMP};

/// What a partition answered. `offset` is `None` where no record is that late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedOffset {
    pub partition: i32,
    pub offset: Option<i64>,
    /// Of the record at that offset; -1 for places that are no record's.
    pub timestamp: i64,
}

impl Client {
    /// The offset for `timestamp` ([`EARLIEST`], [`LATEST`], [`MAX_TIMESTAMP`] or milliseconds) in each of `partitions`, in
    /// their order.
    pub fn list_offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<Vec<ListedOffset>, ClientError> {
        let listed = self.ask_leaders(topic, partitions, "list offsets", |client, leader_id, partitions| {
            client.ask_leader(leader_id, topic, partitions, timestamp)
        })?;
        Ok(partitions.iter().map(|partition| listed[partition]).collect())
    }

    fn ask_leader(
        &mut self,
        leader_id: i32,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<Vec<PartitionResult<ListedOffset>>, ClientError> {
        let timeout_ms = i32::try_from(self.config.timeout.as_millis()).unwrap_or(i32::MAX);
        let connection = self.broker(leader_id)?;
        let version = connection.version(ApiKey::ListOffsets, i16::MAX)?;
        let needed = timestamp_from_version(timestamp).unwrap_or(i16::MAX);
        if version < needed {
            return Err(ClientError::NoCommonVersion {
                address: connection.address().to_string(),
                api: ApiKey::ListOffsets.api().name,
                ours: (needed, ApiKey::ListOffsets.api().max),
                theirs: Some((version, version)),
            });
        }
        let asked = partitions.iter().map(|&partition_index| ListOffsetsPartition {
            partition_index,
            timestamp,
            ..Default::default()
        });
        let request = ListOffsetsRequest {
            topics: vec![ListOffsetsTopic { name: topic.to_string(), partitions: asked.collect() }],
            timeout_ms,
            ..Default::default()
        };
        let answer: ListOffsetsResponse = connection.call(&request)?;
        let told = answer.topics.into_iter().filter(|told| told.name == topic).flat_map(|told| told.partitions);
        Ok(told
            .map(|told| {
                let offset = (told.offset >= 0).then_some(told.offset);
                let (partition, timestamp) = (told.partition_index, told.timestamp);
                PartitionResult {
                    partition,
                    code: told.error_code,
                    answer: ListedOffset { partition, offset, timestamp },
                }
            })
            .collect())
    }
}
