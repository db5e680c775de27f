//! The contents of transactions and their visibility: records, markers and the offsets of groups.

use tidemill::model::TopicId;
use tidemill::record::builder::BatchOptions;
use tidemill::wire::ApiKey;
use tidemill::wire::data::fetch::FetchRequest;
use tidemill::wire::data::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use tidemill::wire::group::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use tidemill::wire::group::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use tidemill::wire::txn::describe_producers::{DescribeProducersRequest, DescribeProducersTopic};
use tidemill::wire::txn::write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest};

use super::super::case::{Case, Produce, UNKNOWN_ID, case, fetch, in_fetch, part, say};
use super::super::pair::Side;
use super::groups::{join, sync};
use super::produce::{base, build, named, to_one};
use super::transactions::{BEFORE, NEXT_EPOCH, OTHER_ID, OWN, ProducerOf, TOPIC, Topics, id, with_producer};

pub fn cases() -> Vec<Case> {
    let mut cases = records();
    cases.extend(readers());
    cases.extend(offsets());
    cases.extend(markers());
    cases
}

// ---- records ----------------------------------------------------------------------------------------------------

fn batch(producer: (i64, i16), sequence: i32, is_transactional: bool) -> Vec<u8> {
    let options = BatchOptions {
        is_transactional,
        producer_id: producer.0,
        producer_epoch: producer.1,
        base_sequence: sequence,
        ..Default::default()
    };
    build(options, &[(base(), None, "a"), (base() + 1, None, "b")])
}

impl Case {
    /// Produces two records in the producer's transaction.
    fn produces(
        self,
        at: impl Into<Option<i16>>,
        producer: ProducerOf,
        topic: &'static str,
        partition: i32,
        sequence: i32,
    ) -> Case {
        let name = self.name;
        self.and(ApiKey::Produce, at, move |side, v, at| {
            let batch = batch(producer(side), sequence, true);
            let topics = vec![(named(side, at, topic), vec![(partition, Some(&batch[..]))])];
            Produce { acks: -1, transactional_id: Some(&id(name, v)), topics }.frame(at)
        })
    }

    /// Produces two records of the same producer outside a transaction.
    fn produces_plainly(self, at: impl Into<Option<i16>>, producer: ProducerOf, partition: i32, sequence: i32) -> Case {
        self.and(ApiKey::Produce, at, move |side, _, at| {
            let batch = batch(producer(side), sequence, false);
            let topics = vec![(named(side, at, TOPIC), vec![(partition, Some(&batch[..]))])];
            Produce { acks: -1, transactional_id: None, topics }.frame(at)
        })
    }
}

fn records() -> Vec<Case> {
    let case = |name| with_producer(ApiKey::Produce, name);
    vec![
        // Statement 69.
        case("to partitions that were not added")
            .produces(None, OWN, TOPIC, 0, 0)
            .then_described()
            .produces(None, OWN, TOPIC, 0, 2)
            .ends(5, OWN, true)
            .settles(),
        case("to partitions that were added")
            .adds(3, OWN, &[(TOPIC, &[0])])
            .produces(None, OWN, TOPIC, 0, 0)
            .produces(None, OWN, TOPIC, 0, 2)
            // A repeat, and a gap.
            .produces(None, OWN, TOPIC, 0, 0)
            .produces(None, OWN, TOPIC, 0, 9)
            .produces(None, OWN, TOPIC, 1, 0)
            .produces(None, OWN, TOPIC, 9, 0)
            .then_described()
            .ends(4, OWN, true)
            .settles(),
        // Statement 58.
        case("not from 0")
            .adds(3, OWN, &[(TOPIC, &[0])])
            .produces(None, OWN, TOPIC, 0, 7)
            .ends(4, OWN, false)
            .settles(),
        case("by others")
            .adds(3, OWN, &[(TOPIC, &[0])])
            .produces(None, NEXT_EPOCH, TOPIC, 0, 0)
            .produces(None, OTHER_ID, TOPIC, 0, 0)
            .produces(None, OWN, TOPIC, 0, 0)
            .produces(None, NEXT_EPOCH, TOPIC, 0, 2)
            .inits(5, |_| (-1, -1))
            .settles()
            .inits(5, |_| (-1, -1))
            // Statement 61.
            .produces(None, BEFORE, TOPIC, 0, 2)
            .produces(None, BEFORE, TOPIC, 1, 0)
            .then_described(),
        // Statement 70.
        case("outside within")
            .adds(3, OWN, &[(TOPIC, &[0])])
            .produces(None, OWN, TOPIC, 0, 0)
            .produces_plainly(None, OWN, 0, 2)
            .produces_plainly(None, OWN, 1, 0)
            .ends(4, OWN, false)
            .settles()
            .produces_plainly(None, OWN, 0, 2),
        case("when it has ended")
            .adds(3, OWN, &[(TOPIC, &[0])])
            .produces(None, OWN, TOPIC, 0, 0)
            .ends(4, OWN, true)
            .settles()
            .produces(None, OWN, TOPIC, 0, 2)
            .then_described()
            .ends(5, OWN, false)
            .settles(),
        case("when it has ended as today")
            .adds(3, OWN, &[(TOPIC, &[0])])
            .produces(None, OWN, TOPIC, 0, 0)
            .ends(5, OWN, true)
            .settles()
            .produces(None, BEFORE, TOPIC, 0, 2)
            .adds(3, OWN, &[(TOPIC, &[0])])
            .produces(None, OWN, TOPIC, 0, 5)
            // Statement 62.
            .produces(None, OWN, TOPIC, 0, 0)
            .ends(5, OWN, false)
            .settles(),
        case("without its id")
            .adds(3, OWN, &[(TOPIC, &[0])])
            .then(|side, v| to_one(side, v, TOPIC, &batch(OWN(side), 0, true))),
        case("with another's id").adds(3, OWN, &[(TOPIC, &[0])]).then(|side, v| {
            let batch = batch(OWN(side), 0, true);
            let topics = vec![(named(side, v, TOPIC), vec![(0, Some(&batch[..]))])];
            Produce { acks: -1, transactional_id: Some("nobody's"), topics }.frame(v)
        }),
    ]
}

// ---- readers ----------------------------------------------------------------------------------------------------

/// Reads the topic up to the last stable offset, or all of it.
fn reads(names: [&'static str; 4]) -> Vec<Case> {
    let read = |name, isolation_level| {
        let from = move |offset| {
            move |side: &Side, v: i16| {
                let partitions = vec![part(in_fetch(side, v, "committed"), 0, offset)];
                fetch(&FetchRequest { isolation_level, max_wait_ms: 0, partitions, ..Default::default() }, v)
            }
        };
        case(ApiKey::Fetch, name, from(0)).then(from(1)).then(from(2)).then(from(4)).then(from(7))
    };
    let offsets = |name, isolation_level| {
        case(ApiKey::ListOffsets, name, move |_, v| {
            let special = |timestamp: i64, since| (v >= since).then_some(timestamp);
            let timestamps = [
                special(-1, 1),
                special(-2, 1),
                special(-3, 7),
                special(-4, 8),
                special(-5, 9),
                special(base() + 1, 1),
            ];
            // Kafka answers only one of several entries for a partition.
            let timestamp = timestamps.iter().flatten().copied();
            let topics = timestamp.map(|timestamp| ListOffsetsTopic {
                name: "committed".into(),
                partitions: vec![ListOffsetsPartition { partition_index: 0, current_leader_epoch: -1, timestamp }],
            });
            let isolation_level = if v >= 2 { isolation_level } else { 0 };
            say(&ListOffsetsRequest { replica_id: -1, isolation_level, topics: topics.collect(), timeout_ms: 1000 }, v)
        })
    };
    vec![
        read(names[0], 1),
        read(names[1], 0),
        offsets(names[2], 1),
        offsets(names[3], 0),
        producers("of it now", "committed"),
    ]
}

fn producers(name: &'static str, topic: &'static str) -> Case {
    case(ApiKey::DescribeProducers, name, move |_, v| {
        let topics = vec![DescribeProducersTopic { name: topic.into(), partition_indexes: vec![0] }];
        say(&DescribeProducersRequest { topics }, v)
    })
}

fn readers() -> Vec<Case> {
    let today = |name| with_producer(ApiKey::Produce, name).since(12).until(12);
    // Under the same name and version, the same producer.
    let by = |name| Case::new(ApiKey::EndTxn, name).since(12).until(12);
    let mut cases = vec![
        case(ApiKey::DescribeProducers, "of what is not there", |_, v| {
            let topic = |name: &str, indexes: &[i32]| DescribeProducersTopic {
                name: name.into(),
                partition_indexes: indexes.into(),
            };
            let topics =
                vec![topic("nope", &[0, 1]), topic("committed", &[0, 9, -1]), topic("..", &[0]), topic("", &[])];
            say(&DescribeProducersRequest { topics }, v)
        }),
        case(ApiKey::DescribeProducers, "of nothing", |_, v| say(&DescribeProducersRequest::default(), v)),
        // Offsets 0 and 1, and 2 outside the transaction.
        today("the first one").produces(12, OWN, "committed", 0, 0),
        case(ApiKey::Produce, "by nobody", |side, v| {
            to_one(side, v, "committed", &build(BatchOptions::default(), &[(base() + 2, None, "c")]))
        })
        .since(12)
        .until(12),
    ];
    cases.extend(reads(["the first is open", "the first is open, all", "while the first is open", "while it is, all"]));
    // A marker at 3.
    cases.push(by("the first one").ends(5, OWN, false).settles());
    cases.extend(reads(["the first is aborted", "it is aborted, all", "when the first is aborted", "when it is, all"]));
    cases.extend([
        // 4 and 5; 6 and 7; and their markers.
        today("the second one").produces(12, OWN, "committed", 0, 0),
        today("the third one").produces(12, OWN, "committed", 0, 0).ends(5, OWN, false).settles(),
    ]);
    cases.extend(reads(["two are mixed", "two are mixed, all", "while two are mixed", "while they are, all"]));
    cases.push(by("the second one").ends(5, |side| side.producer(2), true).settles());
    cases.extend(reads(["all have ended", "all have ended, all", "when all have ended", "when they have, all"]));
    cases
}

// ---- offsets ----------------------------------------------------------------------------------------------------

/// Generation, member and instance.
type Member = (i32, &'static str, Option<&'static str>);
const NO_MEMBER: Member = (-1, "", None);

struct Commit {
    group: &'static str,
    member: Member,
    /// Topic, partition and metadata.
    partitions: &'static [(&'static str, i32, Option<&'static str>)],
}

/// The topic's id at the versions that name topics by id.
fn id_of(side: &Side, name: &str, at: i16) -> TopicId {
    match name {
        _ if at < 6 => TopicId::ZERO,
        "nope" => UNKNOWN_ID,
        name => side.id(name),
    }
}

fn commit(side: &Side, transactional_id: &str, producer: ProducerOf, commit: &Commit, offset: i64, at: i16) -> Vec<u8> {
    let topics = commit.partitions.chunk_by(|a, b| a.0 == b.0).map(|of_topic| TxnOffsetCommitRequestTopic {
        name: of_topic[0].0.into(),
        topic_id: id_of(side, of_topic[0].0, at),
        partitions: of_topic
            .iter()
            .map(|(_, partition_index, metadata)| TxnOffsetCommitRequestPartition {
                partition_index: *partition_index,
                committed_offset: offset,
                committed_leader_epoch: 4,
                committed_metadata: metadata.map(str::to_owned),
            })
            .collect(),
    });
    let (producer_id, producer_epoch) = producer(side);
    let (generation_id_or_member_epoch, member_id, instance) = if at >= 3 { commit.member } else { NO_MEMBER };
    let request = TxnOffsetCommitRequest {
        transactional_id: transactional_id.into(),
        group_id: commit.group.into(),
        producer_id,
        producer_epoch,
        generation_id_or_member_epoch,
        member_id: member_id.into(),
        group_instance_id: instance.map(str::to_owned),
        topics: topics.collect(),
    };
    say(&request, at)
}

impl Case {
    fn commits(self, producer: ProducerOf, what: Commit) -> Case {
        let name = self.name;
        self.and(ApiKey::TxnOffsetCommit, None, move |side, v, at| {
            commit(side, &id(name, v), producer, &what, 100 + i64::from(v), at)
        })
    }

    /// Fetches the group's committed offsets, and again with require_stable.
    fn fetches(mut self, group: &'static str) -> Case {
        for require_stable in [false, true] {
            self = self.and(ApiKey::OffsetFetch, 9, move |_, _, at| {
                let topic = |name: &str| OffsetFetchRequestTopics {
                    name: name.into(),
                    partition_indexes: vec![0, 1],
                    ..Default::default()
                };
                let group = OffsetFetchRequestGroup {
                    group_id: group.into(),
                    topics: Some(vec![topic(TOPIC), topic("plain")]),
                    ..Default::default()
                };
                say(&OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() }, at)
            });
        }
        self
    }
}

fn offsets() -> Vec<Case> {
    const BOTH: &[(&str, i32, Option<&str>)] =
        &[(TOPIC, 0, Some("metadata")), (TOPIC, 1, None), ("plain", 1, Some(""))];
    let case = |name| with_producer(ApiKey::TxnOffsetCommit, name);
    let of = |group, partitions| Commit { group, member: NO_MEMBER, partitions };
    let long: &'static str = "m".repeat(4097).leak();
    let too_long: &'static [(&str, i32, Option<&str>)] =
        vec![(TOPIC, 0, Some(long)), (TOPIC, 1, Some(&long[1..]))].leak();
    let mut cases = vec![
        Case::new(ApiKey::TxnOffsetCommit, "nobody knows this id")
            .commits(|_| (5_000_000, 0), of("in-transactions", BOTH)),
        case("offsets that were not added")
            .commits(OWN, of("in-transactions", BOTH))
            .then_described()
            .ends(5, OWN, false)
            .settles()
            .fetches("in-transactions"),
        case("offsets that cannot be")
            .adds_offsets(4, OWN, "impossible")
            .commits(OWN, of("impossible", &[("nope", 0, None), (TOPIC, 9, None), (TOPIC, 1, None), (TOPIC, -1, None)]))
            .commits(OWN, of("impossible", &[("nope", 0, None)]))
            .commits(OWN, of("impossible", &[]))
            .commits(OWN, of("impossible", too_long))
            .commits(OWN, of("", BOTH))
            .fetches("impossible")
            .ends(4, OWN, true)
            .settles()
            .fetches("impossible"),
        case("others' offsets")
            .adds_offsets(4, OWN, "in-transactions")
            .commits(NEXT_EPOCH, of("in-transactions", BOTH))
            .commits(OTHER_ID, of("in-transactions", BOTH))
            .commits(OWN, of("in-transactions", BOTH))
            .commits(NEXT_EPOCH, of("in-transactions", BOTH))
            .commits(|side| (side.producer(0).0, side.producer(0).1 - 1), of("in-transactions", BOTH))
            .ends(4, OWN, false)
            .settles(),
        // Statement 80.
        case("a stranger's offsets")
            .since(3)
            .adds_offsets(4, OWN, "strange")
            .commits(OWN, Commit { group: "strange", member: (3, "stranger", None), partitions: BOTH })
            .commits(OWN, Commit { group: "strange", member: (3, "", None), partitions: BOTH })
            .commits(OWN, Commit { group: "strange", member: (-1, "stranger", None), partitions: BOTH })
            .commits(OWN, Commit { group: "strange", member: (-1, "stranger", Some("i")), partitions: BOTH })
            .ends(4, OWN, true)
            .settles()
            .commits(OWN, Commit { group: "strange", member: (3, "stranger", None), partitions: BOTH })
            .ends(5, OWN, true)
            .settles()
            .fetches("strange"),
        member(),
    ];
    // Statement 79.
    for (name, committed, at) in [
        ("offsets of a commit", true, 4),
        ("offsets of an abort", false, 4),
        ("offsets of a commit of today", true, 5),
        ("offsets of an abort of today", false, 5),
    ] {
        cases.push(
            case(name)
                .adds_offsets(4, OWN, "in-transactions")
                .commits(OWN, of("in-transactions", BOTH))
                .fetches("in-transactions")
                .ends(at, OWN, committed)
                .settles()
                .fetches("in-transactions"),
        );
    }
    cases
}

/// A static member that commits its offsets in its transaction.
fn member() -> Case {
    const NAME: &str = "a member's offsets";
    const GROUP: &str = "read-in-transactions";
    let commits = |generation_id_or_member_epoch, member: Option<&'static str>, instance: Option<&'static str>| {
        move |side: &Side, v: i16| {
            let request = TxnOffsetCommitRequest {
                transactional_id: id(NAME, v),
                group_id: GROUP.into(),
                producer_id: side.producer(0).0,
                producer_epoch: side.producer(0).1,
                generation_id_or_member_epoch,
                member_id: member.map_or_else(|| side.member_id(), str::to_owned),
                group_instance_id: instance.map(str::to_owned),
                topics: vec![TxnOffsetCommitRequestTopic {
                    name: TOPIC.into(),
                    topic_id: id_of(side, TOPIC, v),
                    partitions: vec![TxnOffsetCommitRequestPartition {
                        partition_index: 0,
                        committed_offset: 7,
                        ..Default::default()
                    }],
                }],
            };
            say(&request, v)
        }
    };
    with_producer(ApiKey::TxnOffsetCommit, NAME)
        .since(5)
        .and(ApiKey::JoinGroup, 9, |_, _, at| say(&join(GROUP.into(), "", Some("i"), at), at))
        .then(commits(1, None, Some("i")))
        .and(ApiKey::SyncGroup, 5, |side, _, at| say(&sync(GROUP.into(), 1, &side.member_id(), Some("i"), at), at))
        .then(commits(1, None, Some("i")))
        .then(commits(1, None, None))
        .then(commits(2, None, Some("i")))
        .then(commits(1, Some("stranger"), None))
        .then(commits(1, Some("stranger"), Some("i")))
        .then(commits(1, None, Some("j")))
        .then(commits(-1, Some(""), None))
        .ends(5, OWN, true)
        .settles()
        .fetches(GROUP)
}

// ---- markers ----------------------------------------------------------------------------------------------------

#[derive(Clone, Copy)]
struct Mark {
    /// The producer's id is this one and the version.
    producer: i64,
    epoch: i16,
    committed: bool,
    coordinator_epoch: i32,
    transaction_version: i8,
    topics: Topics,
}

const MARK: Mark = Mark {
    producer: 0,
    epoch: 0,
    committed: false,
    coordinator_epoch: 0,
    transaction_version: 0,
    topics: &[("marked", &[0])],
};

fn mark(marks: &[Mark], v: i16) -> Vec<u8> {
    let marker = |mark: &Mark| WritableTxnMarker {
        producer_id: if mark.producer < 0 { mark.producer } else { mark.producer + i64::from(v) },
        producer_epoch: mark.epoch,
        transaction_result: mark.committed,
        topics: mark
            .topics
            .iter()
            .map(|(name, indexes)| WritableTxnMarkerTopic { name: (*name).into(), partition_indexes: indexes.to_vec() })
            .collect(),
        coordinator_epoch: mark.coordinator_epoch,
        transaction_version: if v >= 2 { mark.transaction_version } else { 0 },
    };
    say(&WriteTxnMarkersRequest { markers: marks.iter().map(marker).collect() }, v)
}

fn marks(name: &'static str, steps: Vec<Vec<Mark>>) -> Case {
    steps
        .into_iter()
        .fold(Case::new(ApiKey::WriteTxnMarkers, name), |case, marks| case.then(move |_, v| mark(&marks, v)))
        .and(ApiKey::DescribeProducers, 0, |_, _, at| {
            let topics = vec![DescribeProducersTopic { name: "marked".into(), partition_indexes: vec![0, 1, 2] }];
            say(&DescribeProducersRequest { topics }, at)
        })
}

fn markers() -> Vec<Case> {
    let of = |producer| Mark { producer, ..MARK };
    vec![
        marks("of a producer that nobody knows", vec![vec![of(7_000_000)]]),
        // Statements 73 and 74.
        marks(
            "earlier and later ones",
            vec![
                vec![Mark { epoch: 3, coordinator_epoch: 5, ..of(7_100_000) }],
                vec![Mark { epoch: 3, coordinator_epoch: 5, committed: true, ..of(7_100_000) }],
                vec![Mark { epoch: 2, coordinator_epoch: 5, ..of(7_100_000) }],
                vec![Mark { epoch: 3, coordinator_epoch: 4, ..of(7_100_000) }],
                vec![Mark { epoch: 4, coordinator_epoch: 4, ..of(7_100_000) }],
                vec![Mark { epoch: 4, coordinator_epoch: 6, ..of(7_100_000) }],
            ],
        ),
        marks(
            "versions of transactions",
            vec![
                vec![Mark { epoch: 3, transaction_version: 2, ..of(7_200_000) }],
                vec![Mark { epoch: 3, transaction_version: 2, ..of(7_200_000) }],
                vec![Mark { epoch: 4, transaction_version: 2, ..of(7_200_000) }],
                vec![Mark { epoch: 4, transaction_version: 1, ..of(7_200_000) }],
                vec![Mark { epoch: 3, transaction_version: 1, ..of(7_200_000) }],
                vec![Mark { epoch: 4, transaction_version: 3, ..of(7_200_000) }],
            ],
        ),
        marks(
            "where nothing is",
            vec![
                vec![Mark { topics: &[("nope", &[0, 1]), ("marked", &[1, 9, -1])], ..of(7_300_000) }],
                vec![Mark { topics: &[("marked", &[])], ..of(7_300_000) }],
                vec![Mark { topics: &[], ..of(7_300_000) }],
            ],
        ),
        marks(
            "several at once",
            vec![vec![
                Mark { topics: &[("marked", &[0, 1]), ("nope", &[0])], ..of(7_400_000) },
                Mark { committed: true, topics: &[("marked", &[1, 2])], ..of(7_500_000) },
            ]],
        ),
        marks("of a negative producer", vec![vec![of(-1)]]),
        marks("of a negative epoch", vec![vec![Mark { epoch: -1, ..of(7_600_000) }]]),
        marks("of a negative coordinator", vec![vec![Mark { coordinator_epoch: -1, ..of(7_700_000) }]]),
        case(ApiKey::WriteTxnMarkers, "no markers", |_, v| mark(&[], v)),
        // As `kafka-transactions.sh abort` sends it.
        with_producer(ApiKey::WriteTxnMarkers, "by hand")
            .produces(12, OWN, "marked", 0, 0)
            .then(|side, v| {
                let (producer_id, producer_epoch) = OWN(side);
                let topics = vec![WritableTxnMarkerTopic { name: "marked".into(), partition_indexes: vec![0] }];
                let marker = WritableTxnMarker { producer_id, producer_epoch, topics, ..Default::default() };
                say(&WriteTxnMarkersRequest { markers: vec![marker] }, v)
            })
            .and(ApiKey::DescribeProducers, 0, |_, _, at| {
                let topics = vec![DescribeProducersTopic { name: "marked".into(), partition_indexes: vec![0] }];
                say(&DescribeProducersRequest { topics }, at)
            })
            .produces(12, OWN, "marked", 0, 2)
            .ends(5, OWN, true)
            .settles(),
        case(ApiKey::Fetch, "what was marked", |side, v| {
            let topic = in_fetch(side, v, "marked");
            let partitions = (0..3).map(|partition| part(topic, partition, 0)).collect();
            fetch(&FetchRequest { isolation_level: 1, max_wait_ms: 0, partitions, ..Default::default() }, v)
        }),
    ]
}
