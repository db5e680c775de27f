//! Retention: which whole segments are too old or too many.

use std::time::Duration;

use super::{Log, StorageError};
use crate::model::Offset;
use crate::runtime::dir;

impl Log {
    /// Removes segments from the front as `retention.ms` and `retention.bytes` ask, as far as LOG-3 allows; answers
    /// how many. Records at or above `high_watermark` stay. An active segment whose every record is too old is
    /// sealed first, as Kafka does, and goes at the next turn.
    pub async fn retain(&self, now_ms: i64, high_watermark: Offset) -> Result<usize, StorageError> {
        let settings = self.settings();
        if !settings.deletes || self.has_swap() {
            return Ok(0);
        }
        // While it is compacted, it keeps its segments; the next turn comes.
        let Some(_upkeep) = self.upkeep.try_acquire(1) else { return Ok(0) };
        let active = self.active();
        let is_old = |max_timestamp: i64| {
            settings.retention_ms >= 0 && max_timestamp >= 0 && now_ms - max_timestamp > settings.retention_ms
        };
        if active.size() > 0 && active.end_offset() <= high_watermark && is_old(active.times().max_timestamp) {
            self.roll();
        }
        let mut excess = match settings.retention_bytes {
            ..0 => 0,
            most => self.size_bytes().saturating_sub(most as u64),
        };
        let mut removed = Vec::new();
        loop {
            let (first, next_base) = {
                let segments = self.segments.borrow();
                let Some(next) = segments.get(1) else { break };
                (segments[0].clone(), next.base_offset)
            };
            // LOG-3, and what is not committed stays.
            if first.base_offset >= self.checkpointed_base.get() || first.end_offset() > high_watermark {
                break;
            }
            let mut newest = first.times().max_timestamp;
            if newest < 0 {
                newest = first.indexes().await?.times.last().map_or(-1, |entry| entry.timestamp);
            }
            let is_excess = excess >= first.size() && first.size() > 0;
            if !is_old(newest) && !is_excess {
                break;
            }
            excess = excess.saturating_sub(first.size());
            self.segments.borrow_mut().pop_front();
            removed.push((first, next_base));
        }
        let count = removed.len();
        for (segment, next_base) in removed {
            segment.remove(Duration::from_millis(settings.file_delete_delay_ms)).await?;
            // One after the other on the disk too: a power failure that brought the first back without the second would
            // leave a hole, which a restart takes for loss.
            let directory = self.directory();
            dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
            // LOG-2: a start that was seen does not go back, so it moves when no restart finds the segment any more.
            self.start_offset.set(self.start_offset.get().max(next_base));
            self.epochs.borrow_mut().cut_before(self.start_offset());
        }
        Ok(count)
    }

    /// Whether the oldest segment would go by age, had a checkpoint without it been stored (LOG-3).
    pub fn waits_for_checkpoint(&self, now_ms: i64) -> bool {
        let settings = self.settings();
        let segments = self.segments.borrow();
        let is_too_large = settings.retention_bytes >= 0
            && segments.iter().map(|s| s.size()).sum::<u64>() > settings.retention_bytes as u64;
        let oldest = segments[0].times().max_timestamp;
        let is_too_old = settings.retention_ms >= 0 && oldest >= 0 && now_ms - oldest > settings.retention_ms;
        let is_held = segments.len() > 1 && segments[0].base_offset >= self.checkpointed_base.get();
        settings.deletes && is_held && (is_too_large || is_too_old)
    }

    /// Drops handles and indexes of sealed segments; they come back when asked for.
    pub fn rest(&self) {
        for segment in self.segments.borrow().iter() {
            segment.rest();
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
