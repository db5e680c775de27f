//! From a time, or a word for a place in the log, to an offset.

use super::produce::is_transient;
use super::{Client, ClientError, may_retry};
use crate::model::ErrorCode;
use crate::wire::ApiKey;
use crate::wire::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic, timestamp_from_version,
};
use std::collections::BTreeMap;

pub use crate::wire::list_offsets::{EARLIEST, LATEST, MAX_TIMESTAMP};

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
        let deadline = self.deadline();
        let mut listed = BTreeMap::new();
        loop {
            let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
            for &partition in partitions.iter().filter(|partition| !listed.contains_key(*partition)) {
                let leader_id = self.topic(topic)?.partition(partition)?.leader_id;
                by_leader.entry(leader_id).or_default().push(partition);
            }
            let mut failure = None;
            for (leader_id, partitions) in by_leader {
                match self.ask_leader(leader_id, topic, &partitions, timestamp) {
                    Ok(answers) => {
                        for (code, answer) in answers {
                            let subject = || format!("cannot list offsets of {topic}-{}", answer.partition);
                            match ClientError::check(code, None, subject) {
                                Ok(()) => _ = listed.insert(answer.partition, answer),
                                Err(error) if is_transient(code) => failure = Some(error),
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
            return partitions
                .iter()
                .map(|partition| {
                    listed.get(partition).copied().ok_or_else(|| ClientError::Refused {
                        subject: format!("cannot list offsets of {topic}-{partition}"),
                        code: ErrorCode::UnknownServerError,
                        message: Some("the broker's answer leaves this partition out".into()),
                    })
                })
                .collect();
        }
    }

    fn ask_leader(
        &mut self,
        leader_id: i32,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<Vec<(ErrorCode, ListedOffset)>, ClientError> {
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
                let timestamp = told.timestamp;
                (told.error_code, ListedOffset { partition: told.partition_index, offset, timestamp })
            })
            .collect())
    }
}
