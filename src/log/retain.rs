//! The front of the log: its start offset, and the removal of the segments below it.
//!
//! ```text
//! retention_point        the start that retention asks for; a client that deletes records names its own
//! decide_log_start       checkpoints store this start from now on; the caller journals it in the same step
//! advance_log_start      the start is durable, and readers see it (LOG-2)
//! drop_segments          removes whole segments below, as far as LOG-3 allows; the next checkpoint allows more
//! ```
//! A start inside a segment, or inside a batch, is kept as a number: records below it stay on disk but are never
//! returned.

use std::time::Duration;

use super::segment::Segment;
use super::{Log, StorageError};
use crate::model::Offset;
use crate::runtime::Permit;

impl Log {
    /// The log start that `retention.ms` and `retention.bytes` ask for, if it is above the current one. Records at or
    /// above `high_watermark` stay. Seals the active segment first if all of its records are too old, as Kafka does.
    pub async fn retention_point(&self, now_ms: i64, high_watermark: Offset) -> Result<Option<Offset>, StorageError> {
        let config = self.config();
        if !config.cleanup_policy.deletes || self.has_swap() {
            return Ok(None);
        }
        // A compaction keeps the segments; the next housekeeping run tries again.
        let Some(_files) = self.files.try_acquire(1) else { return Ok(None) };
        if self.is_discarded() {
            return Ok(None);
        }
        let active = self.active();
        let is_old = |max_timestamp: i64| {
            config.retention_ms >= 0 && max_timestamp >= 0 && now_ms - max_timestamp > config.retention_ms
        };
        // Records without timestamps are as old as their file, as in Kafka.
        let newest_of = |segment: &Segment| match segment.times().max_timestamp {
            ..0 => segment.modified_ms(),
            newest => newest,
        };
        if active.size() > 0 && active.end_offset() <= high_watermark && is_old(newest_of(&active)) {
            self.roll();
        }
        let decided = self.decided_log_start();
        let segments: Vec<_> = self.segments.borrow().iter().cloned().collect();
        // Segments below the start are about to be removed and do not count.
        let useful = segments.iter().skip_while(|segment| segment.is_sealed() && segment.end_offset() <= decided);
        let mut excess = match config.retention_bytes {
            ..0 => 0,
            most => useful.clone().map(|segment| segment.size()).sum::<u64>().saturating_sub(most as u64),
        };
        let mut point = decided;
        for (first, next) in useful.clone().zip(useful.skip(1)) {
            // Records that are not committed stay.
            if first.end_offset() > high_watermark {
                break;
            }
            // Compaction has emptied the segment: it goes together with the next one.
            if first.size() == 0 {
                continue;
            }
            if !is_old(newest_of(first)) && excess < first.size() {
                break;
            }
            excess = excess.saturating_sub(first.size());
            point = next.base_offset;
        }
        assert!(point <= self.end_offset(), "LOG-2: retention ends at {point}, behind the log end");
        Ok((point > decided).then_some(point))
    }

    /// The log start that checkpoints store. Readers see it only once it is durable.
    pub fn decided_log_start(&self) -> Offset {
        self.decided_log_start.get()
    }

    /// Decides that the log begins at `offset`. The caller journals it with no await in between: a checkpoint that
    /// starts behind the journal's entry must store this start.
    pub fn decide_log_start(&self, offset: Offset) {
        assert!(offset <= self.end_offset(), "LOG-2: log start {offset} <= log end {}", self.end_offset());
        self.decided_log_start.set(self.decided_log_start().max(offset));
    }

    /// Advances the start that readers see to `offset`: the decision is durable.
    pub fn advance_log_start(&self, offset: Offset) {
        let decided = self.decided_log_start();
        assert!(offset <= decided, "LOG-2: the log start {offset} <= the decided one {decided}");
        self.start_offset.set(self.start_offset().max(offset));
        self.epochs.borrow_mut().truncate_before(self.start_offset());
    }

    /// Removes the segments that are wholly below the log's start, as far as LOG-3 allows. Returns their number.
    pub async fn drop_segments(&self) -> Result<usize, StorageError> {
        if self.has_swap() || self.droppable() == 0 {
            return Ok(0);
        }
        // A compaction reads them; the next housekeeping run tries again.
        let Some(_files) = self.files.try_acquire(1) else { return Ok(0) };
        // A new topic of the same name may own the directory now.
        if self.is_discarded() {
            return Ok(0);
        }
        let count = self.droppable();
        let dropped: Vec<_> = self.segments.borrow_mut().drain(..count).collect();
        for segment in dropped {
            let (base, end, start) = (segment.base_offset, segment.end_offset(), self.start_offset());
            assert!(end <= start, "LOG-3: a segment up to {end} is removed, and the log begins at {start}");
            assert!(base < self.checkpointed_base.get(), "LOG-3: the checkpoint replays into the segment from {base}");
            // Each removal is synced before the next one begins. If a power failure brought back the first segment
            // without the second, a restart would take the gap for lost records.
            segment.remove(Duration::from_millis(self.config().file_delete_delay_ms)).await?;
        }
        Ok(count)
    }

    /// The number of segments below the start and below the stored checkpoint's active one (LOG-3).
    fn droppable(&self) -> usize {
        let segments = self.segments.borrow();
        let nexts = segments.iter().skip(1);
        let is_free = |base: Offset, end: Offset| base < self.checkpointed_base.get() && end <= self.start_offset();
        segments.iter().zip(nexts).take_while(|(first, next)| is_free(first.base_offset, next.base_offset)).count()
    }

    /// Whether a segment below the start can be removed only after a checkpoint with a later active segment (LOG-3).
    pub fn waits_for_checkpoint(&self) -> bool {
        let segments = self.segments.borrow();
        let next = segments.get(1).map(|next| next.base_offset);
        next.is_some_and(|next| next <= self.start_offset() && segments[0].base_offset >= self.checkpointed_base.get())
    }

    /// Closes files and drops indexes of sealed segments. The next read opens and loads them again.
    pub fn evict_idle(&self) {
        for segment in self.segments.borrow().iter() {
            segment.evict_idle();
        }
    }

    /// Waits until no task uses a name in the directory of the discarded log (LOG-5). Tasks that change its files stay
    /// excluded until the permit ends.
    pub async fn release_directory(&self) -> Permit {
        let permit = self.lock_files().await;
        self.directory.wait_unused().await;
        permit
    }

    /// Marks the log as deleted: its memory is released, and nothing is written any more.
    pub fn discard(&self) {
        self.is_discarded.set(true);
        self.directory.close();
        self.replaced.borrow_mut().clear();
        for segment in self.segments.borrow().iter() {
            segment.discard();
        }
    }
}
