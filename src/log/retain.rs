//! The log's front: where it begins, and which segments are of no use any more.
//!
//! ```text
//! retention_point    where retention would have the log begin; a client that deletes records says it himself
//! decide_log_start       from now on a checkpoint says so; who calls it has put it into the journal in the same step
//! advance_log_start         it is durable, and readers see it (LOG-2)
//! drop_segments      whole segments below go, as far as LOG-3 allows; the next checkpoint allows more
//! ```
//! A start in the middle of a segment, or of a batch, is kept as a number: what lies below is there and is not told of.

use std::time::Duration;

use super::segment::Segment;
use super::{Log, StorageError};
use crate::model::Offset;

impl Log {
    /// Where the log should begin as `retention.ms` and `retention.bytes` ask, if that is later than it does. Records at or
    /// above `high_watermark` stay. An active segment whose every record is too old is sealed first, as Kafka does.
    pub async fn retention_point(&self, now_ms: i64, high_watermark: Offset) -> Result<Option<Offset>, StorageError> {
        let config = self.config();
        if !config.cleanup_policy.deletes || self.has_swap() {
            return Ok(None);
        }
        // While it is compacted, it keeps its segments; the next turn comes.
        let Some(_files) = self.upkeep.try_acquire(1) else { return Ok(None) };
        if self.is_discarded() {
            return Ok(None);
        }
        let active = self.active();
        let is_old = |max_timestamp: i64| {
            config.retention_ms >= 0 && max_timestamp >= 0 && now_ms - max_timestamp > config.retention_ms
        };
        // Of records without a time, their file tells it: as Kafka has it.
        let newest_of = |segment: &Segment, newest: i64| if newest < 0 { segment.modified_ms() } else { newest };
        if active.size() > 0
            && active.end_offset() <= high_watermark
            && is_old(newest_of(&active, active.times().max_timestamp))
        {
            self.roll();
        }
        let decided = self.decided_log_start();
        let segments: Vec<_> = self.segments.borrow().iter().cloned().collect();
        // What lies below the start is as good as gone.
        let useful = segments.iter().skip_while(|segment| segment.is_sealed() && segment.end_offset() <= decided);
        let mut excess = match config.retention_bytes {
            ..0 => 0,
            most => useful.clone().map(|segment| segment.size()).sum::<u64>().saturating_sub(most as u64),
        };
        let mut point = decided;
        for (first, next) in useful.clone().zip(useful.skip(1)) {
            // What is not committed stays.
            if first.end_offset() > high_watermark {
                break;
            }
            // Compaction has left nothing of it: it goes when what is behind it goes.
            if first.size() == 0 {
                continue;
            }
            let mut newest = first.times().max_timestamp;
            if newest < 0 {
                newest = first.indexes().await?.times.last().map_or(-1, |entry| entry.timestamp);
            }
            if !is_old(newest_of(first, newest)) && excess < first.size() {
                break;
            }
            excess = excess.saturating_sub(first.size());
            point = next.base_offset;
        }
        Ok((point > decided).then_some(point))
    }

    /// Where the log begins as far as a checkpoint goes: perhaps further than readers know yet.
    pub fn decided_log_start(&self) -> Offset {
        self.decided_log_start.get()
    }

    /// The log is to begin at `offset`. There is no await between this and the journal's entry: a checkpoint that begins
    /// behind that entry must say so.
    pub fn decide_log_start(&self, offset: Offset) {
        assert!(offset <= self.end_offset(), "LOG-2: log start <= log end");
        self.decided_log_start.set(self.decided_log_start().max(offset));
    }

    /// The log begins at `offset`: what was decided is durable.
    pub fn advance_log_start(&self, offset: Offset) {
        assert!(offset <= self.decided_log_start(), "LOG-2: a start that was seen does not go back");
        self.start_offset.set(self.start_offset().max(offset));
        self.epochs.borrow_mut().truncate_before(self.start_offset());
    }

    /// Removes the segments that lie below the log's start as a whole, if LOG-3 allows it by now; answers how many.
    pub async fn drop_segments(&self) -> Result<usize, StorageError> {
        if self.has_swap() || self.droppable() == 0 {
            return Ok(0);
        }
        // A compaction has its hands on them; the next turn comes.
        let Some(_files) = self.upkeep.try_acquire(1) else { return Ok(0) };
        // The names are perhaps another topic's by now.
        if self.is_discarded() {
            return Ok(0);
        }
        let count = self.droppable();
        let dropped: Vec<_> = self.segments.borrow_mut().drain(..count).collect();
        for segment in dropped {
            // One after the other on the disk too: a power failure that brought the first back without the second would
            // leave a hole, which a restart takes for loss.
            segment.remove(Duration::from_millis(self.config().file_delete_delay_ms)).await?;
        }
        Ok(count)
    }

    /// How many segments lie below the start and are not the stored checkpoint's active one (LOG-3).
    fn droppable(&self) -> usize {
        let segments = self.segments.borrow();
        let nexts = segments.iter().skip(1);
        let is_free = |base: Offset, end: Offset| base < self.checkpointed_base.get() && end <= self.start_offset();
        segments.iter().zip(nexts).take_while(|(first, next)| is_free(first.base_offset, next.base_offset)).count()
    }

    /// Whether a segment below the start would go, had a checkpoint with a later active segment been stored (LOG-3).
    pub fn waits_for_checkpoint(&self) -> bool {
        let segments = self.segments.borrow();
        let next = segments.get(1).map(|next| next.base_offset);
        next.is_some_and(|next| next <= self.start_offset() && segments[0].base_offset >= self.checkpointed_base.get())
    }

    /// Drops handles and indexes of sealed segments; they come back when asked for.
    pub fn evict_idle(&self) {
        for segment in self.segments.borrow().iter() {
            segment.evict_idle();
        }
    }

    /// The log is deleted: memory is given back, nothing is written any more.
    pub fn discard(&self) {
        self.is_discarded.set(true);
        self.replaced.borrow_mut().clear();
        for segment in self.segments.borrow().iter() {
            segment.discard();
        }
    }
}
