use super::*;

const MINUTE_MS: u64 = 60_000;
const ID: TopicId = TopicId([7; 16]);

fn asked(fetch_offset: Offset) -> Asked {
    Asked { current_leader_epoch: -1, fetch_offset, last_fetched_epoch: -1, bytes_max: 1 << 20 }
}

fn told(high_watermark: Offset) -> Told {
    Told { high_watermark, last_stable_offset: high_watermark, log_start_offset: 0 }
}

fn quiet(high_watermark: Offset) -> News {
    News { told: told(high_watermark), has_records: false, is_exceptional: false }
}

/// A cache, a clock and ids that count up.
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

    fn asker(&self, is_by_id: bool) -> Asker {
        Asker { is_by_id, is_follower: false, now_ms: self.now_ms }
    }

    fn create(&mut self, is_follower: bool, partitions: &[(&str, PartitionIndex)]) -> Option<Rc<RefCell<Session>>> {
        let asker = Asker { is_follower, ..self.asker(false) };
        let (drawn, located) = (&mut self.drawn, &mut self.located);
        let random = || {
            *drawn += 1;
            *drawn
        };
        let asked = partitions.iter().map(|(name, partition)| (Topic::Name(name), *partition, asked(0)));
        self.cache.create(asker, random, asked, 1, &mut |_, _, _| {
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
        let asker = self.asker(false);
        let changed = changed.iter().map(|(name, partition, offset)| (Topic::Name(name), *partition, asked(*offset)));
        let forgotten: Vec<_> = forgotten.iter().map(|(name, partition)| (Topic::Name(name), *partition)).collect();
        self.cache.advance(session, asker, changed, &forgotten, &mut |_, _, _| Err(ErrorCode::None))
    }
}

fn names(session: &Session) -> Vec<String> {
    let name = |(_, key, partition, asked, _): (_, &Key, _, &Asked, _)| match key {
        Key::Name(name) => format!("{name}-{partition}@{}", asked.fetch_offset),
        Key::Id(id) => format!("{id}-{partition}@{}", asked.fetch_offset),
    };
    session.partitions().map(name).collect()
}

/// What an answer says of all partitions, and which of them it names.
fn turn(session: &Rc<RefCell<Session>>, mut news: impl FnMut(&Key, PartitionIndex) -> News) -> Vec<PartitionIndex> {
    let all: Vec<_> =
        session.borrow().partitions().map(|(slot, key, partition, ..)| (slot, key.clone(), partition)).collect();
    let mut session = session.borrow_mut();
    let mut named = Vec::new();
    for (slot, key, partition) in all {
        if session.tell(slot, &key, partition, news(&key, partition)) {
            named.push(partition);
        }
    }
    session.end_turn();
    named
}

#[test]
fn a_session_remembers_what_was_asked_and_takes_changes() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0), ("a", 1), ("b", 0)]);
    let id = session.borrow().id;
    assert!(id > 0);
    assert_eq!(names(&session.borrow()), ["a-0@0", "a-1@0", "b-0@0"]);
    world.advance((id, 1), &[("a", 1, 9), ("c", 3, 5)], &[("b", 0), ("b", 1), ("x", 0)]).unwrap().unwrap();
    assert_eq!(names(&session.borrow()), ["a-0@0", "a-1@9", "c-3@5"]);
    // What left may come back, and takes the room of what left.
    world.advance((id, 2), &[("b", 0, 4)], &[("a", 0)]).unwrap().unwrap();
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
    let by_id = world.asker(true);
    let mixed = world.cache.advance((id, 1), by_id, std::iter::empty(), &[], &mut |_, _, _| Err(ErrorCode::None));
    assert_eq!(code(mixed), Some(ErrorCode::FetchSessionTopicIdError));
    // None of this has moved it on.
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
fn only_what_changed_is_told() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0), ("a", 1), ("a", 2)]);
    assert_eq!(turn(&session, |_, _| quiet(5)), [0, 1, 2]);
    assert_eq!(turn(&session, |_, _| quiet(5)), [] as [i32; 0]);
    assert_eq!(turn(&session, |_, at| quiet(if at == 1 { 6 } else { 5 })), [1]);
    let start_moved = |at| News { told: Told { log_start_offset: i64::from(at == 2), ..told(5) }, ..quiet(5) };
    assert_eq!(turn(&session, |_, at| start_moved(at)), [1, 2], "1 went back to 5, 2 has another start");
    let records = |at| News { has_records: at == 0, ..start_moved(at) };
    assert_eq!(turn(&session, |_, at| records(at)), [0]);
    // An error is told each time, and its end too.
    let failed = |at| News { is_exceptional: at == 0, ..start_moved(at) };
    assert_eq!(turn(&session, |_, at| failed(at)), [0]);
    assert_eq!(turn(&session, |_, at| failed(at)), [0]);
    assert_eq!(turn(&session, |_, at| start_moved(at)), [0]);
    assert_eq!(turn(&session, |_, at| start_moved(at)), [] as [i32; 0]);
}

#[test]
fn partitions_that_gave_records_are_read_last_next_time() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0), ("a", 1), ("a", 2), ("a", 3)]);
    let busy =
        |busy: &'static [i32]| move |_: &Key, at: PartitionIndex| News { has_records: busy.contains(&at), ..quiet(1) };
    turn(&session, busy(&[0, 2]));
    assert_eq!(names(&session.borrow()), ["a-1@0", "a-3@0", "a-0@0", "a-2@0"]);
    turn(&session, busy(&[0, 1, 2, 3]));
    assert_eq!(names(&session.borrow()), ["a-1@0", "a-3@0", "a-0@0", "a-2@0"]);
    turn(&session, busy(&[]));
    turn(&session, busy(&[1]));
    assert_eq!(names(&session.borrow()), ["a-3@0", "a-0@0", "a-2@0", "a-1@0"]);
}

#[test]
fn what_left_while_the_answer_was_made_is_not_told() {
    let mut world = World::new(10);
    let session = world.open(&[("a", 0), ("b", 0)]);
    let id = session.borrow().id;
    let (slot, key) = session.borrow().partitions().map(|(slot, key, ..)| (slot, key.clone())).next().unwrap();
    world.advance((id, 1), &[("c", 0, 0)], &[("a", 0)]).unwrap().unwrap();
    let records = News { has_records: true, ..quiet(1) };
    assert!(!session.borrow_mut().tell(slot, &key, 0, records));
    world.advance((id, 2), &[("d", 0, 0)], &[]).unwrap().unwrap();
    assert!(!session.borrow_mut().tell(slot, &key, 0, records), "another partition has its slot now");
    session.borrow_mut().end_turn();
    assert_eq!(session.borrow().len(), 3);
}

#[test]
fn places_are_looked_up_again_only_with_a_newer_image() {
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
fn a_session_by_id_is_kept_apart_from_one_by_name() {
    let mut cache = Cache::new(ShardId(2), 3, 9);
    let mut drawn = 0;
    let asker = Asker { is_by_id: true, is_follower: false, now_ms: 1 };
    let session = cache.create(
        asker,
        || {
            drawn += 1;
            drawn
        },
        [(Topic::Id(ID), 4, asked(0))].into_iter(),
        1,
        &mut |key, _, partition| {
            assert_eq!((key, partition), (&Key::Id(ID), 4));
            Ok((TopicPartition { topic: ID, partition }, ShardId(2)))
        },
    );
    let id = session.unwrap().borrow().id;
    assert_eq!(id % 3, 2, "an id names its shard");
    let by_name = Asker { is_by_id: false, ..asker };
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
    // Two minutes after its last use the first gives way.
    world.now_ms += MINUTE_MS;
    assert!(world.create(false, &[("c", 0)]).is_none());
    world.now_ms += 1;
    assert!(world.create(false, &[("c", 0)]).is_some());
    let id = first.borrow().id;
    assert_eq!(world.advance((id, 1), &[], &[]).err(), Some(ErrorCode::FetchSessionIdNotFound));
    assert_eq!((world.cache.sessions.len(), world.cache.partitions), (2, 2));
}

#[test]
fn an_old_session_in_use_gives_way_to_a_larger_one_only() {
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
fn a_follower_pushes_out_any_consumer_and_no_consumer_a_follower() {
    let mut world = World::new(1);
    world.open(&[("a", 0), ("a", 1)]);
    assert!(world.create(true, &[("b", 0)]).is_some());
    assert!(world.create(false, &[("c", 0), ("c", 1)]).is_none());
    assert!(world.create(true, &[("c", 0), ("c", 1)]).is_none(), "a young follower's stays");
}

#[test]
fn no_slots_is_no_sessions() {
    assert!(World::new(0).create(false, &[("a", 0)]).is_none());
    assert!(World::new(0).create(true, &[("a", 0)]).is_none());
}
