//! The shards that a connection's requests are for.

use std::cell::Cell;

use crate::model::ShardId;

/// Counts consecutive partitions of one shard in a connection's requests, to decide when to hand the connection over.
#[derive(Clone, Default, Debug)]
pub struct Traffic {
    owner: Cell<u16>,
    streak: Cell<u32>,
}

impl Traffic {
    /// After this many consecutive partitions of one other shard the connection moves there. A request that crosses
    /// costs two messages and a copy; a hand-over costs about ten times that.
    const STREAK: u32 = 64;

    pub(in crate::api) fn note(&self, owner: ShardId) {
        let streak = if self.owner.replace(owner.0) == owner.0 { self.streak.get() + 1 } else { 1 };
        self.streak.set(streak);
    }

    /// Moves the connection to `shard` without waiting for more requests.
    pub(in crate::api) fn move_to(&self, shard: ShardId) {
        self.owner.set(shard.0);
        self.streak.set(Traffic::STREAK);
    }

    /// The shard that the connection should move to.
    pub fn belongs_to(&self) -> Option<ShardId> {
        (self.streak.get() >= Traffic::STREAK).then(|| ShardId(self.owner.get()))
    }
}
