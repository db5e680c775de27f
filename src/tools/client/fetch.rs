//! Fetches batches: one request per leader, for all of its partitions of a topic.

use super::produce::is_transient;
use super::{Client, ClientError, may_retry};
use crate::model::ErrorCode;
use crate::wire::ApiKey;
use crate::wire::Topic;
use crate::wire::data::fetch::{AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchedPartition};

/// The next offset to fetch from a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchPosition {
    /// The partition number.
    pub partition: i32,
    /// The offset of the first record to return.
    pub offset: i64,
}

/// The limits of a fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchOptions {
    /// How long a broker may wait for the first byte.
    pub max_wait_ms: i32,
    /// The limit for one response. The broker returns the first batch even if it is larger.
    pub max_bytes: i32,
    /// The limit for one partition in one response.
    pub partition_max_bytes: i32,
    /// Fetch only up to the last stable offset. The records of aborted transactions below it are returned, and the
    /// caller must skip them.
    pub is_read_committed: bool,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions { max_wait_ms: 500, max_bytes: 50 << 20, partition_max_bytes: 1 << 20, is_read_committed: false }
    }
}

/// The result of a fetch from one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// The partition number.
    pub partition: i32,
    /// The end of the committed records.
    pub high_watermark: i64,
    /// The end of the records that `read_committed` returns.
    pub last_stable_offset: i64,
    /// -1 from brokers before Fetch v5.
    pub log_start_offset: i64,
    /// With `is_read_committed`: the aborted transactions that overlap `records`.
    pub aborted: Vec<AbortedTransaction>,
    /// Complete batches, possibly followed by a truncated one. The first batch may start below the requested offset.
    pub records: Vec<u8>,
}

impl Client {
    /// Fetches from every position once. The result lacks partitions whose leader is moving, but has at least one
    /// partition. If there is none, the call retries until the deadline and then fails.
    pub fn fetch(
        &mut self,
        topic: &str,
        positions: &[FetchPosition],
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
        positions: &[FetchPosition],
        options: FetchOptions,
    ) -> Result<(Vec<Fetched>, Option<ClientError>), ClientError> {
        let topic_id = self.topic(topic)?.topic_id;
        let mut fetched = Vec::new();
        let mut failure = None;
        let mut sent = Vec::new();
        for (leader_id, positions) in self.by_leader(topic, positions.iter().copied(), |at| at.partition)? {
            match self.send_fetch(leader_id, topic, topic_id, &positions, options) {
                Ok(pending) => sent.push((leader_id, pending)),
                Err(error) => failure = Some(self.retriable_fetch_error(leader_id, error)?),
            }
        }
        for (leader_id, (pending, version)) in sent {
            let connection = self.broker(leader_id)?;
            match connection.receive(&pending) {
                Ok(frame) => {
                    let response =
                        connection.read(&pending, &frame, |reader| FetchResponse::decode(reader, version))?;
                    let code = response.head.error_code;
                    ClientError::check(code, None, || format!("cannot fetch from {topic}"))?;
                    for FetchedPartition { head, records, .. } in response.partitions {
                        let subject = || format!("cannot fetch from {topic}-{}", head.partition);
                        match ClientError::check(head.error_code, None, subject) {
                            Ok(()) => fetched.push(Fetched {
                                partition: head.partition,
                                high_watermark: head.high_watermark,
                                last_stable_offset: head.last_stable_offset,
                                log_start_offset: head.log_start_offset,
                                aborted: head.aborted_transactions.unwrap_or_default(),
                                records: records.to_vec(),
                            }),
                            Err(error) if is_transient(head.error_code) => failure = Some(error),
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => failure = Some(self.retriable_fetch_error(leader_id, error)?),
            }
        }
        Ok((fetched, failure))
    }

    /// Drops the connection. Returns `Ok` if the connection was lost, because a fetch can be repeated safely.
    fn retriable_fetch_error(&mut self, leader_id: i32, error: ClientError) -> Result<ClientError, ClientError> {
        self.drop_broker(leader_id);
        if error.is_connection_lost() { Ok(error) } else { Err(error) }
    }

    fn send_fetch(
        &mut self,
        leader_id: i32,
        topic: &str,
        topic_id: crate::model::TopicId,
        positions: &[FetchPosition],
        options: FetchOptions,
    ) -> Result<(super::connection::Pending, i16), ClientError> {
        let connection = self.broker(leader_id)?;
        // Fetch v13 names topics by id, which a Metadata response before v10 does not contain.
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

/// Whether a fetch failed because its offset is outside the log.
pub fn is_out_of_range(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { code: ErrorCode::OffsetOutOfRange, .. })
}
