//! The second stage of Produce: waits until the batches are durable, and encodes the response.

use std::borrow::Cow;
use std::rc::Rc;

use super::leader_hint::LeaderHints;
use crate::api::figures::Inside;
use crate::api::outcome::{Header, Outcome};
use crate::api::server::Server;
use crate::disk::journal::Sequence;
use crate::model::{ErrorCode, PartitionIndex};
use crate::partition::append::{AppendRefusal, Produced};
use crate::router::Call;
use crate::router::message::{CloseReason, Reply};
use crate::wire::data::produce::{ProduceResponse, ProducedPartition, RecordError};
use crate::wire::{ApiKey, Topic};

/// A Produce request whose batches are appended, or are being sent to other shards.
pub struct Pending {
    pub(super) server: Rc<Server>,
    pub(super) header: Header,
    pub(super) listener: Rc<str>,
    pub(super) acks: i16,
    pub(super) slots: Vec<Slot>,
    pub(super) calls: Vec<Call>,
    /// The newest journal group that holds a batch of this request on this shard.
    pub(super) sequence: Sequence,
    /// The names of the topics, one after the other.
    pub(super) topic_names: Vec<u8>,
    /// Counts the request until it is answered or dropped.
    pub(super) _waiting: Inside,
}

/// One partition of the response.
pub(super) struct Slot {
    pub(super) topic: TopicKey,
    pub(super) partition: PartitionIndex,
    pub(super) state: SlotState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TopicKey {
    /// The position of the name in `Pending::topic_names`.
    Name {
        at: u32,
        bytes: u16,
    },
    Id(crate::model::TopicId),
}

pub(super) enum SlotState {
    Done(Result<Produced, AppendRefusal>),
    /// Batch `item` of call `call`.
    Remote {
        call: usize,
        item: usize,
    },
}

impl Pending {
    /// Whether [`finish`](Self::finish) would not wait: all batches are local and committed, or acks is 0.
    pub fn is_ready(&self) -> bool {
        self.calls.is_empty() && (self.acks == 0 || self.server.shard.committed() >= self.sequence)
    }

    /// Waits for other shards and for the commit, then encodes the response. A failed disk becomes
    /// KAFKA_STORAGE_ERROR. With acks=0 there is no response, and a refused batch closes the connection.
    pub async fn finish(mut self) -> Outcome {
        let mut replies = Vec::with_capacity(self.calls.len());
        for call in std::mem::take(&mut self.calls) {
            match call.reply().await {
                Reply::Produced(produced) => replies.push(produced.into_iter().map(Some).collect::<Vec<_>>()),
                _ => unreachable!("a produce call is answered by Produced"),
            }
        }
        for slot in &mut self.slots {
            if let SlotState::Remote { call, item } = slot.state {
                slot.state = SlotState::Done(replies[call][item].take().expect("each item belongs to one slot"));
            }
        }
        if self.acks == 0 {
            let mut first = None;
            for slot in &self.slots {
                if let SlotState::Done(Err(refusal)) = &slot.state {
                    self.server.requests.failed(ApiKey::Produce, refusal.error);
                    first.get_or_insert(refusal.error);
                }
            }
            // A producer with acks=0 gets no response. Closing the connection makes it refresh its metadata.
            return match first {
                None => Outcome::Nothing,
                Some(error) => Outcome::Close(CloseReason::RefusedBatch(error)),
            };
        }
        let committed = self.server.shard.wait_committed(self.sequence).await;
        let image = self.server.shard.image();
        let mut hints = LeaderHints::new(&image, &self.listener);
        let partitions = self.slots.iter().map(|slot| {
            let topic = match slot.topic {
                TopicKey::Id(id) => Topic::Id(id),
                TopicKey::Name { at, bytes } => {
                    let name = &self.topic_names[at as usize..at as usize + usize::from(bytes)];
                    Topic::Name(std::str::from_utf8(name).expect("the name was a string in the request"))
                }
            };
            let SlotState::Done(result) = &slot.state else { unreachable!("all replies have arrived") };
            match (result, &committed) {
                (Ok(produced), Ok(())) => ProducedPartition {
                    base_offset: produced.base_offset.0,
                    log_append_time_ms: produced.log_append_time_ms,
                    log_start_offset: produced.log_start_offset.0,
                    ..ProducedPartition::refused(topic, slot.partition, ErrorCode::None)
                },
                // Appended, but not durable.
                (Ok(_), Err(failure)) => ProducedPartition {
                    error_message: Some(Cow::Owned(failure.to_string())),
                    ..ProducedPartition::refused(topic, slot.partition, ErrorCode::KafkaStorageError)
                },
                (Err(refusal), _) => ProducedPartition {
                    error_message: refusal.message.as_deref().map(Cow::Borrowed),
                    record_errors: refusal
                        .record_errors
                        .iter()
                        .map(|fault| RecordError {
                            batch_index: fault.batch_index,
                            message: Some(Cow::Borrowed(fault.message.as_str())),
                        })
                        .collect(),
                    // KIP-951
                    current_leader: match refusal.error {
                        ErrorCode::NotLeaderOrFollower => hints.leader(topic, slot.partition),
                        _ => Default::default(),
                    },
                    ..ProducedPartition::refused(topic, slot.partition, refusal.error)
                },
            }
        });
        let partitions: Vec<_> = partitions.collect();
        for refused in partitions.iter().filter(|partition| partition.error_code.is_error()) {
            self.server.requests.failed(ApiKey::Produce, refused.error_code);
        }
        let node_endpoints = hints.into_endpoints();
        let response = ProduceResponse { partitions, throttle_time_ms: 0, node_endpoints };
        match response.encode_frame(self.header.version, self.header.correlation_id) {
            Ok(frame) => Outcome::frame(frame),
            Err(error) => Outcome::Close(CloseReason::UnencodableResponse(error)),
        }
    }
}
