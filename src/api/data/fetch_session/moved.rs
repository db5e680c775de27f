//! A session that moves to another shard with its connection (forward routing). Its id does not change.

use std::cell::RefCell;
use std::rc::Rc;

use super::{AskedPartition, Cache, Key, Locate, SentOffsets, Session};
use crate::router::message::{MovedPartition, MovedSession, MovedTopic};

impl Cache {
    /// Removes a session, and returns it in a form that crosses shards. `None`: the session is not here, or a request
    /// still uses it.
    pub fn take(&mut self, id: i32) -> Option<MovedSession> {
        if Rc::strong_count(self.sessions.get(&id)?) > 1 {
            return None;
        }
        let session = self.sessions.remove(&id)?;
        let session = session.borrow();
        self.partitions -= session.len();
        let Session { id, epoch, is_by_id, is_follower, created_ms, .. } = *session;
        let partitions = session.order.iter().map(|slot| {
            let partition = session.partitions[*slot as usize].as_ref().expect("in order");
            let topic = session.topics[partition.topic as usize].as_ref().expect("of a partition");
            let known_as = topic.known_as.as_deref().map(str::to_owned);
            MovedPartition {
                topic: match &topic.key {
                    Key::Name(name) => MovedTopic::Name(name.to_string()),
                    Key::Id(id) => MovedTopic::Id { id: *id, known_as },
                },
                partition: partition.partition,
                current_leader_epoch: partition.asked.current_leader_epoch,
                fetch_offset: partition.asked.fetch_offset,
                last_fetched_epoch: partition.asked.last_fetched_epoch,
                bytes_max: partition.asked.bytes_max,
                high_watermark: partition.sent.high_watermark,
                last_stable_offset: partition.sent.last_stable_offset,
                log_start_offset: partition.sent.log_start_offset,
            }
        });
        Some(MovedSession { id, epoch, is_by_id, is_follower, created_ms, partitions: partitions.collect() })
    }

    /// Adds a session of another shard, if there is room or another session may be evicted. Otherwise its reader
    /// fetches in full again.
    pub fn adopt(&mut self, moved: MovedSession, now_ms: u64, image_index: u64, locate: &mut Locate<'_>) {
        let MovedSession { id, epoch, is_by_id, is_follower, created_ms, partitions } = moved;
        let value = (is_follower, partitions.len(), id);
        if self.sessions.contains_key(&id) || !self.make_room(value, now_ms) {
            return;
        }
        let mut session = Session::new(id, is_by_id, is_follower, created_ms);
        (session.epoch, session.used_ms, session.image_index) = (epoch, now_ms, image_index);
        let asked = partitions.iter().map(|moved| {
            let asked = AskedPartition {
                current_leader_epoch: moved.current_leader_epoch,
                fetch_offset: moved.fetch_offset,
                last_fetched_epoch: moved.last_fetched_epoch,
                bytes_max: moved.bytes_max,
            };
            (moved.topic.topic(), moved.partition, asked)
        });
        session.update(asked, locate);
        assert_eq!(session.len(), partitions.len(), "a session names each partition once");
        for (slot, moved) in session.order.iter().zip(&partitions) {
            let partition = session.partitions[*slot as usize].as_mut().expect("in order");
            partition.sent = SentOffsets {
                high_watermark: moved.high_watermark,
                last_stable_offset: moved.last_stable_offset,
                log_start_offset: moved.log_start_offset,
            };
            let topic = session.topics[partition.topic as usize].as_mut().expect("of a partition");
            if let MovedTopic::Id { known_as: Some(name), .. } = &moved.topic {
                topic.known_as.get_or_insert_with(|| name.as_str().into());
            }
        }
        self.partitions += session.len();
        self.sessions.insert(id, Rc::new(RefCell::new(session)));
    }
}
