//! Reading batches: all partitions of a topic at once, each from its leader.

use super::produce::is_transient;
use super::{Client, ClientError, may_retry};
use crate::model::ErrorCode;
use crate::wire::ApiKey;
use crate::wire::Topic;
use crate::wire::data::fetch::{AbortedTransaction, FetchPartition, FetchRequest, FetchResponse};
use std::collections::BTreeMap;

/// Where to read on in a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    pub partition: i32,
    pub offset: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchOptions {
    /// How long a broker may wait for the first byte.
    pub max_wait_ms: i32,
    /// Of one broker's answer. A first batch that is larger comes whole.
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    /// Stop at the first open transaction. Records of aborted ones are still there to be skipped.
    pub is_read_committed: bool,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions { max_wait_ms: 500, max_bytes: 50 << 20, partition_max_bytes: 1 << 20, is_read_committed: false }
    }
}

/// What one partition had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    pub partition: i32,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    /// -1 from brokers before Fetch v5.
    pub log_start_offset: i64,
    /// When reading committed: the producers of aborted transactions among the records, and where each begins.
    pub aborted: Vec<AbortedTransaction>,
    /// Whole batches and maybe the beginning of one more. The first may begin before the position asked for.
    pub records: Vec<u8>,
}

impl Client {
    /// Reads from every position once. A partition whose leader is moving may be missing in the answer; at least one is
    /// there, or it is an error.
    pub fn fetch(
        &mut self,
        topic: &str,
        positions: &[Position],
        options: FetchOptions,
    ) -> Result<Vec<Fetched>, ClientError> {
        let deadline = self.deadline();
        loop {
            let (fetched, failure) = self.fetch_once(topic, positions, options)?;
            let Some(error) = failure else { return Ok(fetched) };
            self.forget_topic(topic);
            if !fetched.is_empty() {
                return Ok(fetched);
            }
            if !may_retry(deadline) {
                return Err(error);
            }
        }
    }

    fn fetch_once(
        &mut self,
        topic: &str,
        positions: &[Position],
        options: FetchOptions,
    ) -> Result<(Vec<Fetched>, Option<ClientError>), ClientError> {
        let topic_id = self.topic(topic)?.topic_id;
        let mut by_leader: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
        for position in positions {
            let leader_id = self.topic(topic)?.partition(position.partition)?.leader_id;
            by_leader.entry(leader_id).or_default().push(*position);
        }
        let mut fetched = Vec::new();
        let mut failure = None;
        let mut sent = Vec::new();
        for (leader_id, positions) in by_leader {
            match self.send_fetch(leader_id, topic, topic_id, &positions, options) {
                Ok(pending) => sent.push((leader_id, pending)),
                Err(error) => failure = Some(self.fetch_failed(leader_id, error)?),
            }
        }
        for (leader_id, (pending, version)) in sent {
            let connection = self.broker(leader_id)?;
            match connection.receive(&pending) {
                Ok(frame) => {
                    let answer = connection.read(&pending, &frame, |reader| FetchResponse::decode(reader, version))?;
                    let answer_code = answer.head.error_code;
                    ClientError::check(answer_code, None, || format!("cannot fetch from {topic}"))?;
                    for told in answer.partitions {
                        let subject = || format!("cannot fetch from {topic}-{}", told.head.partition);
                        match ClientError::check(told.head.error_code, None, subject) {
                            Ok(()) => fetched.push(Fetched {
                                partition: told.head.partition,
                                high_watermark: told.head.high_watermark,
                                last_stable_offset: told.head.last_stable_offset,
                                log_start_offset: told.head.log_start_offset,
                                aborted: told.head.aborted_transactions.clone().unwrap_or_default(),
                                records: told.records.to_vec(),
                            }),
                            Err(error) if is_transient(told.head.error_code) => failure = Some(error),
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => failure = Some(self.fetch_failed(leader_id, error)?),
            }
        }
        Ok((fetched, failure))
    }

    /// A lost connection is worth another try: reading twice does no harm.
    fn fetch_failed(&mut self, leader_id: i32, error: ClientError) -> Result<ClientError, ClientError> {
        self.drop_broker(leader_id);
        if error.is_connection_lost() { Ok(error) } else { Err(error) }
    }

    fn send_fetch(
        &mut self,
        leader_id: i32,
        topic: &str,
        topic_id: crate::model::TopicId,
        positions: &[Position],
        options: FetchOptions,
    ) -> Result<(super::connection::Pending, i16), ClientError> {
        let connection = self.broker(leader_id)?;
        // From version 13 on topics go by id, which an older metadata answer did not tell.
        let version = connection.version(ApiKey::Fetch, if topic_id.is_zero() { 12 } else { i16::MAX })?;
        let named = if version >= 13 { Topic::Id(topic_id) } else { Topic::Name(topic) };
        let partitions = positions
            .iter()
            .map(|position| FetchPartition {
                partition_max_bytes: options.partition_max_bytes,
                ..FetchPartition::new(named, position.partition, position.offset)
            })
            .collect();
        let request = FetchRequest {
            max_wait_ms: options.max_wait_ms,
            min_bytes: 1,
            max_bytes: options.max_bytes,
            isolation_level: i8::from(options.is_read_committed),
            partitions,
            ..FetchRequest::default()
        };
        let correlation_id = connection.correlation_id();
        let frame = request.encode_frame(version, correlation_id, Some(connection.client_id()));
        let frame = frame.map_err(|source| connection.unencodable(ApiKey::Fetch, source))?;
        Ok((connection.send(ApiKey::Fetch, version, correlation_id, &frame)?, version))
    }
}

/// The codes that mean a position is outside the log.
pub fn is_out_of_range(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { code: ErrorCode::OffsetOutOfRange, .. })
}
