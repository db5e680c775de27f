//! Appending on the owning shard: room first, then judged and appended in one step.

use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use crate::model::{ErrorCode, TopicPartition};
use crate::partition::Partition;
use crate::partition::append::{AppendRefusal, AppendRequest, Produced};
use crate::partition::producers::Membership;
use crate::partition::transactions::{EndTransaction, MARKER_BYTES_MAX, Verification};
use crate::record::validate::Accepted;
use crate::runtime;

/// Room for an append. What is left of it when that is over, or has come to nothing, goes back: a partition that gets nothing
/// more would keep it.
struct Room<'a>(&'a Partition);

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.release_reservation();
    }
}

impl Shard {
    /// Appends one batch to a partition of this shard. Waits only when memory or the journal is short, which is how
    /// a producer that is faster than the disk is slowed down: its connection is not read meanwhile. `verification`: the
    /// coordinator of the batch's transaction has said that the partition is in it.
    pub async fn produce(
        &self,
        id: TopicPartition,
        records: &[u8],
        request: &AppendRequest,
        verification: Option<&Verification>,
    ) -> Result<Produced, AppendRefusal> {
        let Some(partition) = self.partition(id) else {
            return Err(ErrorCode::NotLeaderOrFollower.into());
        };
        let accepted = partition.judge(records, request, &mut self.decompressor.borrow_mut())?;
        let is_v2 = request.capabilities.has_transactions_v2;
        // Asked at the append: a marker may come while room is waited for.
        let membership = || verification.map_or(Membership::ByLog, |verification| verification.membership(is_v2));
        self.append_accepted(&partition, &accepted, membership, request.now_ms).await
    }

    /// Appends a batch that this node has built itself: one of a coordinator, which has made sure of its transaction if it
    /// is of one. Waits as [`produce`](Self::produce) does.
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
        let _room = self.room(partition, bytes, accepted.header.records_count as u32, now_ms).await?;
        let end_offset = partition.log_end();
        let produced = partition.append(&self.journal, accepted, membership(), now_ms)?;
        // A batch that was there already lies below what others have appended since.
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
        let _room = self.room(partition, MARKER_BYTES_MAX, 1, now_ms).await?;
        let produced = partition.append_marker(&self.journal, end, now_ms)?;
        self.note_uncommitted(produced.sequence, partition.clone(), produced.last_offset + 1);
        Ok(produced)
    }

    /// Waits until a batch of so many bytes finds room; there is no await between this and its append.
    async fn room<'a>(
        &self,
        partition: &'a Partition,
        bytes: usize,
        records: u32,
        now_ms: i64,
    ) -> Result<Room<'a>, AppendRefusal> {
        let room = Room(partition);
        while !partition.has_room(&self.journal, bytes, records, now_ms) {
            self.make_room(partition, bytes, records, now_ms).await?;
        }
        match self.failure() {
            Some(failure) => Err(AppendRefusal::new(ErrorCode::KafkaStorageError, failure)),
            None => Ok(room),
        }
    }

    async fn make_room(
        &self,
        partition: &Partition,
        bytes: usize,
        records: u32,
        now_ms: i64,
    ) -> Result<(), AppendRefusal> {
        let storage = |message: String| AppendRefusal::new(ErrorCode::KafkaStorageError, message);
        if let Some(failure) = self.failure() {
            return Err(storage(failure));
        }
        if partition.is_deleted() {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let has_memory = match partition.reserve(bytes, records, now_ms).await {
            Ok(has_memory) => has_memory,
            Err(error) if error.is_disk_full() => false,
            Err(error) => {
                self.fail(&error);
                return Err(storage(error.to_string()));
            }
        };
        if has_memory && self.journal.has_room(bytes) {
            return Ok(());
        }
        if self.disk_full.get() {
            // Back-pressure without end would look like a hang; the client gets a retriable error instead.
            return Err(storage("No space left on the device; the write was not taken.".into()));
        }
        if has_memory {
            if runtime::arena_bytes_used() + bytes > self.config.memory_bytes as usize {
                self.memory.evict(bytes);
            }
            let _ = runtime::timeout(Duration::from_millis(100), self.journal.reserve(bytes)).await;
        } else {
            self.memory.work.notify_all();
            let _ = runtime::timeout(Duration::from_millis(100), self.memory.freed.notified()).await;
        }
        Ok(())
    }
}
