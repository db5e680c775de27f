//! Appending batches: sent to the partitions' leaders at once, and again where a leader has moved.

use super::{Client, ClientError, may_retry};
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::record::header::advance_sequence;
use crate::wire::data::produce::{ProduceHead, ProduceRequestWriter, ProduceResponse};
use crate::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::{ApiKey, Topic};
use std::collections::BTreeMap;

/// What has to have happened before the broker answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// It does not answer.
    None = 0,
    /// The leader has the batch.
    Leader = 1,
    /// All in-sync replicas have it.
    All = -1,
}

/// A whole record batch for one partition.
#[derive(Clone, Debug)]
pub struct PartitionBatch {
    pub partition: i32,
    pub batch: Vec<u8>,
}

/// Where a batch went. With [`Acks::None`] nobody knows, and the offset is -1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    pub partition: i32,
    pub base_offset: i64,
}

/// An idempotent producer's identity, and how far its sequences are (KIP-98).
#[derive(Clone, Debug)]
pub struct ProducerIdentity {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    next_sequences: BTreeMap<(String, i32), i32>,
}

impl ProducerIdentity {
    /// The base sequence for a new batch of `records` records; the next batch there follows it.
    pub fn take_sequence(&mut self, topic: &str, partition: i32, records: i32) -> i32 {
        let next = self.next_sequences.entry((topic.to_string(), partition)).or_insert(0);
        std::mem::replace(next, advance_sequence(*next, records))
    }
}

impl Client {
    /// A fresh identity; [`ClientError::NoCommonVersion`] from a broker without idempotence.
    pub fn init_producer(&mut self) -> Result<ProducerIdentity, ClientError> {
        let deadline = self.deadline();
        loop {
            let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
            let answer: InitProducerIdResponse = self.bootstrap.call(&request)?;
            if is_transient(answer.error_code) && may_retry(deadline) {
                continue;
            }
            ClientError::check(answer.error_code, None, || "cannot get a producer id".into())?;
            let (producer_id, producer_epoch) = (answer.producer_id, answer.producer_epoch);
            return Ok(ProducerIdentity { producer_id, producer_epoch, next_sequences: BTreeMap::new() });
        }
    }

    /// Appends `batches`, at most one per partition, and says where they went. `is_idempotent` says that they carry a
    /// producer's identity and may therefore be sent twice.
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
            let round = self.produce_once(topic, std::mem::take(&mut left), acks)?;
            appended.extend(round.appended);
            left.extend(round.again);
            let Some((error, is_outcome_unknown)) = round.failure else { return Ok(appended) };
            // Without an identity a batch whose fate is unknown might be appended twice.
            if (is_outcome_unknown && !is_idempotent) || !may_retry(deadline) {
                return Err(error);
            }
            self.forget_topic(topic);
        }
    }

    fn produce_once(&mut self, topic: &str, batches: Vec<PartitionBatch>, acks: Acks) -> Result<Round, ClientError> {
        let topic_id = self.topic(topic)?.topic_id;
        let mut by_leader: BTreeMap<i32, Vec<PartitionBatch>> = BTreeMap::new();
        for batch in batches {
            let leader_id = self.topic(topic)?.partition(batch.partition)?.leader_id;
            by_leader.entry(leader_id).or_default().push(batch);
        }
        let mut round = Round::default();
        let mut sent = Vec::new();
        for (leader_id, batches) in by_leader {
            match self.send_batches(leader_id, topic, topic_id, &batches, acks) {
                Ok(pending) => sent.push((leader_id, pending, batches)),
                Err(error) => self.connection_failed(leader_id, error, batches, &mut round)?,
            }
        }
        for (leader_id, (pending, version), batches) in sent {
            if acks == Acks::None {
                round.appended.extend(batches.iter().map(|b| Appended { partition: b.partition, base_offset: -1 }));
                continue;
            }
            let connection = self.broker(leader_id)?;
            match connection.receive(&pending) {
                Ok(frame) => {
                    let answer =
                        connection.read(&pending, &frame, |reader| ProduceResponse::decode(reader, version))?;
                    round.take_answer(topic, &answer, batches)?;
                }
                Err(error) => self.connection_failed(leader_id, error, batches, &mut round)?,
            }
        }
        Ok(round)
    }

    fn connection_failed(
        &mut self,
        leader_id: i32,
        error: ClientError,
        batches: Vec<PartitionBatch>,
        round: &mut Round,
    ) -> Result<(), ClientError> {
        if !error.is_connection_lost() {
            return Err(error);
        }
        self.drop_broker(leader_id);
        round.again.extend(batches);
        round.failure = Some((error, true));
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
        let timeout_ms = i32::try_from(self.config.timeout.as_millis()).unwrap_or(i32::MAX);
        let connection = self.broker(leader_id)?;
        // From version 13 on topics go by id, which an older metadata answer did not tell.
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

    /// Waits until the brokers have worked off what was sent without acknowledgement. A broker that has refused a batch
    /// of that kind has closed its connection, which is the error here.
    pub fn sync(&mut self) -> Result<(), ClientError> {
        self.brokers.values_mut().try_for_each(super::Connection::sync)
    }
}

/// What became of one attempt.
#[derive(Default)]
struct Round {
    appended: Vec<Appended>,
    again: Vec<PartitionBatch>,
    /// Why some are to be sent again, and whether any of them might have been appended nevertheless.
    failure: Option<(ClientError, bool)>,
}

impl Round {
    fn take_answer(
        &mut self,
        topic: &str,
        answer: &ProduceResponse<'_>,
        batches: Vec<PartitionBatch>,
    ) -> Result<(), ClientError> {
        for batch in batches {
            let partition = batch.partition;
            let subject = || format!("cannot append to {topic}-{partition}");
            let Some(told) = answer.partitions.iter().find(|told| told.partition == partition) else {
                let message = Some("the broker's answer leaves this partition out".into());
                return Err(ClientError::Refused { subject: subject(), code: ErrorCode::UnknownServerError, message });
            };
            let blamed = told.record_errors.iter().filter_map(|error| error.message.as_deref()).next();
            let message = blamed.or(told.error_message.as_deref()).map(str::to_owned);
            match ClientError::check(told.error_code, message, subject) {
                Ok(()) => self.appended.push(Appended { partition, base_offset: told.base_offset }),
                Err(error) if is_transient(told.error_code) => {
                    let is_outcome_unknown = self.failure.as_ref().is_some_and(|(_, unknown)| *unknown)
                        || matches!(
                            told.error_code,
                            ErrorCode::RequestTimedOut | ErrorCode::NotEnoughReplicasAfterAppend
                        );
                    self.failure = Some((error, is_outcome_unknown));
                    self.again.push(batch);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the same request may succeed a moment later, with fresh metadata.
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
