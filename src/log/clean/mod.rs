//! Compaction: the last record of each key stays, at its offset (Kafka's `LogCleaner`).
//!
//! ```text
//! plan      which sealed segments were never compacted, and whether compaction is due
//! keys      reads those once: the latest offset of each of their keys
//! filter    reads all segments up to there, and drops each record that a later one of its key supersedes
//! write     writes the remaining records to new segments; several small segments become one
//! swap      the new segments replace the old ones with the next checkpoint
//! ```
//!
//! Owns: the files with temporary names in a log's directory. Inputs: a log, the offset up to which it may be
//! compacted, and the last batches of remembered producers. Outputs: segments with gaps in their offsets. The plan, the
//! key map, the transactions and the filter are pure. It does not know watermarks, shards or requests. Runs on the
//! shard's thread.
//!
//! Invariants:
//! - CLEAN-1: a record stays if it is the last of its key, or lies at or above the round's end, unless its transaction
//!   was aborted; offsets never change.
//! - CLEAN-2: a tombstone or marker goes no earlier than `delete.retention.ms` after the first round that found nothing
//!   before it to delete (KIP-534).
//! - CLEAN-3: each remembered producer's last batch stays, if only by its header.
//!
//! Only one swap may be in progress (LOG-4); see [`swap`].

pub(crate) mod filter;
pub mod keys;
mod names;
pub(crate) mod pace;
pub(crate) mod plan;
mod read;
pub(super) mod swap;
mod transactions;
mod write;

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use super::segment::Segment;
use super::tail::{Loan, Memory};
use super::{Log, StorageError};
use crate::model::{Offset, Position};
use crate::record::header::BatchHeader;
use crate::record::walk::batch_at;
use crate::record::{Decompressor, Records};
use crate::runtime::AlignedBuf;
use filter::{Filter, LastRecords, Rules, Unreadable, Verdict};
use keys::{BLOCK_SLOTS, Keys, SLOT_BYTES};
use pace::Pace;
use plan::{Plan, Sealed};
use read::Reader;
use transactions::Transactions;
use write::{Writer, Written};

/// Kafka's indexes and tools hold positions in 31 bits.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// The pace, memory limits and stop flag that the shard gives to a compaction.
pub struct CleaningResources {
    /// Shares the core and limits the rate.
    pub pace: Pace,
    /// `log.cleaner.io.buffer.size`: half to read into, half to write from.
    pub buffer_bytes: usize,
    /// `log.cleaner.dedupe.buffer.size`.
    pub keys_bytes_max: usize,
    /// `log.cleaner.io.buffer.load.factor`.
    pub load_factor: f64,
    /// The most bytes that a batch may decompress to; a larger one ends the compaction of its log.
    pub decoded_bytes_max: usize,
    /// Set when the shard stops.
    pub stopping: Rc<Cell<bool>>,
}

/// One compaction of a log, from the map of its keys to the last segment that it rewrites.
pub struct Round {
    filter: Filter,
    /// Segments below this offset are rewritten already.
    next: Offset,
    /// The round's end, exclusive: the key map covers the offsets below it.
    end: Offset,
    /// The result so far.
    pub stats: CleaningStats,
    _loan: Loan,
}

/// The number of keys of a round, and its segments and bytes before and after.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CleaningStats {
    /// Keys in the map.
    pub keys: usize,
    /// Segments that were rewritten.
    pub segments_before: usize,
    /// Segments that replaced them.
    pub segments_after: usize,
    /// Bytes of the rewritten segments.
    pub bytes_before: u64,
    /// Bytes of the new segments.
    pub bytes_after: u64,
}

impl Log {
    /// Plans a compaction, if there is something to compact. Transactions at or above `stable` may still be open.
    pub async fn plan_cleaning(&self, stable: Offset, now_ms: i64) -> Result<Option<Plan>, StorageError> {
        let config = self.config();
        if !config.cleanup_policy.compacts
            || self.is_cleaning_disabled.get()
            || self.is_discarded()
            || self.is_swap_pending()
        {
            return Ok(None);
        }
        let cleaned_to = self.cleaned_to.get();
        let mut sealed = Vec::new();
        for segment in self.sealed_segments() {
            let mut facts = facts(&segment);
            let is_dirty = facts.end_offset > cleaned_to && facts.bytes > 0 && facts.is_finished;
            if is_dirty && config.min_compaction_lag_ms > 0 {
                facts.max_timestamp = segment.times().max_timestamp;
            }
            if is_dirty && config.max_compaction_lag_ms < i64::MAX {
                facts.first_timestamp = segment.first_timestamp().await?;
            }
            sealed.push(facts);
        }
        Ok(plan::plan(&sealed, self.start_offset(), cleaned_to, stable, &config, now_ms))
    }

    /// Whether a checkpoint has to be stored before more of the log can be compacted.
    pub fn cleaning_needs_checkpoint(&self) -> bool {
        let segments = self.segments.borrow();
        let is_flushed = segments.iter().take(segments.len() - 1).all(|segment| !segment.is_dirty());
        self.is_swap_pending() || !is_flushed
    }

    /// LOG-4: whether another checkpoint must be stored before the next swap.
    pub fn is_swap_pending(&self) -> bool {
        self.has_swap() || self.swap_is_named.get()
    }

    /// Stops compacting this log until the process restarts.
    pub fn disable_cleaning(&self) {
        self.is_cleaning_disabled.set(true);
    }

    fn sealed_segments(&self) -> Vec<Rc<Segment>> {
        let segments = self.segments.borrow();
        segments.iter().take(segments.len() - 1).cloned().collect()
    }

    /// Begins a round: reads the keys of the records that were never compacted, until the key map is full.
    pub async fn begin_cleaning(
        &self,
        plan: &Plan,
        producers: LastRecords,
        now_ms: i64,
        resources: &CleaningResources,
    ) -> Result<Round, StorageError> {
        assert!(plan.first_dirty < plan.end, "a plan covers offsets: {plan:?}");
        let _files = self.lock_files().await;
        self.swap_was_withdrawn.set(false);
        // At most one key per offset.
        let slots_max = (resources.keys_bytes_max / SLOT_BYTES).min(self.memory.lendable() / SLOT_BYTES).max(2);
        let slots = (((plan.end - plan.first_dirty) as f64 / resources.load_factor) as usize).saturating_add(2);
        let slots = slots.min(slots_max);
        let loan = self.memory.lend(slots * SLOT_BYTES);
        let mut keys = Keys::new(resources.load_factor);
        for from in (0..slots).step_by(BLOCK_SLOTS) {
            let slots = (slots - from).min(BLOCK_SLOTS);
            keys.add(block(&self.memory, slots * SLOT_BYTES).await, slots);
            resources.pace.step().await;
        }
        let mut decompressor = Decompressor::new(resources.decoded_bytes_max);
        self.read_keys(plan, &mut keys, &mut decompressor, resources).await?;
        let end = keys.latest() + 1;
        assert!(end <= plan.end, "CLEAN-1: the key map covers offsets up to {end}, behind the plan's end {}", plan.end);
        let stats = CleaningStats { keys: keys.len(), ..CleaningStats::default() };
        let rules =
            Rules { keys, producers, now_ms, delete_retention_ms: self.config().delete_retention_ms, end: plan.end };
        Ok(Round { filter: Filter::new(rules, decompressor), next: Offset::ZERO, end, stats, _loan: loan })
    }

    async fn read_keys(
        &self,
        plan: &Plan,
        keys: &mut Keys,
        decompressor: &mut Decompressor,
        resources: &CleaningResources,
    ) -> Result<(), StorageError> {
        let mut transactions = Transactions::default();
        transactions.expect(plan.first_dirty, &self.aborted_between(plan.first_dirty, plan.end).await?);
        let dirty = self.sealed_segments();
        let dirty = dirty.iter().filter(|s| s.end_offset() > plan.first_dirty && s.base_offset < plan.end);
        for segment in dirty {
            let position = segment.position_before(plan.first_dirty).await?;
            let mut reader = Reader::new(segment, position, resources.buffer_bytes / 2, &resources.pace);
            while let Some(bytes) = reader.next().await? {
                self.pause_or_stop(resources).await?;
                let batch = batch_at(&bytes, 0).expect("the reader returns whole batches");
                let header = batch.header;
                let unreadable = |why: Unreadable| unreadable(segment, &header, &why);
                let plain = decompressor.records(&header, batch.stored_records()).map_err(|e| unreadable(e.into()))?;
                if header.is_control() {
                    transactions.control(&header, plain);
                } else if !transactions.batch(&header) {
                    for record in Records::new(&header, plain) {
                        let record = record.map_err(|error| unreadable(error.into()))?;
                        if !(header.base_offset.max(keys.latest() + 1)..=header.last_offset()).contains(&record.offset)
                        {
                            return Err(unreadable(Unreadable::Offset(record.offset)));
                        }
                        if let Some(key) = record.key
                            && record.offset >= plan.first_dirty
                            && !keys.put(key, record.offset)
                        {
                            return Ok(());
                        }
                    }
                }
                if header.last_offset() >= plan.first_dirty {
                    keys.reached(header.last_offset());
                }
            }
            // An earlier compaction may have dropped the segment's last records.
            keys.reached(segment.end_offset() - 1);
        }
        Ok(())
    }

    /// Rewrites the next segments, up to one segment's size, and stages them for the next checkpoint. Returns true if
    /// the round is done. Otherwise call it again once no swap is [pending](Self::is_swap_pending).
    pub async fn clean(&self, round: &mut Round, resources: &CleaningResources) -> Result<bool, StorageError> {
        let _files = self.lock_files().await;
        let cleaned = self.clean_groups(round, resources).await;
        let outcome = match cleaned {
            // Retention has removed all of its segments meanwhile.
            Ok((old, _)) if old.is_empty() => {
                self.cleaned_to.set(round.end);
                return Ok(true);
            }
            Ok((old, written)) => {
                let is_last = round.next >= round.end;
                let cleaned_to = if is_last { round.end } else { self.cleaned_to.get() };
                self.stage_swap(old, written, cleaned_to).await.map(|()| is_last)
            }
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.abandon_cleaning().await;
        }
        outcome
    }

    async fn clean_groups(
        &self,
        round: &mut Round,
        resources: &CleaningResources,
    ) -> Result<(Vec<Rc<Segment>>, Vec<Written>), StorageError> {
        let segments = self.sealed_segments();
        let segments: Vec<_> =
            segments.into_iter().filter(|s| (round.next..round.end).contains(&s.base_offset)).collect();
        let mut sealed = Vec::with_capacity(segments.len());
        for segment in &segments {
            sealed.push(Sealed { index_bytes: segment.index_bytes().await?, ..facts(segment) });
            self.pause_or_stop(resources).await?;
        }
        let (mut old, mut written) = (Vec::new(), Vec::new());
        let mut waiting_bytes = 0;
        let config = self.config();
        for group in plan::groups(&sealed, &config) {
            let group = &segments[group];
            let from = written.len();
            self.rewrite(group, round, resources, &mut written).await?;
            old.extend_from_slice(group);
            let end = group[group.len() - 1].end_offset();
            assert!(round.next < end, "a round advances: from {} to {end}", round.next);
            round.next = end;
            let bytes = written[from..].iter().map(|segment| segment.bytes).sum::<u64>();
            waiting_bytes += bytes;
            round.stats.segments_before += group.len();
            round.stats.segments_after += written.len() - from;
            round.stats.bytes_before += group.iter().map(|segment| segment.size()).sum::<u64>();
            round.stats.bytes_after += bytes;
            // The disk holds these segments twice until the next checkpoint.
            if waiting_bytes >= config.segment_bytes {
                break;
            }
        }
        Ok((old, written))
    }

    /// Rewrites several segments into one. Into more only if recompression made the records larger than a segment.
    async fn rewrite(
        &self,
        group: &[Rc<Segment>],
        round: &mut Round,
        resources: &CleaningResources,
        written: &mut Vec<Written>,
    ) -> Result<(), StorageError> {
        let (base, end) = (group[0].base_offset, group[group.len() - 1].end_offset());
        round.filter.transactions.expect(base, &self.aborted_between(base, end).await?);
        let interval = self.config().index_interval_bytes;
        let create = async |base| {
            Writer::create(self.directory(), base, interval, resources.buffer_bytes / 2, &self.memory, &resources.pace)
                .await
        };
        let mut writer = create(base).await?;
        for segment in group {
            // Readers keep the old segment's open file after the swap; see `swap`.
            segment.pin().await?;
            let mut reader = Reader::new(segment, Position::ZERO, resources.buffer_bytes / 2, &resources.pace);
            while let Some(bytes) = reader.next().await? {
                self.pause_or_stop(resources).await?;
                let batch = batch_at(&bytes, 0).expect("the reader returns whole batches");
                let verdict = round.filter.judge(&batch).map_err(|why| unreadable(segment, &batch.header, &why))?;
                let kept = match &verdict {
                    Verdict::Keep => batch.bytes,
                    Verdict::Rewrite(bytes) => bytes,
                    Verdict::Drop => continue,
                };
                if writer.size() + kept.len() as u64 > SEGMENT_BYTES_MAX {
                    let full = std::mem::replace(&mut writer, create(batch.header.base_offset).await?);
                    written.push(full.finish(std::mem::take(&mut round.filter.aborted)).await?);
                }
                writer.append(kept).await?;
            }
        }
        written.push(writer.finish(std::mem::take(&mut round.filter.aborted)).await?);
        Ok(())
    }

    /// Yields the core if the turn is over. Fails if the log was deleted or the shard stops. Called between batches.
    async fn pause_or_stop(&self, resources: &CleaningResources) -> Result<(), StorageError> {
        resources.pace.step().await;
        if self.is_discarded() || resources.stopping.get() {
            return Err(StorageError::Refused(format!("{}: the compaction is cancelled", name(self.directory()))));
        }
        Ok(())
    }
}

fn name(directory: &Path) -> std::borrow::Cow<'_, str> {
    directory.file_name().unwrap_or_default().to_string_lossy()
}

fn facts(segment: &Rc<Segment>) -> Sealed {
    Sealed {
        base_offset: segment.base_offset,
        end_offset: segment.end_offset(),
        bytes: segment.size(),
        index_bytes: 0,
        max_timestamp: -1,
        first_timestamp: -1,
        is_finished: !segment.is_dirty(),
    }
}

fn unreadable(segment: &Segment, header: &BatchHeader, why: &Unreadable) -> StorageError {
    let why = format!("the records of its batch at offset {} cannot be read: {why}", header.base_offset);
    StorageError::format("a segment", segment.log_path(), why)
}

/// A block of the map; waits for memory, and evicts the oldest log data for it.
async fn block(memory: &Memory, bytes: usize) -> AlignedBuf {
    memory.alloc(AlignedBuf::alloc_wait(bytes), || false).await.expect("never cancelled")
}

#[cfg(test)]
mod tests;
