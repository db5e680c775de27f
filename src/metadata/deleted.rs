//! The tombstones of deleted topics. A node removes a partition's directory only if the topic has one.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::TopicId;

/// The number of tombstones that stay besides those of the latest deletion. A node removes the directories of a topic
/// while it publishes the deletion, so it needs the tombstones of a few deletions after a crash.
const KEPT: usize = 10_000;

/// The ids of the topics that were deleted last, oldest first. A clone shares them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeletedTopics {
    ids: Arc<VecDeque<TopicId>>,
}

impl DeletedTopics {
    /// Whether the topic was deleted. False also for a topic that never existed, or whose tombstone is too old.
    pub fn contains(&self, id: TopicId) -> bool {
        self.ids.contains(&id)
    }

    /// The ids, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = TopicId> {
        self.ids.iter().copied()
    }

    /// Adds the topics that one index of the log has deleted. All of them stay, and [`KEPT`] earlier ones.
    pub(super) fn add(&mut self, deleted: impl ExactSizeIterator<Item = TopicId>) {
        if deleted.len() == 0 {
            return;
        }
        let ids = Arc::make_mut(&mut self.ids);
        ids.drain(..ids.len().saturating_sub(KEPT));
        ids.extend(deleted);
    }
}

impl FromIterator<TopicId> for DeletedTopics {
    fn from_iter<I: IntoIterator<Item = TopicId>>(ids: I) -> DeletedTopics {
        DeletedTopics { ids: Arc::new(ids.into_iter().collect()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u128>) -> impl ExactSizeIterator<Item = TopicId> {
        range.map(|id| TopicId(id.to_be_bytes())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn the_latest_deletion_stays_whole_and_older_ones_are_bounded() {
        let mut deleted = DeletedTopics::default();
        let large = KEPT as u128 * 3;
        deleted.add(ids(0..large));
        assert!(deleted.iter().eq(ids(0..large)));
        let before = deleted.clone();
        deleted.add(ids(0..0));
        assert_eq!(deleted, before);
        deleted.add(ids(large..large + 1));
        assert!(deleted.iter().eq(ids(large - KEPT as u128..large + 1)));
        assert!(deleted.contains(TopicId(large.to_be_bytes())) && !deleted.contains(TopicId([0; 16])));
        assert!(before.contains(TopicId([0; 16])), "a clone keeps its own state");
    }
}
