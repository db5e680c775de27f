//! Incremental fetch sessions (KIP-227). A session remembers the partitions of a reader, so that requests and responses
//! name only the partitions that changed.
//!
//! ```text
//! full fetch (epoch 0)      -> Cache::create         -> session id, epoch 1     (no room: id 0, fetch in full again)
//! incremental fetch (1..)   -> Cache::advance        -> applies changed and forgotten partitions, epoch + 1
//! response                  -> Session::record_sent  -> whether the partition changed; partitions with records
//!                                                       move to the end of the reading order
//! full fetch (id, epoch -1) -> Cache::remove
//! connection moves          -> Cache::take, Cache::adopt on the other shard
//! ```
//!
//! Each shard has its own cache, with its share of the node's slots. A session id encodes its shard, so a session is
//! never mistaken for another shard's. Clock, randomness and metadata are passed in.
//!
//! Invariants:
//! - SESSION-1: slots and partitions are bounded (`max.incremental.fetch.session.cache.slots`, [`PARTITIONS_MAX`]).
//! - SESSION-2: a session names its topics either by name or by id, for its whole life.

mod moved;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId, TopicPartition};
use crate::wire::Topic;

/// A session unused for this long may be evicted for any other (Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICTION_MS: u64 = 120_000;
/// The most partitions in all sessions of a shard. Each takes about 150 bytes.
pub const PARTITIONS_MAX: usize = 1 << 19;
/// No session: the id of a full fetch without a session, and of a response that opens none.
pub const NO_SESSION: i32 = 0;
/// A full fetch that closes the session that it names.
pub const FINAL_EPOCH: i32 = -1;
/// A full fetch that requests a session.
pub const INITIAL_EPOCH: i32 = 0;

/// A topic, by name or by id.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    Name(Rc<str>),
    Id(TopicId),
}

impl Key {
    pub fn topic(&self) -> Topic<'_> {
        match self {
            Key::Name(name) => Topic::Name(name),
            Key::Id(id) => Topic::Id(*id),
        }
    }
}

impl From<Topic<'_>> for Key {
    fn from(topic: Topic<'_>) -> Key {
        match topic {
            Topic::Name(name) => Key::Name(name.into()),
            Topic::Id(id) => Key::Id(id),
        }
    }
}

/// The shard that serves a partition, or the error.
pub type Location = Result<(TopicPartition, ShardId), ErrorCode>;

/// A reader's parameters for one partition. They hold until the reader changes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AskedPartition {
    pub current_leader_epoch: LeaderEpoch,
    pub fetch_offset: Offset,
    pub last_fetched_epoch: LeaderEpoch,
    pub bytes_max: i32,
}

/// The offsets of one partition that the last response carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentOffsets {
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
}

/// Differs from every valid value.
const NOTHING_SENT: SentOffsets =
    SentOffsets { high_watermark: Offset(-2), last_stable_offset: Offset(-2), log_start_offset: Offset(-2) };

/// The parts of a partition's response that decide whether an incremental response names it.
#[derive(Clone, Copy, Debug)]
pub struct PartitionNews {
    pub offsets: SentOffsets,
    pub has_records: bool,
    /// An error or a diverging epoch. The response always names the partition.
    pub is_exceptional: bool,
}

struct SessionTopic {
    key: Key,
    /// The name of a topic given by id, once it is known. It distinguishes a topic that was deleted and recreated from
    /// an unknown one.
    known_as: Option<Rc<str>>,
    partitions: u32,
}

struct SessionPartition {
    topic: u32,
    partition: PartitionIndex,
    asked: AskedPartition,
    sent: SentOffsets,
    place: Location,
}

/// The position of a partition in its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u32);

pub struct Session {
    pub id: i32,
    /// The epoch that the next request must carry.
    epoch: i32,
    is_by_id: bool,
    is_follower: bool,
    created_ms: u64,
    used_ms: u64,
    /// The index of the image that the locations come from.
    image_index: u64,
    topics: Vec<Option<SessionTopic>>,
    free_topics: Vec<u32>,
    names: HashMap<Rc<str>, u32>,
    ids: HashMap<TopicId, u32>,
    partitions: Vec<Option<SessionPartition>>,
    index: HashMap<(u32, PartitionIndex), u32>,
    free: Vec<u32>,
    /// Slots in reading order.
    order: Vec<u32>,
    /// Slots to move to the end of `order`; see [`end_response`](Self::end_response). Kept to reuse its capacity.
    moved: Vec<u32>,
}

/// Locates a partition. The second argument is the topic's last known name, which the function may update.
pub type Locate<'a> = dyn FnMut(&Key, &mut Option<Rc<str>>, PartitionIndex) -> Location + 'a;

impl Session {
    fn new(id: i32, is_by_id: bool, is_follower: bool, now_ms: u64) -> Session {
        Session {
            id,
            epoch: 1,
            is_by_id,
            is_follower,
            created_ms: now_ms,
            used_ms: now_ms,
            image_index: 0,
            topics: Vec::new(),
            free_topics: Vec::new(),
            names: HashMap::new(),
            ids: HashMap::new(),
            partitions: Vec::new(),
            index: HashMap::new(),
            free: Vec::new(),
            order: Vec::new(),
            moved: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Adds partitions, or changes the parameters of partitions in the session.
    fn update<'a>(
        &mut self,
        asked: impl Iterator<Item = (Topic<'a>, PartitionIndex, AskedPartition)>,
        locate: &mut Locate<'_>,
    ) {
        let mut last = None;
        for (topic, partition, asked) in asked {
            let at = match last {
                Some((same, at)) if same == topic => at,
                _ => self.topic(topic),
            };
            last = Some((topic, at));
            if let Some(slot) = self.index.get(&(at, partition)) {
                self.partitions[*slot as usize].as_mut().expect("indexed").asked = asked;
                continue;
            }
            let topic = self.topics[at as usize].as_mut().expect("just found");
            topic.partitions += 1;
            let place = locate(&topic.key, &mut topic.known_as, partition);
            let added = Some(SessionPartition { topic: at, partition, asked, sent: NOTHING_SENT, place });
            let slot = match self.free.pop() {
                Some(slot) => {
                    self.partitions[slot as usize] = added;
                    slot
                }
                None => {
                    self.partitions.push(added);
                    (self.partitions.len() - 1) as u32
                }
            };
            self.index.insert((at, partition), slot);
            self.order.push(slot);
        }
    }

    fn forget_topic(&mut self, at: u32) {
        match self.topics[at as usize].take().expect("there").key {
            Key::Name(name) => self.names.remove(&name),
            Key::Id(id) => self.ids.remove(&id),
        };
        self.free_topics.push(at);
    }

    /// The index of a topic, which is added if it is new. The caller adds a partition at once, so no topic is empty.
    fn topic(&mut self, topic: Topic<'_>) -> u32 {
        let found = match topic {
            Topic::Name(name) => self.names.get(name),
            Topic::Id(id) => self.ids.get(&id),
        };
        if let Some(at) = found {
            return *at;
        }
        let key = Key::from(topic);
        assert_eq!(matches!(key, Key::Id(_)), self.is_by_id, "SESSION-2: a session has names or ids, not both");
        let at = self.free_topics.pop().unwrap_or_else(|| {
            self.topics.push(None);
            (self.topics.len() - 1) as u32
        });
        match &key {
            Key::Name(name) => self.names.insert(name.clone(), at),
            Key::Id(id) => self.ids.insert(*id, at),
        };
        self.topics[at as usize] = Some(SessionTopic { key, known_as: None, partitions: 0 });
        at
    }

    fn forget(&mut self, forgotten: &[(Topic<'_>, PartitionIndex)]) {
        let mut is_any = false;
        for (topic, partition) in forgotten {
            let at = match topic {
                Topic::Name(name) => self.names.get(*name),
                Topic::Id(id) => self.ids.get(id),
            };
            let Some(&at) = at else { continue };
            let Some(slot) = self.index.remove(&(at, *partition)) else { continue };
            self.partitions[slot as usize] = None;
            self.free.push(slot);
            is_any = true;
            let topic = self.topics[at as usize].as_mut().expect("of a partition");
            topic.partitions -= 1;
            if topic.partitions == 0 {
                self.forget_topic(at);
            }
        }
        if is_any {
            let partitions = &self.partitions;
            self.order.retain(|slot| partitions[*slot as usize].is_some());
        }
    }

    /// Locates all partitions again if the image is newer than the last one.
    pub fn renew(&mut self, image_index: u64, locate: &mut Locate<'_>) {
        if self.image_index == image_index {
            return;
        }
        self.image_index = image_index;
        for partition in self.partitions.iter_mut().flatten() {
            let topic = self.topics[partition.topic as usize].as_mut().expect("of a partition");
            partition.place = locate(&topic.key, &mut topic.known_as, partition.partition);
        }
    }

    /// All partitions in reading order.
    pub fn partitions(&self) -> impl Iterator<Item = (Slot, &Key, PartitionIndex, &AskedPartition, &Location)> {
        self.order.iter().map(|slot| {
            let partition = self.partitions[*slot as usize].as_ref().expect("in order");
            let topic = self.topics[partition.topic as usize].as_ref().expect("of a partition");
            (Slot(*slot), &topic.key, partition.partition, &partition.asked, &partition.place)
        })
    }

    /// Records a partition's part of a response. Returns whether an incremental response has to name the partition. A
    /// partition that has left the session since the request is not named.
    pub fn record_sent(&mut self, slot: Slot, key: &Key, index: PartitionIndex, news: PartitionNews) -> bool {
        let Some(partition) = self.partitions[slot.0 as usize].as_mut() else { return false };
        let topic = self.topics[partition.topic as usize].as_ref().expect("of a partition");
        if partition.partition != index || topic.key != *key {
            return false;
        }
        let is_news = news.is_exceptional || news.has_records || partition.sent != news.offsets;
        // After an error the next response names the partition, even if no offset changed.
        partition.sent = if news.is_exceptional { NOTHING_SENT } else { news.offsets };
        if news.has_records {
            self.moved.push(slot.0);
        }
        is_news
    }

    /// Ends a response. Its partitions with records are read last next time, so that a busy partition does not starve
    /// the others under `max_bytes`.
    pub fn end_response(&mut self) {
        if self.moved.is_empty() || self.moved.len() == self.order.len() {
            self.moved.clear();
            return;
        }
        let moved: std::collections::HashSet<u32> = self.moved.iter().copied().collect();
        self.order.retain(|slot| !moved.contains(slot));
        self.order.append(&mut self.moved);
        debug_assert_eq!(self.order.len(), self.index.len());
    }

    /// Kafka's eviction order: consumers' sessions before followers', small sessions before large ones.
    fn value(&self) -> (bool, usize, i32) {
        (self.is_follower, self.len(), self.id)
    }
}

/// Epochs run from 1 to the maximum and wrap to 1, because 0 and -1 have other meanings.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// The reader of a session, and the time of its request.
#[derive(Clone, Copy, Debug)]
pub struct Requester {
    pub is_by_id: bool,
    pub is_follower: bool,
    pub now_ms: u64,
}

/// One shard's sessions.
pub struct Cache {
    shard: ShardId,
    shards: u16,
    slots_max: usize,
    sessions: HashMap<i32, Rc<RefCell<Session>>>,
    /// Partitions in all sessions, as of their last use.
    partitions: usize,
}

impl Cache {
    /// `slots`: the slots of the node, which its shards share equally.
    pub fn new(shard: ShardId, shards: u16, slots: usize) -> Cache {
        let slots_max = slots.div_ceil(usize::from(shards));
        Cache { shard, shards, slots_max, sessions: HashMap::new(), partitions: 0 }
    }

    /// Opens a session for a full fetch, if there is room or another session may be evicted.
    pub fn create<'a>(
        &mut self,
        requester: Requester,
        mut random: impl FnMut() -> u64,
        asked: impl ExactSizeIterator<Item = (Topic<'a>, PartitionIndex, AskedPartition)>,
        image_index: u64,
        locate: &mut Locate<'_>,
    ) -> Option<Rc<RefCell<Session>>> {
        let size = asked.len();
        if size == 0 {
            return None;
        }
        let id = self.free_id(&mut random);
        if !self.make_room((requester.is_follower, size, id), requester.now_ms) {
            return None;
        }
        let mut session = Session::new(id, requester.is_by_id, requester.is_follower, requester.now_ms);
        session.image_index = image_index;
        session.update(asked, locate);
        self.partitions += session.len();
        let session = Rc::new(RefCell::new(session));
        self.sessions.insert(id, session.clone());
        assert!(
            self.sessions.len() <= self.slots_max && self.partitions <= PARTITIONS_MAX,
            "SESSION-1: {} sessions with {} partitions",
            self.sessions.len(),
            self.partitions
        );
        Some(session)
    }

    /// Applies an incremental fetch. `None`: the session has become empty and is closed.
    pub fn advance<'a>(
        &mut self,
        (id, epoch): (i32, i32),
        requester: Requester,
        asked: impl Iterator<Item = (Topic<'a>, PartitionIndex, AskedPartition)>,
        forgotten: &[(Topic<'_>, PartitionIndex)],
        locate: &mut Locate<'_>,
    ) -> Result<Option<Rc<RefCell<Session>>>, ErrorCode> {
        let shared = self.sessions.get(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?.clone();
        let mut session = shared.borrow_mut();
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.is_by_id != requester.is_by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let before = session.len();
        session.update(asked, locate);
        session.forget(forgotten);
        self.partitions = self.partitions - before + session.len();
        if session.is_empty() || self.partitions > PARTITIONS_MAX {
            // SESSION-1: the reader then fetches in full, without a session.
            let is_empty = session.is_empty();
            drop(session);
            self.remove(id);
            return if is_empty { Ok(None) } else { Err(ErrorCode::FetchSessionIdNotFound) };
        }
        session.epoch = next_epoch(epoch);
        session.used_ms = requester.now_ms;
        drop(session);
        Ok(Some(shared))
    }

    pub fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.borrow().len();
        }
    }

    /// A free id above 0 whose remainder is this shard.
    fn free_id(&self, random: &mut impl FnMut() -> u64) -> i32 {
        let shards = u64::from(self.shards);
        loop {
            let drawn = random() % (i32::MAX as u64 / shards) * shards + u64::from(self.shard.0);
            match i32::try_from(drawn) {
                Ok(id) if id > 0 && !self.sessions.contains_key(&id) => return id,
                _ => {}
            }
        }
    }

    /// Evicts sessions until one of this value fits, as Kafka does. A session that was unused for long is evicted
    /// first. The least valuable of the old sessions follows, if it is not more valuable than the new one. A follower's
    /// session may evict any consumer's session.
    fn make_room(&mut self, value: (bool, usize, i32), now_ms: u64) -> bool {
        let (is_follower, size, _) = value;
        if self.slots_max == 0 || size > PARTITIONS_MAX {
            return false;
        }
        while self.sessions.len() >= self.slots_max || self.partitions + size > PARTITIONS_MAX {
            let sessions = || self.sessions.values().map(|session| session.borrow());
            let stale = sessions().min_by_key(|session| session.used_ms);
            let stale = stale.filter(|session| now_ms.saturating_sub(session.used_ms) > EVICTION_MS);
            let evicted = stale.map(|session| session.id).or_else(|| {
                let is_old = |session: &Session| session.used_ms - session.created_ms > EVICTION_MS;
                sessions()
                    .filter(|session| is_old(session) || is_follower && !session.is_follower)
                    .map(|session| session.value())
                    .min()
                    .filter(|least| *least <= value)
                    .map(|(_, _, id)| id)
            });
            match evicted {
                Some(id) => self.remove(id),
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
