use super::*;

const MINUTE_MS: u64 = 60_000;
const ID: TopicId = TopicId([7; 16]);

fn asked(fetch_offset: Offset) -> AskedPartition {
    AskedPartition {
        current_leader_epoch: LeaderEpoch(-1),
        fetch_offset,
        last_fetched_epoch: LeaderEpoch(-1),
        bytes_max: 1 << 20,
    }
}

fn offsets(high_watermark: Offset) -> SentOffsets {
    SentOffsets { high_watermark, last_stable_offset: high_watermark, log_start_offset: Offset(0) }
}

fn quiet(high_watermark: Offset) -> PartitionNews {
    PartitionNews { offsets: offsets(high_watermark), has_records: false, is_exceptional: false }
}

/// A cache, a clock, and ids that count up.
struct World {
    cache: Cache,
    now_ms: u64,
    drawn: u64,
    located: usize,
}

impl World {
    fn new(slots: usize) -> World {
        World { cache: Cache::new(ShardId(0), 1, slots), now_ms: 1, drawn: 0, located: 0 }
    }

    fn requester(&self, is_by_id: bool) -> Requester {
        Requester { is_by_id, is_follower: false, now_ms: self.now_ms }
    }

    fn create(&mut self, is_follower: bool, partitions: &[(&str, PartitionIndex)]) -> Option<Rc<RefCell<Session>>> {
        let requester = Requester { is_follower, ..self.requester(false) };
        let (drawn, located) = (&mut self.drawn, &mut self.located);
        let random = || {
            *drawn += 1;
            *drawn
        };
        let asked = partitions.iter().map(|(name, partition)| (Topic::Name(name), *partition, asked(Offset(0))));
        self.cache.create(requester, random, asked, 1, &mut |_, _, _| {
            *located += 1;
            Err(ErrorCode::UnknownTopicOrPartition)
        })
    }

    fn open(&mut self, partitions: &[(&str, PartitionIndex)]) -> Rc<RefCell<Session>> {
        self.create(false, partitions).expect("room")
    }

    fn advance(
        &mut self,
        session: (i32, i32),
        changed: &[(&str, PartitionIndex, Offset)],
        forgotten: &[(&str, PartitionIndex)],
    ) -> Result<Option<Rc<RefCell<Session>>>, ErrorCode> {
        let requester = self.requester(false);
        let changed = changed.iter().map(|(name, partition, offset)| (Topic::Name(name), *partition, asked(*offset)));
        let forgotten: Vec<_> = forgotten.iter().map(|(name, partition)| (Topic::Name(name), *partition)).collect();
        self.cache.advance(session, requester, changed, &forgotten, &mut |_, _, _| Err(ErrorCode::None))
    }
}

fn names(session: &Session) -> Vec<String> {
    let name = |(_, key, partition, asked, _): (_, &Key, _, &AskedPartition, _)| match key {
        Key::Name(name) => format!("{name}-{partition}@{}", asked.fetch_offset),
        Key::Id(id) => format!("{id}-{partition}@{}", asked.fetch_offset),
    };
    session.partitions().map(name).collect()
}

/// Sends a response. Returns the partitions that it names.
fn turn(
    session: &Rc<RefCell<Session>>,
    mut news: impl FnMut(&Key, PartitionIndex) -> PartitionNews,
) -> Vec<PartitionIndex> {
    let all: Vec<_> =
        session.borrow().partitions().map(|(slot, key, partition, ..)| (slot, key.clone(), partition)).collect();
    let mut session = session.borrow_mut();
    let mut named = Vec::new();
    for (slot, key, partition) in all {
        if session.record_sent(slot, &key, partition, news(&key, partition)) {
            named.push(partition);
        }
    }
    session.end_response();
    named
}

#[test]
fn a_session_remembers_partitions_and_applies_changes() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0), ("a", 1), ("b", 0)]);
    let id = session.borrow().id;
    assert!(id > 0);
    assert_eq!(names(&session.borrow()), ["a-0@0", "a-1@0", "b-0@0"]);
    world
        .advance((id, 1), &[("a", 1, Offset(9)), ("c", 3, Offset(5))], &[("b", 0), ("b", 1), ("x", 0)])
        .unwrap()
        .unwrap();
    assert_eq!(names(&session.borrow()), ["a-0@0", "a-1@9", "c-3@5"]);
    // A partition that left may return. It reuses the freed slot.
    world.advance((id, 2), &[("b", 0, Offset(4))], &[("a", 0)]).unwrap().unwrap();
    assert_eq!(names(&session.borrow()), ["a-1@9", "c-3@5", "b-0@4"]);
    assert!(session.borrow().partitions.len() <= 4 && session.borrow().topics.len() <= 3);
}

#[test]
fn unknown_sessions_wrong_epochs_and_mixed_names_are_errors() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0)]);
    let id = session.borrow().id;
    let code = |answer: Result<_, ErrorCode>| answer.err();
    assert_eq!(code(world.advance((id + 1, 1), &[], &[])), Some(ErrorCode::FetchSessionIdNotFound));
    for epoch in [2, 3, i32::MAX, -2, i32::MIN] {
        assert_eq!(code(world.advance((id, epoch), &[], &[])), Some(ErrorCode::InvalidFetchSessionEpoch), "{epoch}");
    }
    let by_id = world.requester(true);
    let mixed = world.cache.advance((id, 1), by_id, std::iter::empty(), &[], &mut |_, _, _| Err(ErrorCode::None));
    assert_eq!(code(mixed), Some(ErrorCode::FetchSessionTopicIdError));
    // The errors did not advance the epoch.
    assert!(world.advance((id, 1), &[], &[]).unwrap().is_some());
    assert_eq!(code(world.advance((id, 1), &[], &[])), Some(ErrorCode::InvalidFetchSessionEpoch));
    world.cache.remove(id);
    assert_eq!(code(world.advance((id, 2), &[], &[])), Some(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(world.cache.partitions, 0);
}

#[test]
fn the_epoch_goes_from_the_maximum_to_1() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0)]);
    let id = session.borrow().id;
    session.borrow_mut().epoch = i32::MAX;
    assert!(world.advance((id, i32::MAX), &[], &[]).unwrap().is_some());
    assert!(world.advance((id, 1), &[], &[]).unwrap().is_some());
}

#[test]
fn a_session_that_becomes_empty_is_closed() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0)]);
    let id = session.borrow().id;
    assert!(world.advance((id, 1), &[], &[("a", 0)]).unwrap().is_none());
    assert!(world.cache.sessions.is_empty() && world.cache.partitions == 0);
    assert!(world.create(false, &[]).is_none(), "a session of nothing is not opened");
}

#[test]
fn only_changed_partitions_are_named() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0), ("a", 1), ("a", 2)]);
    assert_eq!(turn(&session, |_, _| quiet(Offset(5))), [0, 1, 2]);
    assert_eq!(turn(&session, |_, _| quiet(Offset(5))), [] as [i32; 0]);
    assert_eq!(turn(&session, |_, at| quiet(if at == 1 { Offset(6) } else { Offset(5) })), [1]);
    let start_moved = |at| PartitionNews {
        offsets: SentOffsets { log_start_offset: Offset(i64::from(at == 2)), ..offsets(Offset(5)) },
        ..quiet(Offset(5))
    };
    assert_eq!(turn(&session, |_, at| start_moved(at)), [1, 2], "1 went back to 5, 2 has another start");
    let records = |at| PartitionNews { has_records: at == 0, ..start_moved(at) };
    assert_eq!(turn(&session, |_, at| records(at)), [0]);
    // Each response names a failed partition; so does the first one after the error.
    let failed = |at| PartitionNews { is_exceptional: at == 0, ..start_moved(at) };
    assert_eq!(turn(&session, |_, at| failed(at)), [0]);
    assert_eq!(turn(&session, |_, at| failed(at)), [0]);
    assert_eq!(turn(&session, |_, at| start_moved(at)), [0]);
    assert_eq!(turn(&session, |_, at| start_moved(at)), [] as [i32; 0]);
}

#[test]
fn partitions_with_records_are_read_last_next_time() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0), ("a", 1), ("a", 2), ("a", 3)]);
    let busy = |busy: &'static [i32]| {
        move |_: &Key, at: PartitionIndex| PartitionNews { has_records: busy.contains(&at), ..quiet(Offset(1)) }
    };
    turn(&session, busy(&[0, 2]));
    assert_eq!(names(&session.borrow()), ["a-1@0", "a-3@0", "a-0@0", "a-2@0"]);
    turn(&session, busy(&[0, 1, 2, 3]));
    assert_eq!(names(&session.borrow()), ["a-1@0", "a-3@0", "a-0@0", "a-2@0"]);
    turn(&session, busy(&[]));
    turn(&session, busy(&[1]));
    assert_eq!(names(&session.borrow()), ["a-3@0", "a-0@0", "a-2@0", "a-1@0"]);
}

#[test]
fn a_partition_that_left_during_the_response_is_not_named() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0), ("b", 0)]);
    let id = session.borrow().id;
    let (slot, key) = session.borrow().partitions().map(|(slot, key, ..)| (slot, key.clone())).next().unwrap();
    world.advance((id, 1), &[("c", 0, Offset(0))], &[("a", 0)]).unwrap().unwrap();
    let records = PartitionNews { has_records: true, ..quiet(Offset(1)) };
    assert!(!session.borrow_mut().record_sent(slot, &key, 0, records));
    world.advance((id, 2), &[("d", 0, Offset(0))], &[]).unwrap().unwrap();
    assert!(!session.borrow_mut().record_sent(slot, &key, 0, records), "another partition has its slot now");
    session.borrow_mut().end_response();
    assert_eq!(session.borrow().len(), 3);
}

#[test]
fn partitions_are_located_again_only_with_a_newer_image() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0), ("a", 1)]);
    assert_eq!(world.located, 2);
    let mut located = 0;
    let mut renew = |index| {
        session.borrow_mut().renew(index, &mut |_, known_as, _| {
            located += 1;
            *known_as = Some("a".into());
            Err(ErrorCode::InconsistentTopicId)
        });
        located
    };
    assert_eq!([renew(1), renew(2), renew(2), renew(3)], [0, 2, 2, 4]);
    assert!(session.borrow().partitions().all(|(.., place)| *place == Err(ErrorCode::InconsistentTopicId)));
}

#[test]
fn session_2_a_session_by_id_rejects_requests_by_name() {
    let mut cache = Cache::new(ShardId(2), 3, 9);
    let mut drawn = 0;
    let requester = Requester { is_by_id: true, is_follower: false, now_ms: 1 };
    let session = cache.create(
        requester,
        || {
            drawn += 1;
            drawn
        },
        [(Topic::Id(ID), 4, asked(Offset(0)))].into_iter(),
        1,
        &mut |key, _, partition| {
            assert_eq!((key, partition), (&Key::Id(ID), 4));
            Ok((TopicPartition { topic: ID, partition }, ShardId(2)))
        },
    );
    let id = session.unwrap().borrow().id;
    assert_eq!(id % 3, 2, "an id names its shard");
    let by_name = Requester { is_by_id: false, ..requester };
    let mixed = cache.advance((id, 1), by_name, std::iter::empty(), &[], &mut |_, _, _| Err(ErrorCode::None));
    assert_eq!(mixed.err(), Some(ErrorCode::FetchSessionTopicIdError));
}

#[test]
fn session_1_a_full_cache_opens_no_session_until_one_is_stale() {
    let mut world = World::new(2);
    let first = world.open(&[("a", 0)]);
    world.now_ms += MINUTE_MS;
    world.open(&[("b", 0)]);
    assert!(world.create(false, &[("c", 0), ("c", 1)]).is_none());
    // The first session may be evicted two minutes after its last use.
    world.now_ms += MINUTE_MS;
    assert!(world.create(false, &[("c", 0)]).is_none());
    world.now_ms += 1;
    assert!(world.create(false, &[("c", 0)]).is_some());
    let id = first.borrow().id;
    assert_eq!(world.advance((id, 1), &[], &[]).err(), Some(ErrorCode::FetchSessionIdNotFound));
    assert_eq!((world.cache.sessions.len(), world.cache.partitions), (2, 2));
}

#[test]
fn an_old_session_in_use_is_evicted_only_for_a_larger_one() {
    let mut world = World::new(1);
    let old = world.open(&[("a", 0), ("a", 1)]);
    let id = old.borrow().id;
    for epoch in 1..=3 {
        world.now_ms += MINUTE_MS;
        world.advance((id, epoch), &[], &[]).unwrap();
    }
    assert!(world.create(false, &[("b", 0)]).is_none());
    assert!(world.create(false, &[("b", 0), ("b", 1), ("b", 2)]).is_some());
}

#[test]
fn a_follower_evicts_any_consumer_and_no_consumer_evicts_a_follower() {
    let mut world = World::new(1);
    world.open(&[("a", 0), ("a", 1)]);
    assert!(world.create(true, &[("b", 0)]).is_some());
    assert!(world.create(false, &[("c", 0), ("c", 1)]).is_none());
    assert!(world.create(true, &[("c", 0), ("c", 1)]).is_none(), "a young follower's stays");
}

#[test]
fn without_slots_no_session_opens() {
    assert!(World::new(0).create(false, &[("a", 0)]).is_none());
    assert!(World::new(0).create(true, &[("a", 0)]).is_none());
}

#[test]
fn a_session_moves_to_another_shard_with_its_state() {
    let mut from = World::new(10);
    let session = from.open(&[("a", 0), ("b", 1), ("a", 2)]);
    let id = session.borrow().id;
    from.advance((id, 1), &[("b", 1, Offset(9))], &[]).unwrap();
    assert_eq!(turn(&session, |_, partition| quiet(Offset(partition.into()))), [0, 1, 2]);
    assert!(from.cache.take(id).is_none(), "a request uses the session");
    drop(session);
    let moved = from.cache.take(id).expect("no request uses the session");
    assert_eq!(from.cache.partitions, 0);
    assert_eq!(from.advance((id, 2), &[], &[]).err(), Some(ErrorCode::FetchSessionIdNotFound));

    let mut to = World::new(10);
    to.cache.adopt(moved, to.now_ms, 1, &mut |_, _, _| Err(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(to.advance((id, 1), &[], &[]).err(), Some(ErrorCode::InvalidFetchSessionEpoch));
    let session = to.advance((id, 2), &[], &[]).unwrap().expect("it has partitions");
    assert_eq!(names(&session.borrow()), ["a-0@0", "b-1@9", "a-2@0"]);
    // The offsets of the last response moved too: only a change is news.
    let news = |_: &Key, partition: PartitionIndex| quiet(Offset(if partition == 2 { 50 } else { partition.into() }));
    assert_eq!(turn(&session, news), [2]);
    assert_eq!(to.cache.partitions, 3);
}

#[test]
fn a_session_that_moves_to_a_full_shard_is_dropped() {
    let mut from = World::new(10);
    from.drawn = 100;
    let id = from.open(&[("a", 0)]).borrow().id;
    let moved = from.cache.take(id).expect("no request uses the session");
    let mut to = World::new(1);
    to.open(&[("a", 0), ("a", 1)]);
    to.cache.adopt(moved, to.now_ms, 1, &mut |_, _, _| Err(ErrorCode::UnknownTopicOrPartition));
    assert_eq!((to.cache.sessions.len(), to.cache.partitions), (1, 2), "SESSION-1");
}
