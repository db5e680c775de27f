//! Looks up offsets by timestamp (ListOffsets). The earliest and latest offsets have special timestamps.

use super::leaders::PartitionResult;
use super::{Client, ClientError};
use crate::wire::ApiKey;
use crate::wire::data::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic, timestamp_from_version,
};

pub use crate::wire::data::list_offsets::{EARLIEST, LATEST, MAX_TIMESTAMP};

/// As `isolation_level`: the end is the high watermark.
const READ_UNCOMMITTED: i8 = 0;
/// As `isolation_level`: the end is the last stable offset.
const READ_COMMITTED: i8 = 1;

/// The result for one partition. `offset` is `None` if no record has the timestamp or a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedOffset {
    /// The partition number.
    pub partition: i32,
    /// The offset of the first record with the timestamp or a later one, or the earliest or latest offset.
    pub offset: Option<i64>,
    /// The timestamp of the record at that offset, in ms; -1 for the earliest and latest offsets.
    pub timestamp: i64,
}

impl Client {
    /// The offset for `timestamp` ([`EARLIEST`], [`LATEST`], [`MAX_TIMESTAMP`] or milliseconds) in each of
    /// `partitions`, in the same order.
    pub fn list_offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<Vec<ListedOffset>, ClientError> {
        self.list_offsets_at(topic, partitions, timestamp, READ_UNCOMMITTED)
    }

    /// As [`list_offsets`](Self::list_offsets) for [`LATEST`], but below open transactions.
    pub fn list_stable_offsets(&mut self, topic: &str, partitions: &[i32]) -> Result<Vec<ListedOffset>, ClientError> {
        self.list_offsets_at(topic, partitions, LATEST, READ_COMMITTED)
    }

    fn list_offsets_at(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
        isolation_level: i8,
    ) -> Result<Vec<ListedOffset>, ClientError> {
        let listed = self.call_leaders(topic, partitions, "list offsets", |client, leader_id, partitions| {
            client.list_offsets_of_leader(leader_id, topic, partitions, timestamp, isolation_level)
        })?;
        Ok(partitions.iter().map(|partition| listed[partition]).collect())
    }

    fn list_offsets_of_leader(
        &mut self,
        leader_id: i32,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
        isolation_level: i8,
    ) -> Result<Vec<PartitionResult<ListedOffset>>, ClientError> {
        let timeout_ms = self.timeout_ms();
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
        let lookups = partitions.iter().map(|&partition_index| ListOffsetsPartition {
            partition_index,
            timestamp,
            ..Default::default()
        });
        let request = ListOffsetsRequest {
            topics: vec![ListOffsetsTopic { name: topic.to_string(), partitions: lookups.collect() }],
            timeout_ms,
            isolation_level,
            ..Default::default()
        };
        let response: ListOffsetsResponse = connection.call(&request)?;
        let topics = response.topics.into_iter().filter(|listed| listed.name == topic);
        let results = topics.flat_map(|listed| listed.partitions).map(|result| {
            let offset = (result.offset >= 0).then_some(result.offset);
            let (partition, timestamp) = (result.partition_index, result.timestamp);
            PartitionResult { partition, code: result.error_code, value: ListedOffset { partition, offset, timestamp } }
        });
        Ok(results.collect())
    }
}
