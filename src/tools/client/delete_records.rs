//! Records deleted from the front of a topic's partitions.

use super::produce::is_transient;
use super::{Client, ClientError, may_retry};
use crate::model::ErrorCode;
use crate::wire::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic, HIGH_WATERMARK,
};
use std::collections::BTreeMap;

impl Client {
    /// Deletes the records below an offset in each of these partitions, or with `None` all there are. Answers where each
    /// partition's log begins then.
    pub fn delete_records(
        &mut self,
        topic: &str,
        below: &BTreeMap<i32, Option<i64>>,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let deadline = self.deadline();
        let mut starts: BTreeMap<i32, i64> = BTreeMap::new();
        loop {
            let mut by_leader: BTreeMap<i32, Vec<DeleteRecordsPartition>> = BTreeMap::new();
            for (&partition_index, offset) in below.iter().filter(|(partition, _)| !starts.contains_key(partition)) {
                let leader_id = self.topic(topic)?.partition(partition_index)?.leader_id;
                let asked = DeleteRecordsPartition { partition_index, offset: offset.unwrap_or(HIGH_WATERMARK) };
                by_leader.entry(leader_id).or_default().push(asked);
            }
            let mut failure = None;
            for (leader_id, partitions) in by_leader {
                match self.ask_to_delete(leader_id, topic, partitions) {
                    Ok(answer) => {
                        for told in answer.topics.into_iter().flat_map(|told| told.partitions) {
                            let subject = || format!("cannot delete records of {topic}-{}", told.partition_index);
                            match ClientError::check(told.error_code, None, subject) {
                                Ok(()) => _ = starts.insert(told.partition_index, told.low_watermark),
                                Err(error) if is_transient(told.error_code) => failure = Some(error),
                                Err(error) => return Err(error),
                            }
                        }
                    }
                    Err(error) if error.is_connection_lost() => {
                        self.drop_broker(leader_id);
                        failure = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if let Some(error) = failure {
                self.forget_topic(topic);
                if may_retry(deadline) {
                    continue;
                }
                return Err(error);
            }
            return match below.keys().find(|partition| !starts.contains_key(partition)) {
                None => Ok(starts),
                Some(partition) => Err(ClientError::Refused {
                    subject: format!("cannot delete records of {topic}-{partition}"),
                    code: ErrorCode::UnknownServerError,
                    message: Some("the broker's answer leaves this partition out".into()),
                }),
            };
        }
    }

    fn ask_to_delete(
        &mut self,
        leader_id: i32,
        topic: &str,
        partitions: Vec<DeleteRecordsPartition>,
    ) -> Result<DeleteRecordsResponse, ClientError> {
        let timeout_ms = i32::try_from(self.config.timeout.as_millis()).unwrap_or(i32::MAX);
        let topics = vec![DeleteRecordsTopic { name: topic.to_string(), partitions }];
        self.broker(leader_id)?.call(&DeleteRecordsRequest { topics, timeout_ms })
    }
}
