//! Transactions: the coordinator's rules for producers.
//!
//! The broker chooses producer ids, so each step takes the id from the last response. The transactional id is the
//! case's name and the version, so that each case has its own. Transaction timeouts are only as long as the cases need.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, TRANSACTION};
use tidemill::wire::txn::add_offsets_to_txn::AddOffsetsToTxnRequest;
use tidemill::wire::txn::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use tidemill::wire::txn::describe_transactions::DescribeTransactionsRequest;
use tidemill::wire::txn::end_txn::EndTxnRequest;
use tidemill::wire::txn::init_producer_id::InitProducerIdRequest;
use tidemill::wire::txn::list_transactions::ListTransactionsRequest;

use super::super::case::{Case, case, say};
use super::super::pair::Side;

/// The producer id and epoch that a step sends.
pub type ProducerOf = fn(&Side) -> (i64, i16);

/// A producer without an id.
pub const NO_PRODUCER: ProducerOf = |_| (-1, -1);
/// The id and epoch of the last response.
pub const OWN: ProducerOf = |side| side.producer(0);
/// The id and epoch of the response before the last one.
pub const BEFORE: ProducerOf = |side| side.producer(1);
pub const NEXT_EPOCH: ProducerOf = |side| {
    let (id, epoch) = side.producer(0);
    (id, epoch + 1)
};
pub const OTHER_ID: ProducerOf = |side| {
    let (id, epoch) = side.producer(0);
    (id + 1_000_000, epoch)
};

/// The topic of these cases.
pub const TOPIC: &str = "transactional";

pub fn id(name: &str, version: i16) -> String {
    format!("{name} {version}")
}

/// A case whose first step initialises a producer.
pub fn with_producer(api: ApiKey, name: &'static str) -> Case {
    Case::new(api, name).and(ApiKey::InitProducerId, 5, init(name, NO_PRODUCER))
}

impl Case {
    /// At a version of its own, or at the case's.
    pub fn inits(self, at: impl Into<Option<i16>>, producer: ProducerOf) -> Case {
        let name = self.name;
        self.and(ApiKey::InitProducerId, at, init(name, producer))
    }

    pub fn adds(self, at: impl Into<Option<i16>>, producer: ProducerOf, topics: Topics) -> Case {
        let name = self.name;
        self.and(ApiKey::AddPartitionsToTxn, at, move |side, v, at| add(&id(name, v), producer(side), topics, at))
    }

    pub fn adds_offsets(self, at: impl Into<Option<i16>>, producer: ProducerOf, group: &'static str) -> Case {
        let name = self.name;
        self.and(ApiKey::AddOffsetsToTxn, at, move |side, v, at| add_offsets(&id(name, v), producer(side), group, at))
    }

    pub fn ends(self, at: impl Into<Option<i16>>, producer: ProducerOf, committed: bool) -> Case {
        let name = self.name;
        self.and(ApiKey::EndTxn, at, move |side, v, at| end(&id(name, v), producer(side), committed, at))
    }

    /// Waits until the transaction has ended, and describes it.
    pub fn settles(self) -> Case {
        let name = self.name;
        self.and(ApiKey::DescribeTransactions, 0, move |side, v, at| {
            side.settle(&id(name, v));
            describe(&[&id(name, v)], at)
        })
    }

    pub fn then_described(self) -> Case {
        let name = self.name;
        self.and(ApiKey::DescribeTransactions, 0, move |_, v, at| describe(&[&id(name, v)], at))
    }
}

pub type Topics = &'static [(&'static str, &'static [i32])];

fn init(name: &'static str, producer: ProducerOf) -> impl Fn(&Side, i16, i16) -> Vec<u8> + 'static {
    move |side, v, at| {
        let (producer_id, producer_epoch) = producer(side);
        let request = InitProducerIdRequest {
            transactional_id: Some(id(name, v)),
            transaction_timeout_ms: 600_000,
            producer_id: if at >= 3 { producer_id } else { -1 },
            producer_epoch: if at >= 3 { producer_epoch } else { -1 },
        };
        say(&request, at)
    }
}

fn topics(topics: &[(&str, &[i32])]) -> Vec<AddPartitionsToTxnTopic> {
    let topic = |(name, partitions): &(&str, &[i32])| AddPartitionsToTxnTopic {
        name: (*name).into(),
        partitions: partitions.to_vec(),
    };
    topics.iter().map(topic).collect()
}

fn add(transactional_id: &str, producer: (i64, i16), all: &[(&str, &[i32])], at: i16) -> Vec<u8> {
    match at {
        4.. => add_all(&[(transactional_id, producer, false, all)], at),
        _ => {
            let request = AddPartitionsToTxnRequest {
                transactional_id: transactional_id.into(),
                producer_id: producer.0,
                producer_epoch: producer.1,
                topics: topics(all),
                ..AddPartitionsToTxnRequest::default()
            };
            say(&request, at)
        }
    }
}

/// As brokers send it: several transactions in one request, or only their verification.
type Transaction<'a> = (&'a str, (i64, i16), bool, &'a [(&'a str, &'a [i32])]);

fn add_all(transactions: &[Transaction<'_>], at: i16) -> Vec<u8> {
    let transaction =
        |(transactional_id, producer, verify_only, all): &Transaction<'_>| AddPartitionsToTxnTransaction {
            transactional_id: (*transactional_id).into(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            verify_only: *verify_only,
            topics: topics(all),
        };
    let transactions = transactions.iter().map(transaction).collect();
    say(&AddPartitionsToTxnRequest { transactions, ..Default::default() }, at)
}

fn add_offsets(transactional_id: &str, producer: (i64, i16), group: &str, at: i16) -> Vec<u8> {
    let request = AddOffsetsToTxnRequest {
        transactional_id: transactional_id.into(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        group_id: group.into(),
    };
    say(&request, at)
}

fn end(transactional_id: &str, producer: (i64, i16), committed: bool, at: i16) -> Vec<u8> {
    let (producer_id, producer_epoch) = producer;
    let transactional_id = transactional_id.into();
    say(&EndTxnRequest { transactional_id, producer_id, producer_epoch, committed }, at)
}

fn describe(ids: &[&str], at: i16) -> Vec<u8> {
    say(&DescribeTransactionsRequest { transactional_ids: ids.iter().map(|id| (*id).into()).collect() }, at)
}

pub fn cases() -> Vec<Case> {
    let mut cases = producers();
    cases.extend(additions());
    cases.extend(ends());
    cases.extend(descriptions());
    cases
}

fn timeout(name: &'static str, transaction_timeout_ms: i32) -> Case {
    case(ApiKey::InitProducerId, name, move |_, v| {
        let transactional_id = Some(id("timeouts", v));
        let request =
            InitProducerIdRequest { transactional_id, transaction_timeout_ms, producer_id: -1, producer_epoch: -1 };
        say(&request, v)
    })
    .and(ApiKey::DescribeTransactions, 0, |_, v, at| describe(&[&id("timeouts", v)], at))
}

fn producers() -> Vec<Case> {
    let init = |name| Case::new(ApiKey::InitProducerId, name);
    vec![
        case(ApiKey::FindCoordinator, "of transactions", |_, v| {
            let key = FindCoordinatorRequest { key_type: TRANSACTION, ..Default::default() };
            match v {
                4.. => say(&FindCoordinatorRequest { coordinator_keys: vec!["t".into()], ..key }, v),
                _ => say(&FindCoordinatorRequest { key: "t".into(), ..key }, v),
            }
        })
        .since(1),
        init("a producer comes again and again")
            .inits(None, NO_PRODUCER)
            .inits(None, NO_PRODUCER)
            .inits(None, NO_PRODUCER),
        timeout("the longest timeout", 900_000),
        timeout("too long a timeout", 900_001),
        timeout("the longest timeout there is", i32::MAX),
        timeout("no timeout", 0),
        timeout("a negative timeout with a transactional id", -1),
        timeout("another timeout", 1),
        init("a producer raises its epoch")
            .since(3)
            .inits(None, NO_PRODUCER)
            .inits(None, OWN)
            .inits(None, OWN)
            // A retry: the response was lost.
            .inits(None, BEFORE)
            .inits(None, NO_PRODUCER)
            .inits(None, BEFORE)
            .inits(None, NEXT_EPOCH)
            .inits(None, OTHER_ID)
            .inits(None, |side| (side.producer(0).0, -1))
            .inits(None, |side| (-1, side.producer(0).1))
            .inits(None, |side| (side.producer(0).0, -5))
            .inits(None, OWN)
            .then_described(),
        init("a producer that nobody knows raises its epoch").since(3).inits(None, |_| (4_000_000, 3)).then_described(),
        // Statement 65.
        with_producer(ApiKey::InitProducerId, "a producer is interrupted")
            .adds(3, OWN, &[(TOPIC, &[0])])
            .inits(None, NO_PRODUCER)
            .settles()
            .inits(None, NO_PRODUCER)
            .then_described()
            // The interrupted transaction.
            .adds(3, BEFORE, &[(TOPIC, &[0])])
            .ends(4, BEFORE, true)
            .ends(5, BEFORE, true)
            .then_described(),
        with_producer(ApiKey::InitProducerId, "a producer interrupts itself")
            .since(3)
            .adds(3, OWN, &[(TOPIC, &[0])])
            .inits(None, OTHER_ID)
            .inits(None, NEXT_EPOCH)
            .settles()
            .inits(None, OWN)
            .then_described()
            .adds(3, OWN, &[(TOPIC, &[0])])
            .inits(None, OWN)
            .settles()
            .inits(None, OWN)
            .inits(None, NO_PRODUCER)
            .then_described(),
    ]
}

fn additions() -> Vec<Case> {
    use ApiKey::{AddOffsetsToTxn, AddPartitionsToTxn};
    let partitions = |name| with_producer(AddPartitionsToTxn, name);
    vec![
        case(AddPartitionsToTxn, "of an id that nobody knows", |_, v| add("nobody's", (5, 0), &[(TOPIC, &[0, 1])], v)),
        case(AddPartitionsToTxn, "of no id", |_, v| add("", (5, 0), &[(TOPIC, &[0, 1])], v)),
        case(AddPartitionsToTxn, "of no id, and not there", |_, v| add("", (5, 0), &[(TOPIC, &[0, 99])], v)),
        case(AddPartitionsToTxn, "nothing of nobody", |_, v| add("nobody's", (5, 0), &[], v)),
        partitions("partitions are added")
            .adds(None, OWN, &[(TOPIC, &[0, 1])])
            .adds(None, OWN, &[(TOPIC, &[1, 2]), ("plain", &[0])])
            .adds(None, OWN, &[(TOPIC, &[1, 2]), ("plain", &[0])])
            .then_described()
            .ends(4, OWN, true)
            .settles(),
        partitions("nothing is added").adds(None, OWN, &[]).adds(None, OWN, &[(TOPIC, &[])]).then_described(),
        partitions("partitions that are not there are added")
            .adds(None, OWN, &[(TOPIC, &[0, 99])])
            .adds(None, OWN, &[(TOPIC, &[-1])])
            .adds(None, OWN, &[("nope", &[0, 1]), (TOPIC, &[0]), ("plain", &[0, 9])])
            .adds(None, OWN, &[("..", &[0])])
            .adds(None, OWN, &[("", &[0])])
            .then_described(),
        partitions("a partition is added twice")
            .adds(None, OWN, &[(TOPIC, &[0, 0])])
            .then_described()
            .ends(4, OWN, true)
            .settles(),
        partitions("internal ones are added")
            .adds(None, OWN, &[("__consumer_offsets", &[0])])
            .then_described()
            .ends(4, OWN, false)
            .settles(),
        partitions("others add partitions")
            .adds(None, NEXT_EPOCH, &[(TOPIC, &[0])])
            .adds(None, OTHER_ID, &[(TOPIC, &[0])])
            .adds(None, NO_PRODUCER, &[(TOPIC, &[0])])
            .inits(5, NO_PRODUCER)
            .adds(None, BEFORE, &[(TOPIC, &[0])])
            .then_described(),
        partitions("brokers ask after partitions")
            .since(4)
            .then(|side, v| {
                let name = id("brokers ask after partitions", v);
                add_all(&[(&name, side.producer(0), true, &[(TOPIC, &[0])])], v)
            })
            .adds(3, OWN, &[(TOPIC, &[0])])
            .then(|side, v| {
                let name = id("brokers ask after partitions", v);
                let producer = side.producer(0);
                let all = [
                    (&*name, producer, true, &[(TOPIC, &[0, 1][..]), ("plain", &[0])][..]),
                    ("nobody's", producer, true, &[(TOPIC, &[0])]),
                ];
                add_all(&all, v)
            })
            .then(|side, v| {
                let name = id("brokers ask after partitions", v);
                add_all(&[(&name, NEXT_EPOCH(side), true, &[(TOPIC, &[0])])], v)
            })
            .then(|side, v| {
                let name = id("brokers ask after partitions", v);
                add_all(&[(&name, OTHER_ID(side), true, &[(TOPIC, &[0])])], v)
            })
            .then(|side, v| {
                let name = id("brokers ask after partitions", v);
                add_all(&[(&name, side.producer(0), true, &[(TOPIC, &[0, 99]), ("nope", &[0])])], v)
            })
            // No case sends an empty list: Kafka never answers it.
            .ends(4, OWN, true)
            .settles(),
        case(AddOffsetsToTxn, "of an id that nobody knows", |_, v| add_offsets("nobody's", (5, 0), "g", v)),
        case(AddOffsetsToTxn, "of no id", |_, v| add_offsets("", (5, 0), "g", v)),
        with_producer(AddOffsetsToTxn, "offsets are added")
            .adds_offsets(None, OWN, "in-transactions")
            .adds_offsets(None, OWN, "in-transactions")
            .adds_offsets(None, NEXT_EPOCH, "in-transactions")
            .adds_offsets(None, OTHER_ID, "in-transactions")
            .adds_offsets(None, OWN, "")
            .then_described()
            .ends(4, OWN, true)
            .settles(),
    ]
}

fn ends() -> Vec<Case> {
    let ends = |name| with_producer(ApiKey::EndTxn, name);
    let mut cases = vec![
        case(ApiKey::EndTxn, "of an id that nobody knows", |_, v| end("nobody's", (5, 0), true, v)),
        case(ApiKey::EndTxn, "of no id", |_, v| end("", (5, 0), true, v)),
        ends("nothing is committed").ends(None, OWN, true).then_described(),
        ends("nothing is aborted").ends(None, OWN, false).settles().ends(None, OWN, false).settles(),
        ends("others end it")
            .adds(3, OWN, &[(TOPIC, &[0])])
            .ends(None, NEXT_EPOCH, true)
            .ends(None, OTHER_ID, true)
            .ends(None, NO_PRODUCER, true)
            .ends(None, |side| (side.producer(0).0, -1), true)
            .then_described()
            .ends(4, OWN, false)
            .settles(),
    ];
    // Statement 71.
    for (name, committed) in [("a commit", true), ("an abort", false)] {
        cases.push(
            ends(name)
                .adds(3, OWN, &[(TOPIC, &[0, 1])])
                .ends(None, OWN, committed)
                .settles()
                // Up to version 4 the epoch stays, so this is a retry.
                .until(4)
                .ends(None, OWN, committed)
                .ends(None, OWN, !committed)
                .ends(5, OWN, committed)
                .settles(),
        );
        let name = if committed { "a commit of today" } else { "an abort of today" };
        cases.push(
            ends(name)
                .since(5)
                .adds(3, OWN, &[(TOPIC, &[0, 1])])
                .ends(None, OWN, committed)
                .settles()
                .ends(None, BEFORE, committed)
                .settles()
                .ends(None, BEFORE, !committed)
                .ends(None, OWN, committed)
                .settles()
                .ends(None, OWN, true)
                .ends(None, |side| (side.producer(0).0, side.producer(0).1 - 2), committed)
                .ends(4, OWN, committed)
                .then_described(),
        );
    }
    cases
}

fn list(name: &'static str, request: fn(&Side) -> ListTransactionsRequest) -> Case {
    case(ApiKey::ListTransactions, name, move |side, v| {
        let request = request(side);
        let duration_filter = if v >= 1 { request.duration_filter } else { -1 };
        let transactional_id_pattern = request.transactional_id_pattern.filter(|_| v >= 2);
        say(&ListTransactionsRequest { duration_filter, transactional_id_pattern, ..request }, v)
    })
}

fn descriptions() -> Vec<Case> {
    fn states(states: &[&str]) -> ListTransactionsRequest {
        ListTransactionsRequest { state_filters: states.iter().map(|state| (*state).into()).collect(), ..all() }
    }
    fn pattern(pattern: &str) -> ListTransactionsRequest {
        ListTransactionsRequest { transactional_id_pattern: Some(pattern.into()), ..all() }
    }
    fn all() -> ListTransactionsRequest {
        ListTransactionsRequest { duration_filter: -1, ..Default::default() }
    }
    vec![
        case(ApiKey::DescribeTransactions, "nobody's", |_, v| describe(&["nobody's", ""], v)),
        case(ApiKey::DescribeTransactions, "none", |_, v| describe(&[], v)),
        with_producer(ApiKey::DescribeTransactions, "an open one")
            .adds(3, OWN, &[(TOPIC, &[2, 0]), ("plain", &[1])])
            .then_described()
            .then(|_, v| describe(&["an open one 0", "an open one 0", "nobody's"], v)),
        list("all of them", |_| all()),
        list("open ones", |_| states(&["Ongoing"])),
        list("done ones", |_| states(&["CompleteCommit", "CompleteAbort"])),
        list("in no state there is", |_| states(&["ongoing", "Nonsense", "Empty"])),
        list("in states that are never seen", |_| states(&["Dead", "PrepareEpochFence"])),
        list("of a producer", |side| ListTransactionsRequest {
            producer_id_filters: vec![side.producer(0).0],
            ..all()
        }),
        list("of nobody", |_| ListTransactionsRequest { producer_id_filters: vec![4_000_000, -1], ..all() }),
        list("open for long", |_| ListTransactionsRequest { duration_filter: 500_000, ..states(&["Ongoing"]) })
            .since(1),
        list("open for any time", |_| ListTransactionsRequest { duration_filter: 0, ..states(&["Ongoing"]) }).since(1),
        list("of any state for long", |_| ListTransactionsRequest { duration_filter: 500_000, ..all() }).since(1),
        list("a pattern", |_| pattern("an open.*")).since(2),
        list("a part", |_| pattern("an open")).since(2),
        list("an empty pattern", |_| pattern("")).since(2),
        list("a bad pattern", |_| pattern("(")).since(2),
        Case::new(ApiKey::EndTxn, "an open one").since(0).until(0).ends(4, OWN, true).settles(),
    ]
}
