//! Records deleted from the front of a topic's partitions.

use std::collections::BTreeMap;

use super::leaders::PartitionResult;
use super::{Client, ClientError};
use crate::wire::data::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic, HIGH_WATERMARK,
};

impl Client {
    /// Deletes the records below an offset in each of these partitions, or with `None` all there are. Answers where each
    /// partition's log begins then.
    pub fn delete_records(
        &mut self,
        topic: &str,
        below: &BTreeMap<i32, Option<i64>>,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let partitions: Vec<i32> = below.keys().copied().collect();
        self.ask_leaders(topic, &partitions, "delete records", |client, leader_id, partitions| {
            let timeout_ms = i32::try_from(client.config.timeout.as_millis()).unwrap_or(i32::MAX);
            let asked = partitions.iter().map(|&partition_index| {
                let offset = below[&partition_index].unwrap_or(HIGH_WATERMARK);
                DeleteRecordsPartition { partition_index, offset }
            });
            let topics = vec![DeleteRecordsTopic { name: topic.to_string(), partitions: asked.collect() }];
            let answer: DeleteRecordsResponse =
                client.broker(leader_id)?.call(&DeleteRecordsRequest { topics, timeout_ms })?;
            let told = answer.topics.into_iter().flat_map(|told| told.partitions);
            Ok(told
                .map(|told| PartitionResult {
                    partition: told.partition_index,
                    code: told.error_code,
                    answer: told.low_watermark,
                })
                .collect())
        })
    }
}
