//! Deletes records from the start of partitions (DeleteRecords).

use std::collections::BTreeMap;

use super::leaders::PartitionResult;
use super::{Client, ClientError};
use crate::wire::data::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic, HIGH_WATERMARK,
};

impl Client {
    /// Deletes the records below an offset in each of these partitions; `None` deletes up to the high watermark.
    /// Returns the new log start offset of each partition.
    pub fn delete_records(
        &mut self,
        topic: &str,
        below: &BTreeMap<i32, Option<i64>>,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let partitions: Vec<i32> = below.keys().copied().collect();
        self.call_leaders(topic, &partitions, "delete records", |client, leader_id, partitions| {
            let timeout_ms = client.timeout_ms();
            let limits = partitions.iter().map(|&partition_index| {
                let offset = below[&partition_index].unwrap_or(HIGH_WATERMARK);
                DeleteRecordsPartition { partition_index, offset }
            });
            let topics = vec![DeleteRecordsTopic { name: topic.to_string(), partitions: limits.collect() }];
            let response: DeleteRecordsResponse =
                client.broker(leader_id)?.call(&DeleteRecordsRequest { topics, timeout_ms })?;
            let results = response.topics.into_iter().flat_map(|topic| topic.partitions);
            let results = results.map(|result| PartitionResult {
                partition: result.partition_index,
                code: result.error_code,
                value: result.low_watermark,
            });
            Ok(results.collect())
        })
    }
}
