//! Appends on the owning shard: validates a batch, reserves room for it, and appends it.

use std::rc::Rc;

use super::{DECODED_BYTES_MAX, RECHECK_INTERVAL, Shard};
use crate::model::{ErrorCode, TopicPartition};
use crate::partition::append::{AppendRefusal, AppendRequest, Produced};
use crate::partition::producers::Membership;
use crate::partition::transactions::{EndTransaction, MARKER_BYTES_MAX, Verification};
use crate::partition::{DECODED_BYTES_AT_ONCE, DECODED_BYTES_LARGE, Partition};
use crate::record::validate::{
    Accepted, BatchRejected, Effort, NotAccepted, Rules, validate_in_steps, validate_within,
};
use crate::runtime::{self, TimeSlice};

/// The largest work that a produce does at once. Compressing is several times slower than decompressing.
const AT_ONCE: Effort = Effort { stored_bytes_max: DECODED_BYTES_AT_ONCE, rebuilt_bytes_max: 256 << 10 };

/// Memory reserved for an append. Dropping it releases the unused part: a partition without further appends would keep
/// it.
struct Reservation<'a>(&'a Partition);

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.release_reservation();
    }
}

impl Shard {
    /// Appends one batch to a partition of this shard. Waits only when the batch is large, or memory or the journal is
    /// short. That slows a producer down that is faster than the disk, because its connection is not read meanwhile.
    /// `verification`: the transaction coordinator has confirmed that the partition is in the batch's transaction.
    pub async fn produce(
        &self,
        id: TopicPartition,
        records: &[u8],
        request: &AppendRequest,
        verification: Option<&Verification>,
    ) -> Result<Produced, AppendRefusal> {
        let Some(partition) = self.partition(id) else {
            return Err(self.refusal_without(id));
        };
        let rules = partition.rules(request)?;
        let validated = validate_within(records, &rules, AT_ONCE, &mut self.decompressor.borrow_mut());
        let accepted = match validated {
            Ok(accepted) => accepted,
            Err(NotAccepted::Rejected(rejected)) => return Err(rejected.into()),
            // Boxed, because every connection's task would have room for this rare wait.
            Err(NotAccepted::LargerThan(_)) => Box::pin(self.validate_large(records, &rules)).await?,
        };
        let is_v2 = request.capabilities.has_transactions_v2;
        // Evaluated at the append, because a marker may be appended while this one waits for room.
        let membership = || verification.map_or(Membership::ByLog, |verification| verification.membership(is_v2));
        self.append_accepted(&partition, &accepted, membership, request.now_ms).await
    }

    /// Validates a batch in steps, with pauses in which other tasks run. The memory for its decoded records is reserved
    /// first; a batch that needs more begins again with more.
    async fn validate_large<'a>(&self, records: &'a [u8], rules: &Rules) -> Result<Accepted<'a>, BatchRejected> {
        let slice = TimeSlice::begin();
        let mut larger_than = 0;
        for limit in [DECODED_BYTES_LARGE, DECODED_BYTES_MAX] {
            let _decoded = self.decoding.acquire(limit as u64).await;
            match validate_in_steps(records, rules, limit, async || slice.pause().await).await {
                Ok(accepted) => return Ok(accepted),
                Err(NotAccepted::Rejected(rejected)) => return Err(rejected),
                Err(NotAccepted::LargerThan(limit)) => larger_than = limit,
            }
        }
        Err(NotAccepted::LargerThan(larger_than).rejection())
    }

    /// Appends a batch that a coordinator of this node has built. The coordinator has verified its transaction, if it
    /// has one. Waits as [`produce`](Self::produce) does.
    pub async fn append(
        &self,
        partition: &Rc<Partition>,
        built: &Accepted<'_>,
        now_ms: i64,
    ) -> Result<Produced, AppendRefusal> {
        let bytes_max = partition.config().max_message_bytes;
        if built.total_bytes() > bytes_max {
            let message = format!("A batch of {} bytes is larger than {bytes_max}.", built.total_bytes());
            return Err(AppendRefusal::new(ErrorCode::MessageTooLarge, message));
        }
        self.append_accepted(partition, built, || Membership::Verified { is_v2: false }, now_ms).await
    }

    async fn append_accepted(
        &self,
        partition: &Rc<Partition>,
        accepted: &Accepted<'_>,
        membership: impl Fn() -> Membership,
        now_ms: i64,
    ) -> Result<Produced, AppendRefusal> {
        let bytes = accepted.total_bytes();
        if bytes > self.journal.batch_bytes_max() {
            let message = format!("A batch of {bytes} bytes is larger than a journal file can take.");
            return Err(AppendRefusal::new(ErrorCode::MessageTooLarge, message));
        }
        assert!(self.owns(partition.id), "SHARD-2: a shard appends to its own partitions");
        let _reservation = self.reserve(partition, bytes, accepted.header.records_count as u32, now_ms).await?;
        let end_offset = partition.log_end();
        let produced = partition.append(&self.journal, accepted, membership(), now_ms)?;
        assert!(produced.base_offset <= produced.last_offset, "a batch has at least one offset");
        // A duplicate lies below the log end, and is noted already.
        if produced.last_offset >= end_offset {
            self.note_uncommitted(produced.sequence, partition.clone(), produced.last_offset + 1);
        }
        Ok(produced)
    }

    /// Ends a producer's transaction in a partition of this shard.
    pub async fn end_transaction(
        &self,
        partition: &Rc<Partition>,
        end: &EndTransaction,
        now_ms: i64,
    ) -> Result<Produced, AppendRefusal> {
        let _reservation = self.reserve(partition, MARKER_BYTES_MAX, 1, now_ms).await?;
        let produced = partition.append_marker(&self.journal, end, now_ms)?;
        self.note_uncommitted(produced.sequence, partition.clone(), produced.last_offset + 1);
        Ok(produced)
    }

    /// Waits until the log and the journal have room for a batch of this size. The caller appends without another
    /// await.
    async fn reserve<'a>(
        &self,
        partition: &'a Partition,
        bytes: usize,
        records: u32,
        now_ms: i64,
    ) -> Result<Reservation<'a>, AppendRefusal> {
        let reservation = Reservation(partition);
        while !partition.has_room(&self.journal, bytes, records, now_ms) {
            self.wait_room(partition, bytes, records, now_ms).await?;
        }
        match self.failure() {
            Some(failure) => Err(AppendRefusal::new(ErrorCode::KafkaStorageError, failure.to_string())),
            None => Ok(reservation),
        }
    }

    /// Makes one attempt to get memory and journal space, and waits at most [`RECHECK_INTERVAL`] for the missing one.
    async fn wait_room(
        &self,
        partition: &Partition,
        bytes: usize,
        records: u32,
        now_ms: i64,
    ) -> Result<(), AppendRefusal> {
        let storage = |message: String| AppendRefusal::new(ErrorCode::KafkaStorageError, message);
        if let Some(failure) = self.failure() {
            return Err(storage(failure.to_string()));
        }
        if partition.is_deleted() {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let has_memory = match partition.reserve(bytes, records, now_ms).await {
            Ok(has_memory) => has_memory,
            Err(error) if error.is_disk_full() => false,
            Err(error) => return Err(storage(self.fail(error).to_string())),
        };
        if has_memory && self.journal.has_room(bytes) {
            return Ok(());
        }
        if self.disk_full.get() {
            // Waiting without a bound would look like a hang, so the client gets a retriable error.
            return Err(storage("No space left on the device; the write was not taken.".into()));
        }
        if has_memory {
            if runtime::arena_bytes_free() < bytes {
                self.memory.evict(bytes);
            }
            let _ = runtime::timeout(RECHECK_INTERVAL, self.journal.reserve(bytes)).await;
        } else {
            self.memory.work.notify_all();
            let _ = runtime::timeout(RECHECK_INTERVAL, self.memory.freed.notified()).await;
        }
        Ok(())
    }
}
