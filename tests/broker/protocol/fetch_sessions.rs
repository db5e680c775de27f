//! Statements 91 to 93, and 94, 96 and 101 in sessions: incremental fetches (KIP-227).

use crate::support::bench::{self, PLAIN, SMALL, Topic, create, find};
use crate::support::node::Node;
use crate::support::talk::{Fetched, Talk, from, from_id};
use crate::support::wait_for;
use std::time::Duration;
use tidemill::model::ErrorCode;
use tidemill::wire::admin::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidemill::wire::data::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use tidemill::wire::data::fetch::{FetchPartition, FetchRequest};

/// A reader with a session, on one connection.
struct Reader {
    talk: Talk,
    version: i16,
    id: i32,
    epoch: i32,
}

impl Reader {
    fn at(address: &str, version: i16) -> Reader {
        Reader { talk: Talk::to(address), version, id: 0, epoch: 0 }
    }

    fn ask(&mut self, request: FetchRequest<'_>) -> Fetched {
        let request = FetchRequest { session_id: self.id, session_epoch: self.epoch, ..request };
        let answer = self.talk.fetch(&request, self.version);
        if answer.head.error_code == ErrorCode::None {
            self.id = answer.head.session_id;
            self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        }
        answer
    }

    fn fetch(&mut self, partitions: Vec<FetchPartition<'_>>) -> Fetched {
        self.ask(FetchRequest { partitions, ..Default::default() })
    }

    fn forget(&mut self, topic: &Topic, partitions: &[i32]) -> Fetched {
        let named = |at: &i32| (if self.version >= 13 { topic.by_id() } else { topic.by_name() }, *at);
        let forgotten = partitions.iter().map(named).collect();
        self.ask(FetchRequest { forgotten, ..Default::default() })
    }

    fn code(&mut self) -> ErrorCode {
        let answer = self.fetch(vec![]);
        assert!(answer.partitions.is_empty() || answer.head.error_code == ErrorCode::None);
        answer.head.error_code
    }
}

fn partition(topic: &Topic, version: i16, at: i32, offset: i64) -> FetchPartition<'_> {
    if version >= 13 { from_id(topic.id, at, offset) } else { from(&topic.name, at, offset) }
}

fn indexes(answer: &Fetched) -> Vec<i32> {
    assert_eq!(answer.head.error_code, ErrorCode::None);
    answer.partitions.iter().map(|part| part.head.partition).collect()
}

#[test]
fn s091_a_full_fetch_may_open_a_session_and_the_final_epoch_has_none() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "session", 2, &[]);
    for version in [7, 11, 12, 13, 18] {
        let all = || (0..2).map(|at| partition(&topic, version, at, 0)).collect::<Vec<_>>();
        let mut reader = Reader::at(&topic.leaders[0], version);
        let answer = reader.fetch(all());
        assert!(answer.head.session_id > 0, "v{version}");
        assert_eq!(indexes(&answer), [0, 1]);
        // Epoch -1 is a full fetch that closes the session.
        let open = (reader.id, reader.epoch);
        reader.epoch = -1;
        let answer = reader.fetch(all());
        assert_eq!((answer.head.session_id, indexes(&answer)), (0, vec![0, 1]));
        (reader.id, reader.epoch) = open;
        assert_eq!(reader.code(), ErrorCode::FetchSessionIdNotFound);
        // A full fetch that names a session closes it and opens another one.
        (reader.id, reader.epoch) = (0, 0);
        reader.fetch(all());
        let old = reader.id;
        reader.epoch = 0;
        reader.fetch(all());
        assert!(reader.id > 0 && reader.id != old);
        assert_eq!(reader.code(), ErrorCode::None);
        (reader.id, reader.epoch) = (old, 1);
        assert_eq!(reader.code(), ErrorCode::FetchSessionIdNotFound);
    }
}

fn check_incremental(node: &Node, version: i16, through: usize) {
    let topic = bench::topic(node, "incremental", 4, &[]);
    let at = |partition, offset| self::partition(&topic, version, partition, offset);
    let mut writer = topic.leader(0);
    let mut reader = Reader::at(&topic.leaders[through], version);
    assert_eq!(indexes(&reader.fetch((0..4).map(|partition| at(partition, 0)).collect())), [0, 1, 2, 3]);
    assert!(indexes(&reader.fetch(vec![])).is_empty());
    // New data is returned again and again until the reader's offset moves.
    writer.append(&topic.name, 2, &["a"]);
    let answer = reader.fetch(vec![]);
    assert_eq!(indexes(&answer), [2]);
    assert_eq!(answer.partitions[0].values(), ["a"]);
    assert_eq!(indexes(&reader.fetch(vec![])), [2]);
    assert!(indexes(&reader.fetch(vec![at(2, 1)])).is_empty());
    writer.append(&topic.name, 2, &["b"]);
    writer.append(&topic.name, 0, &["c"]);
    let answer = reader.fetch(vec![]);
    let mut values: Vec<_> = answer.partitions.iter().flat_map(|part| part.values()).collect();
    values.sort();
    assert_eq!(values, ["b", "c"]);
    // A forgotten partition is no longer returned, until it is added again.
    assert_eq!(indexes(&reader.forget(&topic, &[2])), [0]);
    writer.append(&topic.name, 2, &["d"]);
    assert!(indexes(&reader.fetch(vec![at(0, 1)])).is_empty());
    assert_eq!(indexes(&reader.fetch(vec![at(2, 2)])), [2]);
    assert!(indexes(&reader.fetch(vec![at(2, 3)])).is_empty());
    // An error is returned in each response until its cause is gone.
    for _ in 0..2 {
        let answer = reader.fetch(vec![at(1, 99)]);
        assert_eq!(answer.partitions[0].code(), ErrorCode::OffsetOutOfRange);
    }
    assert_eq!(indexes(&reader.fetch(vec![at(1, 0)])), [1]);
    assert!(indexes(&reader.fetch(vec![])).is_empty());
    // Any partition of the session completes a waiting fetch.
    let request = FetchRequest {
        max_wait_ms: 20_000,
        min_bytes: 1,
        session_id: reader.id,
        session_epoch: reader.epoch,
        ..Default::default()
    };
    let id = reader.talk.send_fetch(&request, version);
    writer.append(&topic.name, 3, &["e"]);
    let answer = reader.talk.receive_fetch(version, id);
    assert_eq!(indexes(&answer), [3]);
}

#[test]
fn s092_an_incremental_response_names_only_changed_partitions() {
    let node = PLAIN.node();
    for version in [7, 11, 12, 13, 18] {
        for through in 0..2 {
            check_incremental(&node, version, through);
        }
    }
}

#[test]
fn s092_a_session_lives_in_forward_routing_too() {
    let settings = ["--shards", "2", "--set", "routing=forward", "--set", "journal.bytes=134217728"];
    let node = Node::tidemill("protocol-forward", &settings);
    for version in [12, 13] {
        check_incremental(&node, version, 0);
    }
}

#[test]
fn s092_a_session_moves_to_another_shard_with_its_connection() {
    let settings = ["--shards", "2", "--set", "routing=forward", "--set", "journal.bytes=134217728"];
    let node = Node::tidemill("protocol-session-moves", &settings);
    let topic = bench::topic(&node, "moves", 2, &[]);
    let mut reader = Reader::at(node.bootstrap(), 12);
    // Each shard has one of the partitions. The connection moves after 64 requests for another shard.
    for at in 0..2 {
        topic.leader(at as usize).append(&topic.name, at, &["a"]);
        reader.epoch = 0;
        assert_eq!(indexes(&reader.fetch(vec![partition(&topic, 12, at, 0)])), [at]);
        let id = reader.id;
        for _ in 0..100 {
            assert_eq!(indexes(&reader.fetch(vec![])), [at]);
        }
        assert!(indexes(&reader.fetch(vec![partition(&topic, 12, at, 1)])).is_empty());
        assert!(id != 0 && reader.id == id && reader.epoch == 102);
    }
}

#[test]
fn s093_unknown_sessions_wrong_epochs_and_mixed_names_are_errors_without_partitions() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "session-errors", 1, &[]);
    topic.leader(0).append(&topic.name, 0, &["a"]);
    let mut reader = Reader::at(&topic.leaders[0], 12);
    reader.fetch(vec![from(&topic.name, 0, 0)]);
    let (id, epoch) = (reader.id, reader.epoch);
    assert_eq!(epoch, 1);
    for wrong in [2, 3, i32::MAX, -2] {
        reader.epoch = wrong;
        let answer = reader.fetch(vec![]);
        assert_eq!(answer.head.error_code, ErrorCode::InvalidFetchSessionEpoch, "{wrong}");
        assert_eq!((answer.head.session_id, answer.partitions.len()), (0, 0));
    }
    (reader.id, reader.epoch) = (id ^ 0x5555, 1);
    assert_eq!(reader.code(), ErrorCode::FetchSessionIdNotFound);
    (reader.id, reader.version) = (id, 13);
    assert_eq!(reader.code(), ErrorCode::FetchSessionTopicIdError);
    // The session is still usable.
    reader.version = 12;
    assert_eq!(indexes(&reader.fetch(vec![])), [0]);
    assert_eq!(reader.epoch, 2);
}

#[test]
fn s094_a_session_with_the_old_id_of_a_recreated_topic_gets_inconsistent_topic_id() {
    let node = PLAIN.node();
    let old = bench::topic(&node, "recreated", 1, &[]);
    let kept = bench::topic(&node, "kept", 1, &[]);
    let mut reader = Reader::at(&old.leaders[0], 13);
    reader.fetch(vec![from_id(old.id, 0, 0), from_id(kept.id, 0, 0)]);
    assert!(indexes(&reader.fetch(vec![])).is_empty());
    let request = DeleteTopicsRequest { topic_names: vec![old.name.clone()], timeout_ms: 30_000, ..Default::default() };
    let mut talk = Talk::to(node.bootstrap());
    let _: DeleteTopicsResponse = talk.call(&request, 5);
    let deleted = wait_for("the deletion is known", Duration::from_secs(10), || reader.fetch(vec![]).partitions.pop());
    assert_eq!(deleted.code(), ErrorCode::UnknownTopicId);
    create(&node, &old.name, 1, &[]);
    find(&node, &old.name);
    wait_for("the new topic is known", Duration::from_secs(10), || {
        let answer = reader.fetch(vec![]);
        assert_eq!(answer.partitions.len(), 1, "the other topic has no news");
        (answer.partitions[0].code() == ErrorCode::InconsistentTopicId).then_some(())
    });
}

#[test]
fn s096_a_busy_partition_does_not_starve_the_others_of_its_session() {
    let node = SMALL.node();
    let topic = bench::topic(&node, "busy", 3, &[]);
    let mut writer = topic.leader(0);
    let value = "x".repeat(3000);
    for partition in 0..3 {
        for _ in 0..3 {
            writer.append(&topic.name, partition, &[&value]);
        }
    }
    let mut reader = Reader::at(&topic.leaders[0], 11);
    // fetch.max.bytes allows one batch per response. The reader's offset stays, so partition 0 always has data.
    let mut served = Vec::new();
    let mut asked: Vec<_> = (0..3).map(|at| from(&topic.name, at, 0)).collect();
    for _ in 0..6 {
        let answer = reader.fetch(std::mem::take(&mut asked));
        assert!(reader.id > 0, "the session was opened");
        let with = answer.partitions.iter().filter(|part| !part.records.is_empty());
        served.extend(with.map(|part| part.head.partition));
    }
    assert_eq!(served, [0, 1, 2, 0, 1, 2]);
    // Release the slot for the next test.
    reader.epoch = -1;
    reader.fetch(vec![]);
}

#[test]
fn s091_without_a_free_slot_a_full_fetch_is_answered_without_a_session() {
    let settings = ["--shards", "1", "--set", "journal.bytes=134217728", "--set"];
    let slots = "max.incremental.fetch.session.cache.slots=2";
    let node = Node::tidemill("protocol-slots", &[&settings[..], &[slots]].concat());
    let topic = bench::topic(&node, "slots", 1, &[]);
    let mut readers: Vec<Reader> = (0..3).map(|_| Reader::at(&topic.leaders[0], 12)).collect();
    let ids: Vec<i32> =
        readers.iter_mut().map(|reader| reader.fetch(vec![from(&topic.name, 0, 0)]).head.session_id).collect();
    assert!(ids[0] > 0 && ids[1] > 0 && ids[2] == 0, "{ids:?}");
    // A session that is closed, or that forgets all its partitions, frees its slot.
    let closed = readers[0].forget(&topic, &[0]);
    assert_eq!((closed.head.error_code, closed.head.session_id), (ErrorCode::None, 0));
    readers[2].epoch = 0;
    assert!(readers[2].fetch(vec![from(&topic.name, 0, 0)]).head.session_id > 0);
}

#[test]
fn s101_a_session_reports_a_moved_log_start() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "session-start", 2, &[]);
    for at in 0..2 {
        topic.leader(at).append(&topic.name, at as i32, &["a", "b"]);
    }
    for version in [7, 13] {
        let mut reader = Reader::at(&topic.leaders[0], version);
        let end = i64::from(version == 13) + 2;
        reader.fetch((0..2).map(|at| partition(&topic, version, at, end)).collect());
        assert_eq!(indexes(&reader.fetch(vec![])), [0; 0], "nothing is new");
        // One of the two partitions belongs to another shard.
        for at in 0..2 {
            let asked = DeleteRecordsPartition { partition_index: at, offset: end - 1 };
            let topics = vec![DeleteRecordsTopic { name: topic.name.clone(), partitions: vec![asked] }];
            let request = DeleteRecordsRequest { topics, timeout_ms: 10_000 };
            let answer: DeleteRecordsResponse = topic.leader(0).call(&request, 2);
            assert_eq!(answer.topics[0].partitions[0].low_watermark, end - 1);
            let answer = reader.fetch(vec![]);
            assert_eq!((indexes(&answer), answer.partitions[0].head.log_start_offset), (vec![at], end - 1));
        }
        assert_eq!(indexes(&reader.fetch(vec![])), [0; 0]);
        for at in 0..2 {
            topic.leader(at).append(&topic.name, at as i32, &["c"]);
        }
    }
}
