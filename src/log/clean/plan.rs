//! Plans a compaction and groups the segments that become one: Kafka's `LogCleanerManager` and its grouping. Pure.

use std::ops::Range;

use crate::config::TopicConfig;
use crate::model::Offset;

/// The facts about a sealed segment that planning needs. Times that the settings do not need stay -1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The offset in its file names.
    pub base_offset: Offset,
    /// The next segment's base offset.
    pub end_offset: Offset,
    /// The file's length.
    pub bytes: u64,
    /// The offset index's length.
    pub index_bytes: usize,
    /// The largest timestamp; -1 when unknown.
    pub max_timestamp: i64,
    /// The largest timestamp of its first batch, which determines the segment's age; -1 when unknown.
    pub first_timestamp: i64,
    /// Flushed and cut; other segments are not compacted yet.
    pub is_finished: bool,
}

/// A possible compaction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// All offsets below it are compacted.
    pub first_dirty: Offset,
    /// The end of the compaction, exclusive; a segment begins there.
    pub end: Offset,
    /// The share of bytes that were never compacted.
    pub ratio: f64,
    /// The ratio is above `min.cleanable.dirty.ratio`, or the compaction is overdue by `max.compaction.lag.ms`.
    pub is_due: bool,
}

/// Plans a compaction; `None` if there is nothing to compact.
///
/// `cleaned_to`: the end of the last compaction. `stable`: Kafka's last stable offset; transactions at or above it are
/// open.
pub fn plan(
    sealed: &[Sealed],
    log_start: Offset,
    cleaned_to: Offset,
    stable: Offset,
    config: &TopicConfig,
    now_ms: i64,
) -> Option<Plan> {
    let log_end = sealed.last()?.end_offset;
    // If the log was truncated or its start has moved beyond `cleaned_to`, all of it counts as never compacted.
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
    assert!(first_dirty < end && end <= stable, "a plan for {first_dirty}..{end}, stable up to {stable}");
    let ratio = dirty_bytes as f64 / (bytes(&sealed[..dirty_from]) + dirty_bytes) as f64;
    let oldest = dirty.iter().map(|segment| segment.first_timestamp).filter(|timestamp| *timestamp > 0).min();
    let is_overdue = oldest.is_some_and(|oldest| oldest < now_ms.saturating_sub(config.max_compaction_lag_ms));
    Some(Plan { first_dirty, end, ratio, is_due: ratio > config.min_cleanable_dirty_ratio || is_overdue })
}

/// Groups neighbouring segments that become one: as many as fit its limits.
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
    assert_eq!(groups.last().map_or(0, |group| group.end), sealed.len(), "each segment is in one group");
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::compacting;

    const DAY_MS: i64 = 86_400_000;

    /// Segments of 100 offsets each, with these sizes.
    fn row(bytes: &[u64]) -> Vec<Sealed> {
        let segment = |(at, bytes): (usize, &u64)| Sealed {
            base_offset: Offset(at as i64 * 100),
            end_offset: Offset(at as i64 * 100 + 100),
            bytes: *bytes,
            index_bytes: 8,
            max_timestamp: at as i64 * 10,
            first_timestamp: at as i64 * 10 + 1,
            is_finished: true,
        };
        bytes.iter().enumerate().map(segment).collect()
    }

    #[test]
    fn plan_covers_uncompacted_offsets_below_the_stable_offset() {
        let check = |cleaned_to, stable, expected: Option<(i64, i64, f64)>| {
            let (from, to) = (Offset(cleaned_to), Offset(stable));
            let found = plan(&row(&[10, 10, 10, 10]), Offset(0), from, to, &compacting(), 1000);
            assert_eq!(
                found.map(|plan| (plan.first_dirty.0, plan.end.0, plan.ratio)),
                expected,
                "{cleaned_to} {stable}"
            );
        };
        check(0, 400, Some((0, 400, 1.0)));
        check(0, 399, Some((0, 300, 1.0)));
        check(0, 99, None);
        check(200, 400, Some((200, 400, 0.5)));
        check(250, 400, Some((250, 400, 0.5)));
        check(400, 400, None);
        // The log was truncated, or its start has moved.
        check(500, 400, Some((0, 400, 1.0)));
        let moved = plan(&row(&[10; 4])[2..], Offset(210), Offset(100), Offset(400), &compacting(), 1000).unwrap();
        assert_eq!((moved.first_dirty, moved.end, moved.ratio), (Offset(210), Offset(400), 1.0));
        assert_eq!(plan(&[], Offset(0), Offset(0), Offset(10), &compacting(), 1000), None);
        assert_eq!(plan(&row(&[0, 0]), Offset(0), Offset(0), Offset(200), &compacting(), 1000), None, "empty segments");
    }

    #[test]
    fn plan_ends_before_a_young_or_unflushed_segment() {
        let lagging = TopicConfig { min_compaction_lag_ms: 985, ..compacting() };
        // At time 1000, records with timestamps up to 10 are older than 985 ms.
        let found = plan(&row(&[10; 4]), Offset(0), Offset(0), Offset(400), &lagging, 1000).unwrap();
        assert_eq!(found.end, Offset(200));
        let mut unflushed = row(&[10; 4]);
        unflushed[1].is_finished = false;
        assert_eq!(plan(&unflushed, Offset(0), Offset(0), Offset(400), &compacting(), 1000).unwrap().end, Offset(100));
    }

    #[test]
    fn plan_is_due_by_ratio_or_by_age() {
        let check = |cleaned_to, min_cleanable_dirty_ratio, max_compaction_lag_ms, expected| {
            let settings = TopicConfig { min_cleanable_dirty_ratio, max_compaction_lag_ms, ..compacting() };
            let found = plan(&row(&[10; 4]), Offset(0), cleaned_to, Offset(400), &settings, DAY_MS).unwrap();
            assert_eq!(found.is_due, expected, "{cleaned_to} {min_cleanable_dirty_ratio} {max_compaction_lag_ms}");
        };
        check(Offset(0), 0.5, i64::MAX, true);
        check(Offset(200), 0.5, i64::MAX, false);
        check(Offset(200), 0.49, i64::MAX, true);
        check(Offset(200), 0.5, DAY_MS, false);
        check(Offset(200), 0.5, DAY_MS - 22, true);
    }

    #[test]
    fn groups_respect_the_limits_of_a_segment() {
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
        far[1].end_offset = Offset(1 << 31);
        assert_eq!(ends(&far, &compacting()), [(0, 3)]);
        far[1].end_offset += 1;
        assert_eq!(ends(&far, &compacting()), [(0, 1), (1, 3)]);
    }
}
