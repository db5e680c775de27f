//! What of a log to compact, and which segments become one: Kafka's `LogCleanerManager` and its grouping. Pure.

use std::ops::Range;

use crate::config::TopicConfig;
use crate::model::Offset;

/// A segment before the active one, as far as planning goes. What was not asked for of its times is as if unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    pub base_offset: Offset,
    /// Where the next one begins.
    pub end_offset: Offset,
    pub bytes: u64,
    pub index_bytes: usize,
    pub max_timestamp: i64,
    /// The largest of its first batch, by which the age of a segment goes; -1 when unknown.
    pub first_timestamp: i64,
    /// Flushed and cut; only then it is looked at.
    pub is_finished: bool,
}

/// A compaction that is possible.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// Everything below has been compacted.
    pub first_dirty: Offset,
    /// The first offset that stays as it is; a segment begins there.
    pub end: Offset,
    /// The share of bytes that have never been compacted.
    pub ratio: f64,
    /// Worth its while, or overdue by `max.compaction.lag.ms`.
    pub is_due: bool,
}

/// `cleaned_to`: where the last compaction ended. `stable`: nothing at or above it is decided yet (Kafka's last stable
/// offset). `None`: there is nothing to compact.
pub fn plan(
    sealed: &[Sealed],
    log_start: Offset,
    cleaned_to: Offset,
    stable: Offset,
    config: &TopicConfig,
    now_ms: i64,
) -> Option<Plan> {
    let log_end = sealed.last()?.end_offset;
    // Where the log was cut meanwhile, at either end, what is left counts as never compacted.
    let first_dirty = if (log_start..=log_end).contains(&cleaned_to) { cleaned_to } else { log_start };
    let is_too_young = |segment: &Sealed| {
        config.min_compaction_lag_ms > 0 && segment.max_timestamp > now_ms - config.min_compaction_lag_ms
    };
    let dirty_from = sealed.partition_point(|segment| segment.end_offset <= first_dirty);
    let dirty = &sealed[dirty_from..];
    let ready = |segment: &&Sealed| segment.is_finished && segment.end_offset <= stable && !is_too_young(segment);
    let count = dirty.iter().take_while(ready).count();
    let end = dirty[..count].last()?.end_offset;
    let bytes = |segments: &[Sealed]| segments.iter().map(|segment| segment.bytes).sum::<u64>();
    let dirty_bytes = bytes(&dirty[..count]);
    if dirty_bytes == 0 {
        return None;
    }
    let ratio = dirty_bytes as f64 / (bytes(&sealed[..dirty_from]) + dirty_bytes) as f64;
    let oldest = dirty.iter().map(|segment| segment.first_timestamp).filter(|timestamp| *timestamp > 0).min();
    let is_overdue = oldest.is_some_and(|oldest| oldest < now_ms.saturating_sub(config.max_compaction_lag_ms));
    Some(Plan { first_dirty, end, ratio, is_due: ratio > config.min_cleanable_dirty_ratio || is_overdue })
}

/// Which of these neighbours become one segment: as many as fit its limits.
pub fn groups(sealed: &[Sealed], config: &TopicConfig) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut bytes, mut index_bytes) = (0, 0);
    for (at, segment) in sealed.iter().enumerate() {
        let fits = groups.last().is_some_and(|group| {
            bytes + segment.bytes <= config.segment_bytes
                && index_bytes + segment.index_bytes <= config.segment_index_bytes
                // The indexes count offsets from the base in 31 bits.
                && (segment.bytes == 0
                    || segment.end_offset - 1 - sealed[group.start].base_offset <= i64::from(i32::MAX))
        });
        match groups.last_mut().filter(|_| fits) {
            Some(group) => group.end = at + 1,
            None => {
                (bytes, index_bytes) = (0, 0);
                groups.push(at..at + 1);
            }
        }
        bytes += segment.bytes;
        index_bytes += segment.index_bytes;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::compacting;

    const DAY_MS: i64 = 86_400_000;

    /// Segments of 100 offsets and so many bytes.
    fn row(bytes: &[u64]) -> Vec<Sealed> {
        let segment = |(at, bytes): (usize, &u64)| Sealed {
            base_offset: at as i64 * 100,
            end_offset: at as i64 * 100 + 100,
            bytes: *bytes,
            index_bytes: 8,
            max_timestamp: at as i64 * 10,
            first_timestamp: at as i64 * 10 + 1,
            is_finished: true,
        };
        bytes.iter().enumerate().map(segment).collect()
    }

    #[test]
    fn what_was_never_compacted_is_dirty_up_to_what_is_undecided() {
        let check = |cleaned_to, stable, expected: Option<(i64, i64, f64)>| {
            let found = plan(&row(&[10, 10, 10, 10]), 0, cleaned_to, stable, &compacting(), 1000);
            assert_eq!(found.map(|plan| (plan.first_dirty, plan.end, plan.ratio)), expected, "{cleaned_to} {stable}");
        };
        check(0, 400, Some((0, 400, 1.0)));
        check(0, 399, Some((0, 300, 1.0)));
        check(0, 99, None);
        check(200, 400, Some((200, 400, 0.5)));
        check(250, 400, Some((250, 400, 0.5)));
        check(400, 400, None);
        // The log was cut short, or begins later now.
        check(500, 400, Some((0, 400, 1.0)));
        let moved = plan(&row(&[10; 4])[2..], 210, 100, 400, &compacting(), 1000).unwrap();
        assert_eq!((moved.first_dirty, moved.end, moved.ratio), (210, 400, 1.0));
        assert_eq!(plan(&[], 0, 0, 10, &compacting(), 1000), None);
        assert_eq!(plan(&row(&[0, 0]), 0, 0, 200, &compacting(), 1000), None, "there is nothing in them");
    }

    #[test]
    fn young_and_unflushed_segments_hold_back_what_is_behind_them() {
        let lagging = TopicConfig { min_compaction_lag_ms: 985, ..compacting() };
        // Those of up to 10 are older than 985 ms at 1000.
        let found = plan(&row(&[10; 4]), 0, 0, 400, &lagging, 1000).unwrap();
        assert_eq!(found.end, 200);
        let mut unflushed = row(&[10; 4]);
        unflushed[1].is_finished = false;
        assert_eq!(plan(&unflushed, 0, 0, 400, &compacting(), 1000).unwrap().end, 100);
    }

    #[test]
    fn it_is_due_by_its_ratio_or_by_its_age() {
        let check = |cleaned_to, min_cleanable_dirty_ratio, max_compaction_lag_ms, expected| {
            let settings = TopicConfig { min_cleanable_dirty_ratio, max_compaction_lag_ms, ..compacting() };
            let found = plan(&row(&[10; 4]), 0, cleaned_to, 400, &settings, DAY_MS).unwrap();
            assert_eq!(found.is_due, expected, "{cleaned_to} {min_cleanable_dirty_ratio} {max_compaction_lag_ms}");
        };
        check(0, 0.5, i64::MAX, true);
        check(200, 0.5, i64::MAX, false);
        check(200, 0.49, i64::MAX, true);
        check(200, 0.5, DAY_MS, false);
        check(200, 0.5, DAY_MS - 22, true);
    }

    #[test]
    fn neighbours_become_one_within_the_limits_of_a_segment() {
        let ends = |row: &[Sealed], limits: &TopicConfig| -> Vec<(usize, usize)> {
            groups(row, limits).into_iter().map(|group| (group.start, group.end)).collect()
        };
        let check = |bytes: &[u64], limits: TopicConfig, expected: &[(usize, usize)]| {
            assert_eq!(ends(&row(bytes), &limits), expected, "{bytes:?}");
        };
        let of_bytes = |segment_bytes| TopicConfig { segment_bytes, ..compacting() };
        check(&[], of_bytes(10), &[]);
        check(&[10, 10, 10], of_bytes(30), &[(0, 3)]);
        check(&[10, 10, 10], of_bytes(29), &[(0, 2), (2, 3)]);
        check(&[50, 10, 0, 10], of_bytes(20), &[(0, 1), (1, 4)]);
        check(&[1, 1, 1, 1], TopicConfig { segment_index_bytes: 16, ..compacting() }, &[(0, 2), (2, 4)]);
        let mut far = row(&[1, 1, 0]);
        far[1].end_offset = 1 << 31;
        assert_eq!(ends(&far, &compacting()), [(0, 3)]);
        far[1].end_offset += 1;
        assert_eq!(ends(&far, &compacting()), [(0, 1), (1, 3)]);
    }
}
