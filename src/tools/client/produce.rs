//! Produces batches: one request per leader, sent to all leaders before the first response is read. Batches whose
//! leader moved are sent again.

use super::{Client, ClientError, may_retry};
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::record::header::advance_sequence;
use crate::wire::data::produce::{ProduceHead, ProduceRequestWriter, ProduceResponse};
use crate::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::{ApiKey, Topic};
use std::collections::BTreeMap;

/// When the broker acknowledges a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// The broker does not respond.
    None = 0,
    /// The leader has appended the batch.
    Leader = 1,
    /// All in-sync replicas have appended the batch.
    All = -1,
}

/// A complete record batch for one partition.
#[derive(Clone, Debug)]
pub struct PartitionBatch {
    /// The partition number.
    pub partition: i32,
    /// The encoded batch, with its CRC.
    pub batch: Vec<u8>,
}

/// The offset of an appended batch. With [`Acks::None`] the offset is unknown and `base_offset` is -1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The partition number.
    pub partition: i32,
    /// The offset of the first record of the batch.
    pub base_offset: i64,
}

/// The identity of an idempotent producer, and its next sequence for each partition (KIP-98).
#[derive(Clone, Debug)]
pub struct ProducerIdentity {
    /// The producer id that the broker assigned.
    pub producer_id: ProducerId,
    /// The epoch of the producer id.
    pub producer_epoch: ProducerEpoch,
    next_sequences: BTreeMap<(String, i32), i32>,
}

impl ProducerIdentity {
    /// Reserves `records` sequence numbers in a partition, and returns the first one as the batch's base sequence.
    pub fn take_sequence(&mut self, topic: &str, partition: i32, records: i32) -> i32 {
        let next = self.next_sequences.entry((topic.to_string(), partition)).or_insert(0);
        std::mem::replace(next, advance_sequence(*next, records))
    }
}

impl Client {
    /// Requests a new producer id. Returns [`ClientError::NoCommonVersion`] from a broker without idempotence.
    pub fn init_producer(&mut self) -> Result<ProducerIdentity, ClientError> {
        let deadline = self.deadline();
        loop {
            let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
            let response: InitProducerIdResponse = self.bootstrap.call(&request)?;
            if is_transient(response.error_code) && may_retry(deadline) {
                continue;
            }
            ClientError::check(response.error_code, None, || "cannot get a producer id".into())?;
            let (producer_id, producer_epoch) = (response.producer_id, response.producer_epoch);
            return Ok(ProducerIdentity { producer_id, producer_epoch, next_sequences: BTreeMap::new() });
        }
    }

    /// Appends `batches`, at most one per partition, and returns their offsets.
    ///
    /// `is_idempotent` means that the batches carry a producer id and sequences, so that a retry cannot append twice.
    /// Without it, the call fails if it is unknown whether the broker appended a batch.
    pub fn produce(
        &mut self,
        topic: &str,
        batches: Vec<PartitionBatch>,
        acks: Acks,
        is_idempotent: bool,
    ) -> Result<Vec<Appended>, ClientError> {
        let deadline = self.deadline();
        let mut left = batches;
        let mut appended = Vec::with_capacity(left.len());
        loop {
            let attempt = self.produce_once(topic, std::mem::take(&mut left), acks)?;
            appended.extend(attempt.appended);
            left.extend(attempt.unacknowledged);
            let Some((error, is_outcome_unknown)) = attempt.failure else { return Ok(appended) };
            // Without sequences, the broker cannot recognize a batch that it has already appended.
            if (is_outcome_unknown && !is_idempotent) || !may_retry(deadline) {
                return Err(error);
            }
            self.forget_topic(topic);
        }
    }

    /// Sends each batch once and collects the outcomes.
    fn produce_once(&mut self, topic: &str, batches: Vec<PartitionBatch>, acks: Acks) -> Result<Attempt, ClientError> {
        let topic_id = self.topic(topic)?.topic_id;
        let mut attempt = Attempt::default();
        let mut sent = Vec::new();
        for (leader_id, batches) in self.by_leader(topic, batches, |batch| batch.partition)? {
            match self.send_batches(leader_id, topic, topic_id, &batches, acks) {
                Ok(pending) => sent.push((leader_id, pending, batches)),
                Err(error) => self.fail_leader(leader_id, error, batches, &mut attempt)?,
            }
        }
        for (leader_id, (pending, version), batches) in sent {
            if acks == Acks::None {
                attempt.appended.extend(batches.iter().map(|b| Appended { partition: b.partition, base_offset: -1 }));
                continue;
            }
            let connection = self.broker(leader_id)?;
            match connection.receive(&pending) {
                Ok(frame) => {
                    let response =
                        connection.read(&pending, &frame, |reader| ProduceResponse::decode(reader, version))?;
                    attempt.apply_response(topic, &response, batches)?;
                }
                Err(error) => self.fail_leader(leader_id, error, batches, &mut attempt)?,
            }
        }
        Ok(attempt)
    }

    /// Marks the batches of a lost connection for a retry. Other errors end the call.
    fn fail_leader(
        &mut self,
        leader_id: i32,
        error: ClientError,
        batches: Vec<PartitionBatch>,
        attempt: &mut Attempt,
    ) -> Result<(), ClientError> {
        if !error.is_connection_lost() {
            return Err(error);
        }
        self.drop_broker(leader_id);
        attempt.unacknowledged.extend(batches);
        attempt.failure = Some((error, true));
        Ok(())
    }

    fn send_batches(
        &mut self,
        leader_id: i32,
        topic: &str,
        topic_id: crate::model::TopicId,
        batches: &[PartitionBatch],
        acks: Acks,
    ) -> Result<(super::connection::Pending, i16), ClientError> {
        let timeout_ms = self.timeout_ms();
        let connection = self.broker(leader_id)?;
        // Produce v13 names topics by id, which a Metadata response before v10 does not contain.
        let version = connection.version(ApiKey::Produce, if topic_id.is_zero() { 12 } else { i16::MAX })?;
        let correlation_id = connection.correlation_id();
        let head = ProduceHead { transactional_id: None, acks: acks as i16, timeout_ms };
        let mut writer: ProduceRequestWriter<&[u8]> =
            ProduceRequestWriter::new(version, correlation_id, Some(connection.client_id()), head, 1);
        writer.topic(if version >= 13 { Topic::Id(topic_id) } else { Topic::Name(topic) }, batches.len());
        for batch in batches {
            writer.partition(batch.partition, &batch.batch);
        }
        let frame = writer.finish().map_err(|source| connection.unencodable(ApiKey::Produce, source))?.to_vec();
        Ok((connection.send(ApiKey::Produce, version, correlation_id, &frame)?, version))
    }

    /// Waits until the brokers have processed the batches that were sent with [`Acks::None`]. A broker that rejects
    /// such a batch closes the connection, and this call then returns that error.
    pub fn sync(&mut self) -> Result<(), ClientError> {
        self.brokers.values_mut().try_for_each(super::Connection::sync)
    }
}

/// The outcome of one attempt to produce.
#[derive(Default)]
struct Attempt {
    appended: Vec<Appended>,
    /// The batches to send again.
    unacknowledged: Vec<PartitionBatch>,
    /// The latest transient error, and whether a broker may have appended an unacknowledged batch.
    failure: Option<(ClientError, bool)>,
}

impl Attempt {
    fn apply_response(
        &mut self,
        topic: &str,
        response: &ProduceResponse<'_>,
        batches: Vec<PartitionBatch>,
    ) -> Result<(), ClientError> {
        for batch in batches {
            let partition = batch.partition;
            let subject = || format!("cannot append to {topic}-{partition}");
            let Some(result) = response.partitions.iter().find(|result| result.partition == partition) else {
                return Err(ClientError::missing_result(subject()));
            };
            let record_error = result.record_errors.iter().filter_map(|error| error.message.as_deref()).next();
            let message = record_error.or(result.error_message.as_deref()).map(str::to_owned);
            match ClientError::check(result.error_code, message, subject) {
                Ok(()) => self.appended.push(Appended { partition, base_offset: result.base_offset }),
                Err(error) if is_transient(result.error_code) => {
                    let is_outcome_unknown = self.failure.as_ref().is_some_and(|(_, unknown)| *unknown)
                        || matches!(
                            result.error_code,
                            ErrorCode::RequestTimedOut | ErrorCode::NotEnoughReplicasAfterAppend
                        );
                    self.failure = Some((error, is_outcome_unknown));
                    self.unacknowledged.push(batch);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether a retry with fresh metadata may succeed.
pub(super) fn is_transient(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::RequestTimedOut
            | ErrorCode::NotController
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::KafkaStorageError
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::OffsetNotAvailable
            | ErrorCode::ThrottlingQuotaExceeded
    )
}
