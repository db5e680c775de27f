//! Appends batches: gives the rules of their validation, gives them offsets, and adds them to the log and the journal
//! in one step.

use super::Partition;
use super::producers::{Membership, ProducerVerdict};
use crate::disk::StorageError;
use crate::disk::journal::group::{EntryKind, JournalEntry};
use crate::disk::journal::image::ImageBatch;
use crate::disk::journal::{Journal, Sequence};
use crate::log::AppendedBatch;
use crate::model::{ErrorCode, Offset};
use crate::record::header::{BatchHeader, HEADER_BYTES};
use crate::record::validate::{Accepted, BatchRejected, RecordFault, Rules};

/// The position of an appended batch. It may be acknowledged once the journal has made `sequence` durable and the high
/// watermark has passed `last_offset`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Produced {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// -1 unless the topic has LogAppendTime.
    pub log_append_time_ms: i64,
    /// The first offset of the log, which a producer's response contains.
    pub log_start_offset: Offset,
    /// The batch's journal group. For a duplicate: a group that is not before the first append's; 0 when that one is
    /// committed.
    pub sequence: Sequence,
}

/// Why a batch was not appended, in the form that its producer gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendRefusal {
    /// Kafka's code.
    pub error: ErrorCode,
    /// The text for the client; `None` leaves the text of the code.
    pub message: Option<String>,
    /// The invalid records (KIP-467). Empty if the fault is not in single records.
    pub record_errors: Vec<RecordFault>,
}

impl AppendRefusal {
    /// A refusal of the whole batch.
    pub fn new(error: ErrorCode, message: impl Into<String>) -> AppendRefusal {
        AppendRefusal { error, message: Some(message.into()), record_errors: Vec::new() }
    }
}

impl From<ErrorCode> for AppendRefusal {
    fn from(error: ErrorCode) -> AppendRefusal {
        AppendRefusal { error, message: None, record_errors: Vec::new() }
    }
}

impl From<BatchRejected> for AppendRefusal {
    fn from(rejected: BatchRejected) -> AppendRefusal {
        let BatchRejected { error, message, record_errors } = rejected;
        AppendRefusal { error, message: Some(message), record_errors }
    }
}

/// The features that the version of a client's Produce request allows. Only `api` knows the versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProduceCapabilities {
    /// The message of the rejection for a batch in zstd; `None`: zstd is allowed (KIP-110).
    pub zstd_rejection: Option<&'static str>,
    /// The producer follows `transaction.version=2` (KIP-890): a batch adds its partition to the transaction.
    pub has_transactions_v2: bool,
    /// The producer understands TRANSACTION_ABORTABLE (KIP-890).
    pub knows_transaction_abortable: bool,
}

impl ProduceCapabilities {
    /// The capabilities of the newest clients.
    pub const ALL: ProduceCapabilities =
        ProduceCapabilities { zstd_rejection: None, has_transactions_v2: true, knows_transaction_abortable: true };
}

/// A client's requirements for the append of its batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendRequest {
    /// The rules of the request's version.
    pub capabilities: ProduceCapabilities,
    /// -1, 0 or 1.
    pub acks: i16,
    /// Wall time of the request in ms since 1970: the timestamp under LogAppendTime.
    pub now_ms: i64,
}

impl Partition {
    /// The rules for the batches of a Produce request; an error if the partition accepts none now.
    pub fn rules(&self, request: &AppendRequest) -> Result<Rules, AppendRefusal> {
        let config = self.config();
        // KIP-966: a partition with fewer replicas than min.insync.replicas requires all of them in sync.
        let required = config.min_insync_replicas.min(self.replicas.get());
        if request.acks == -1 && self.in_sync_replicas.get() < required {
            let message = format!(
                "The in-sync replicas of {}-{} are {}, fewer than the {required} that min.insync.replicas={} asks for.",
                self.name,
                self.id.partition,
                self.in_sync_replicas.get(),
                config.min_insync_replicas
            );
            return Err(AppendRefusal::new(ErrorCode::NotEnoughReplicas, message));
        }
        Ok(Rules {
            zstd_rejection: request.capabilities.zstd_rejection,
            message_bytes_max: config.max_message_bytes,
            record_bytes_max: config.max_decompressed_message_bytes,
            segment_bytes_max: config.segment_bytes as usize,
            compression: config.compression(),
            timestamp_type: config.message_timestamp_type,
            timestamp_before_max_ms: config.message_timestamp_before_max_ms,
            timestamp_after_max_ms: config.message_timestamp_after_max_ms,
            is_compacted: config.cleanup_policy.compacts,
            now_ms: request.now_ms,
        })
    }

    /// Whether the log and the journal can take a batch of this size now.
    pub fn has_room(&self, journal: &Journal, bytes: usize, records: u32, now_ms: i64) -> bool {
        self.log.has_room(bytes, records, now_ms) && journal.has_room(bytes)
    }

    /// Reserves memory for a batch, and rolls to a new segment if that is due. False: memory is short. The reservation
    /// holds only until the caller's next await.
    pub async fn reserve(&self, bytes: usize, records: u32, now_ms: i64) -> Result<bool, StorageError> {
        self.log.reserve(bytes, records, now_ms).await
    }

    /// Releases memory that [`reserve`](Self::reserve) took and no append used.
    pub fn release_reservation(&self) {
        self.log.release_reservation();
    }

    /// Appends a new log start to the journal. Once that is durable, [`advance_log_start`](Self::advance_log_start)
    /// follows. The journal had room since the last await.
    pub fn append_log_start(&self, journal: &Journal, start: Offset) -> Sequence {
        assert!(start <= self.high_watermark.get(), "PART-1: log start {start} <= high watermark");
        assert!(start > self.log.start_offset(), "a log start that does not move is not journaled");
        let leader_epoch = self.leader_epoch.get();
        let entry = JournalEntry { kind: EntryKind::LogStart, partition: self.id, leader_epoch, base_offset: start };
        let sequence = journal.append_log_start(entry);
        self.flushing.note(sequence);
        self.log.decide_log_start(start);
        sequence
    }

    /// Appends an accepted batch. [`has_room`](Self::has_room) was true since the last await, and this function does
    /// not await: log and journal get the batch in the same order (PART-3). `membership`: the proof that the partition
    /// is in the batch's transaction.
    pub fn append(
        &self,
        journal: &Journal,
        accepted: &Accepted<'_>,
        membership: Membership,
        now_ms: i64,
    ) -> Result<Produced, AppendRefusal> {
        if self.deleted.get() {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let header = &accepted.header;
        if header.has_producer() {
            match self.producers.borrow().check(header, membership) {
                Ok(ProducerVerdict::Fresh) => {}
                Ok(ProducerVerdict::Duplicate { base_offset, last_offset, timestamp }) => {
                    let is_stamped = accepted.log_append_time_ms() >= 0;
                    return Ok(Produced {
                        base_offset,
                        last_offset,
                        log_append_time_ms: if is_stamped { timestamp } else { -1 },
                        log_start_offset: self.log.start_offset(),
                        sequence: if last_offset < self.high_watermark() {
                            Sequence::ZERO
                        } else {
                            journal.last_appended()
                        },
                    });
                }
                Err(refusal) => return Err(AppendRefusal::new(refusal.error_code(), refusal.to_string())),
            }
        }
        let delta = accepted.offset_delta_of_max_timestamp;
        let (base_offset, sequence) = self.append_batch(journal, header, &accepted.records, delta, now_ms);
        self.traffic.note_append(header.records_count, HEADER_BYTES + accepted.records.len());
        if header.has_producer() {
            self.producers.borrow_mut().record_batch(header, base_offset, now_ms);
        }
        if cfg!(debug_assertions) {
            self.check();
        }
        let last_offset = base_offset + i64::from(header.last_offset_delta);
        Ok(Produced {
            base_offset,
            last_offset,
            log_append_time_ms: accepted.log_append_time_ms(),
            log_start_offset: self.log.start_offset(),
            sequence,
        })
    }

    /// Gives a batch its offset, copies it into the log, and adds it to the journal, in one step (PART-3). The journal
    /// writes a large batch from the log's memory, and copies a small one.
    pub(super) fn append_batch(
        &self,
        journal: &Journal,
        header: &BatchHeader,
        records: &[u8],
        offset_delta_of_max_timestamp: i32,
        now_ms: i64,
    ) -> (Offset, Sequence) {
        assert!(!self.deleted.get(), "a deleted partition appends nothing");
        assert!(header.last_offset_delta >= 0, "a batch has at least one offset");
        let base_offset = self.log.end_offset();
        let leader_epoch = self.leader_epoch.get();
        let stored: [u8; HEADER_BYTES] = BatchHeader { base_offset, leader_epoch, ..*header }.encode();
        let entry = JournalEntry { kind: EntryKind::Batch, partition: self.id, leader_epoch, base_offset };
        let flush = self.config().flush_ack;
        let batch = AppendedBatch {
            base_offset,
            last_offset: base_offset + i64::from(header.last_offset_delta),
            leader_epoch,
            max_timestamp: header.max_timestamp,
            offset_of_max_timestamp: base_offset + i64::from(offset_delta_of_max_timestamp),
        };
        let (segment, position) = self.log.next_position();
        self.log.append(&batch, &[&stored, records], now_ms);
        let bytes = stored.len() + records.len();
        let sequence = if journal.takes_image(segment, position, bytes) {
            let image = ImageBatch { segment, position, bytes, blocks: self.log.last_blocks(position) };
            journal.append_image(entry, &stored, records, image, flush)
        } else {
            journal.append(entry, &stored, records, flush)
        };
        self.flushing.note(sequence);
        assert_eq!(self.log.end_offset(), batch.last_offset + 1, "PART-3: the journal got the batch at the log's end");
        (base_offset, sequence)
    }
}
