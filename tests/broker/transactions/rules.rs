//! The requests that a transactional producer may send in each state, and the errors of the others.

use std::time::Duration;

use crate::support::bench::{self, Shared};
use crate::support::talk::{Talk, batch_with, sequenced};
use crate::support::wait_for;
use crate::transactions::producer::{FORWARD, Producer, describe, find_coordinator, init_as};
use tidemill::model::ErrorCode;
use tidemill::record::builder::BatchOptions;
use tidemill::wire::txn::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use tidemill::wire::txn::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use tidemill::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use tidemill::wire::txn::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};

#[test]
fn s065_a_new_producer_fences_the_one_before_and_ends_its_transaction() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "fenced", 2, &[]);
    let mut old = Producer::new(&node, "s065");
    assert_eq!(old.epoch, 0);
    assert_eq!(old.append(&topic, 0, 0, &["dangling"]), 0);
    let mut talk = Talk::to(node.bootstrap());
    assert_eq!(init_as(&mut talk, "s065", (-1, -1), 4).error_code, ErrorCode::ConcurrentTransactions);
    let mut new = Producer::new(&node, "s065");
    assert!(new.epoch > old.epoch && new.producer_id == old.producer_id);
    // Statement 61: not PRODUCER_FENCED from Produce.
    assert_eq!(old.produce(12, &topic, 0, 1, &["late"]).code, ErrorCode::InvalidProducerEpoch);
    assert_eq!(old.produce(12, &topic, 1, 0, &["late"]).code, ErrorCode::InvalidProducerEpoch);
    assert_eq!(old.end_at(true, 4).error_code, ErrorCode::ProducerFenced);
    assert_eq!(old.end_at(true, 1).error_code, ErrorCode::InvalidProducerEpoch);
    assert_eq!(old.add("nothing", &[0]), [ErrorCode::UnknownTopicOrPartition]);
    assert_eq!(old.add(&topic.name, &[0]), [ErrorCode::ProducerFenced]);
    assert_eq!(old.add_at(&topic.name, &[0], 1), [ErrorCode::InvalidProducerEpoch]);
    assert_eq!(new.append(&topic, 1, 0, &["mine"]), 0);
    new.end(true);
}

#[test]
fn s066_a_timeout_above_the_maximum_is_refused_and_s064_an_empty_id_is_none() {
    let node = FORWARD.node();
    let mut talk = Talk::to(node.bootstrap());
    find_coordinator(&mut talk, "s066");
    for (id, transaction_timeout_ms, code) in [
        ("s066", 900_001, ErrorCode::InvalidTransactionTimeout),
        ("s066", 0, ErrorCode::InvalidTransactionTimeout),
        ("", 60_000, ErrorCode::InvalidRequest),
        ("s066", 900_000, ErrorCode::None),
    ] {
        let request = InitProducerIdRequest {
            transactional_id: Some(id.into()),
            transaction_timeout_ms,
            ..InitProducerIdRequest::default()
        };
        let answer: InitProducerIdResponse = talk.call(&request, 5);
        assert_eq!(answer.error_code, code, "{transaction_timeout_ms}");
    }
}

#[test]
fn s067_a_stale_epoch_is_fenced_by_the_name_that_the_version_knows() {
    let node = FORWARD.node();
    let producer = Producer::new(&node, "s067");
    let mut talk = Talk::to(node.bootstrap());
    let (id, epoch) = (producer.producer_id, producer.epoch);
    let raised = init_as(&mut talk, "s067", (id, epoch), 5);
    assert_eq!((raised.error_code, raised.producer_epoch), (ErrorCode::None, epoch + 1));
    let repeated = init_as(&mut talk, "s067", (id, epoch), 5);
    assert_eq!((repeated.error_code, repeated.producer_epoch), (ErrorCode::None, epoch + 1));
    init_as(&mut talk, "s067", (-1, -1), 5);
    for (version, code) in
        [(3, ErrorCode::InvalidProducerEpoch), (4, ErrorCode::ProducerFenced), (5, ErrorCode::ProducerFenced)]
    {
        assert_eq!(init_as(&mut talk, "s067", (id, epoch), version).error_code, code, "v{version}");
    }
    assert_eq!(init_as(&mut talk, "s067", (id, -1), 5).error_code, ErrorCode::InvalidRequest);
}

#[test]
fn s069_a_partition_that_was_not_added_is_refused_or_from_v12_on_added() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "unadded", 8, &[]);
    let mut producer = Producer::new(&node, "s069");
    for version in 3..=11 {
        for partition in 0..8 {
            let code = if version == 11 { ErrorCode::TransactionAbortable } else { ErrorCode::InvalidTxnState };
            assert_eq!(producer.produce(version, &topic, partition, 0, &["a"]).code, code, "v{version}");
        }
    }
    assert_eq!(producer.describe().transaction_state, "Empty");
    assert_eq!(producer.add(&topic.name, &[1]), [ErrorCode::None]);
    assert_eq!(producer.produce(11, &topic, 1, 0, &["a"]).code, ErrorCode::None);
    assert_eq!(producer.produce(10, &topic, 2, 0, &["a"]).code, ErrorCode::InvalidTxnState);
    for (version, partition) in [(12, 2), (13, 3), (13, 4), (12, 5)] {
        assert_eq!(producer.produce(version, &topic, partition, 0, &["a"]).code, ErrorCode::None, "v{version}");
    }
    let described = producer.describe();
    assert_eq!((&*described.transaction_state, &described.topics[0].partitions), ("Ongoing", &vec![1, 2, 3, 4, 5]));
    producer.end(true);
    let next = producer.produce(11, &topic, 1, 0, &["a"]);
    assert_eq!(next.code, ErrorCode::TransactionAbortable, "the transaction has ended");
}

#[test]
fn s069_a_producer_unknown_to_the_coordinator_writes_nothing() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "unknown", 1, &[]);
    let mut producer = Producer::new(&node, "s069-unknown");
    // A request without a transactional id.
    let batch = producer.batch(0, &["a"]);
    let mut talk = Talk::to(node.bootstrap());
    for version in [9, 12] {
        let answered = talk.produce(version, -1, &[(topic.by_name(), 0, &batch)]).remove(0);
        assert_eq!(answered.code, ErrorCode::TransactionalIdAuthorizationFailed);
    }
    // An id that was never initialised, and the id of another producer.
    talk.transactional_id = Some("s069-never".into());
    let answered = talk.produce(12, -1, &[(topic.by_name(), 0, &batch)]).remove(0);
    assert_eq!(answered.code, ErrorCode::InvalidProducerIdMapping);
    producer.producer_id += 1000;
    assert_eq!(producer.produce(12, &topic, 0, 0, &["a"]).code, ErrorCode::InvalidProducerIdMapping);
    producer.producer_id -= 1000;
    producer.epoch += 1;
    assert_eq!(producer.produce(12, &topic, 0, 0, &["a"]).code, ErrorCode::InvalidProducerEpoch);
    producer.epoch -= 1;
    // Statement 58: under version 2 an unknown producer starts at 0.
    assert_eq!(producer.produce(12, &topic, 0, 7, &["a"]).code, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(producer.append(&topic, 0, 0, &["a"]), 0, "nothing was written before");
}

#[test]
fn s069_a_request_is_of_one_producer() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "two-producers", 2, &[]);
    let mut producer = Producer::new(&node, "s069-two");
    let mine = producer.batch(0, &["a"]);
    let options = BatchOptions {
        is_transactional: true,
        producer_id: 9999,
        producer_epoch: 0,
        base_sequence: 0,
        ..Default::default()
    };
    let other = batch_with(options, &["b"]);
    // On the same shard or on different shards: the second transaction belongs to no producer.
    let answered = producer.talk.produce(12, -1, &[(topic.by_name(), 0, &mine), (topic.by_name(), 1, &other)]);
    assert_eq!(answered[1].code, ErrorCode::InvalidProducerIdMapping);
}

#[test]
fn s070_a_plain_batch_is_refused_while_its_producers_transaction_is_open() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "plain-inside", 2, &[]);
    let mut producer = Producer::new(&node, "s070");
    producer.append(&topic, 0, 0, &["a"]);
    let plain = sequenced(producer.producer_id, producer.epoch, 1, &["b"]);
    let mut talk = Talk::to(node.bootstrap());
    assert_eq!(talk.produce_one(&topic.name, 0, &plain).code, ErrorCode::InvalidTxnState);
    let elsewhere = sequenced(producer.producer_id, producer.epoch, 0, &["b"]);
    assert_eq!(talk.produce_one(&topic.name, 1, &elsewhere).code, ErrorCode::None, "it is of that partition alone");
    producer.end(false);
}

#[test]
fn s071_an_end_may_be_repeated_and_not_be_changed() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "ends", 1, &[]);
    for committed in [true, false] {
        let mut producer = Producer::new(&node, &format!("s071-{committed}"));
        assert_eq!(producer.end_at(committed, 4).error_code, ErrorCode::InvalidTxnState, "there is none");
        producer.add(&topic.name, &[0]);
        assert_eq!(producer.end_at(committed, 4).error_code, ErrorCode::None);
        producer.finished();
        assert_eq!(producer.end_at(committed, 4).error_code, ErrorCode::None);
        assert_eq!(producer.end_at(!committed, 4).error_code, ErrorCode::InvalidTxnState);
        // KIP-890: a retry gets the same response as the lost request.
        producer.append(&topic, 0, 0, &["a"]);
        let ended = producer.end_at(committed, 5);
        assert_eq!((ended.error_code, ended.producer_epoch), (ErrorCode::None, producer.epoch + 1));
        producer.finished();
        assert_eq!(producer.end_at(committed, 5), ended);
        assert_eq!(producer.end_at(!committed, 5).error_code, ErrorCode::InvalidTxnState);
        assert_eq!(producer.end_at(committed, 5).producer_id, producer.producer_id);
        let refused = producer.produce(12, &topic, 0, 1, &["late"]);
        assert_eq!(refused.code, ErrorCode::InvalidProducerEpoch);
        producer.id = "s071-never".into();
        assert_eq!(producer.end_at(committed, 5).error_code, ErrorCode::InvalidProducerIdMapping);
        producer.id = String::new();
        assert_eq!(producer.end_at(committed, 5).error_code, ErrorCode::InvalidRequest);
    }
}

#[test]
fn s078_a_transaction_older_than_its_timeout_is_aborted() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "timeout", 1, &[]);
    let mut producer = Producer::new(&node, "s078");
    let request = InitProducerIdRequest {
        transactional_id: Some("s078".into()),
        transaction_timeout_ms: 300,
        ..InitProducerIdRequest::default()
    };
    let answer: InitProducerIdResponse = producer.talk.call(&request, 5);
    producer.epoch = answer.producer_epoch;
    producer.append(&topic, 0, 0, &["a"]);
    wait_for("it is aborted", Duration::from_secs(20), || {
        (producer.describe().transaction_state == "CompleteAbort").then_some(())
    });
    assert_eq!(producer.produce(12, &topic, 0, 1, &["b"]).code, ErrorCode::InvalidProducerEpoch);
    assert_eq!(producer.end_at(true, 5).error_code, ErrorCode::InvalidTxnState, "as a retry of the wrong end");
    assert_eq!(producer.end_at(true, 4).error_code, ErrorCode::ProducerFenced);
}

#[test]
fn a_partition_that_does_not_exist_keeps_the_others_from_being_added() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "existing", 2, &[]);
    let mut producer = Producer::new(&node, "missing");
    let expected = [ErrorCode::OperationNotAttempted, ErrorCode::UnknownTopicOrPartition];
    assert_eq!(producer.add(&topic.name, &[0, 2]), expected);
    assert_eq!(producer.describe().transaction_state, "Empty");
    producer.id = String::new();
    assert_eq!(producer.add(&topic.name, &[0]), [ErrorCode::InvalidRequest]);
    producer.id = "missing-never".into();
    assert_eq!(producer.add(&topic.name, &[0]), [ErrorCode::InvalidProducerIdMapping]);
}

#[test]
fn a_topic_without_partitions_is_named_in_the_response_and_nothing_is_added() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "empty-list", 2, &[]);
    let mut producer = Producer::new(&node, "empty-list");
    for version in 0..=3 {
        assert_eq!(producer.add_at(&topic.name, &[], version), [], "v{version}");
    }
    let described = producer.describe();
    assert_eq!(described.transaction_state, "Ongoing", "as in Kafka, the transaction has begun");
    assert!(described.topics.is_empty());
    assert_eq!(producer.end_at(false, 4).error_code, ErrorCode::None);
    producer.finished();
}

#[test]
fn brokers_add_and_verify_for_several_transactions_at_once() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "batched", 2, &[]);
    let mut first = Producer::new(&node, "batched-1");
    let second = Producer::new(&node, "batched-2");
    let of = |producer: &Producer, verify_only, partitions: &[i32]| AddPartitionsToTxnTransaction {
        transactional_id: producer.id.clone(),
        producer_id: producer.producer_id,
        producer_epoch: producer.epoch,
        verify_only,
        topics: vec![AddPartitionsToTxnTopic { name: topic.name.clone(), partitions: partitions.into() }],
    };
    for version in [4, 5] {
        let transactions = vec![of(&first, false, &[0]), of(&second, true, &[1])];
        let request = AddPartitionsToTxnRequest { transactions, ..AddPartitionsToTxnRequest::default() };
        let answer: AddPartitionsToTxnResponse = first.talk.call(&request, version);
        let codes: Vec<_> = answer
            .results_by_transaction
            .iter()
            .map(|result| result.topic_results[0].results_by_partition[0].partition_error_code)
            .collect();
        assert_eq!(codes, [ErrorCode::None, ErrorCode::TransactionAbortable]);
    }
    let request = AddPartitionsToTxnRequest {
        transactions: vec![of(&first, true, &[0, 1])],
        ..AddPartitionsToTxnRequest::default()
    };
    let answer: AddPartitionsToTxnResponse = first.talk.call(&request, 5);
    let results = &answer.results_by_transaction[0].topic_results[0].results_by_partition;
    let codes: Vec<_> = results.iter().map(|result| result.partition_error_code).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::TransactionAbortable]);
}

#[test]
fn a_groups_offsets_are_added_by_their_partition() {
    let node = FORWARD.node();
    let mut producer = Producer::new(&node, "offsets");
    let add = |producer: &mut Producer, version: i16| {
        let request = AddOffsetsToTxnRequest {
            transactional_id: producer.id.clone(),
            producer_id: producer.producer_id,
            producer_epoch: producer.epoch,
            group_id: "a-group".into(),
        };
        let answer: AddOffsetsToTxnResponse = producer.talk.call(&request, version);
        answer.error_code
    };
    find_group_coordinator(&mut producer.talk);
    for version in 0..=4 {
        assert_eq!(add(&mut producer, version), ErrorCode::None);
    }
    assert_eq!(producer.describe().topics[0].topic, "__consumer_offsets");
    producer.epoch += 1;
    assert_eq!(add(&mut producer, 1), ErrorCode::InvalidProducerEpoch);
    assert_eq!(add(&mut producer, 2), ErrorCode::ProducerFenced);
    producer.epoch -= 1;
    assert_eq!(producer.end_at(true, 4).error_code, ErrorCode::None);
    producer.finished();
}

fn find_group_coordinator(talk: &mut Talk) {
    use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse, GROUP};
    let request = FindCoordinatorRequest {
        key_type: GROUP,
        coordinator_keys: vec!["a-group".into()],
        ..FindCoordinatorRequest::default()
    };
    wait_for("there is a coordinator", Duration::from_secs(20), || {
        let answer: FindCoordinatorResponse = talk.call(&request, 6);
        (answer.coordinators[0].error_code == ErrorCode::None).then_some(())
    });
}

#[test]
fn transactions_are_described_and_listed() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "described", 2, &[]);
    let mut open = Producer::new(&node, "listed-open");
    let idle = Producer::new(&node, "listed-idle");
    open.append(&topic, 1, 0, &["a"]);
    let described = open.describe();
    assert_eq!((described.error_code, &*described.transaction_state), (ErrorCode::None, "Ongoing"));
    assert_eq!((described.producer_id, described.producer_epoch), (open.producer_id, open.epoch));
    assert_eq!((described.transaction_timeout_ms, described.topics[0].partitions.len()), (60_000, 1));
    assert!((crate::support::talk::now_ms() - described.transaction_start_time_ms).abs() < 60_000);
    for (id, code) in [("listed-never", ErrorCode::TransactionalIdNotFound), ("", ErrorCode::InvalidRequest)] {
        assert_eq!(describe(&mut open.talk, id).error_code, code);
    }
    let list = |talk: &mut Talk, request: ListTransactionsRequest, version: i16| {
        let answer: ListTransactionsResponse = talk.call(&request, version);
        assert_eq!(answer.error_code, ErrorCode::None);
        let mut ids: Vec<_> = answer.transaction_states.into_iter().map(|listed| listed.transactional_id).collect();
        ids.retain(|id| id.starts_with("listed"));
        ids.sort();
        (ids, answer.unknown_state_filters)
    };
    let all = ListTransactionsRequest::default;
    for version in 0..=2 {
        assert_eq!(list(&mut open.talk, all(), version).0, ["listed-idle", "listed-open"]);
    }
    let states = |states: &[&str]| ListTransactionsRequest {
        state_filters: states.iter().map(|state| state.to_string()).collect(),
        ..all()
    };
    assert_eq!(list(&mut open.talk, states(&["Ongoing"]), 0).0, ["listed-open"]);
    let (ids, unknown) = list(&mut open.talk, states(&["Sleeping"]), 0);
    assert_eq!((ids.len(), unknown), (0, vec!["Sleeping".to_string()]));
    let of_producer = ListTransactionsRequest { producer_id_filters: vec![idle.producer_id], ..all() };
    assert_eq!(list(&mut open.talk, of_producer, 0).0, ["listed-idle"]);
    let longer = ListTransactionsRequest { duration_filter: 600_000, state_filters: vec!["Ongoing".into()], ..all() };
    assert!(list(&mut open.talk, longer, 1).0.is_empty());
    let pattern = |pattern: &str| ListTransactionsRequest { transactional_id_pattern: Some(pattern.into()), ..all() };
    assert_eq!(list(&mut open.talk, pattern("listed-o.*"), 2).0, ["listed-open"]);
    assert!(list(&mut open.talk, pattern("listed-o"), 2).0.is_empty(), "the whole id has to match");
    let refused: ListTransactionsResponse = open.talk.call(&pattern("("), 2);
    assert_eq!(refused.error_code, ErrorCode::InvalidRegularExpression);
}

#[test]
fn s103_another_core_is_another_broker_and_not_the_coordinator() {
    static DIRECT: Shared = Shared::new("transactions-direct", &["--shards", "2", "--set", "journal.bytes=134217728"]);
    let node = DIRECT.node();
    let topic = bench::topic(&node, "direct", 2, &[]);
    let mut talk = Talk::to(node.bootstrap());
    let found = find_coordinator(&mut talk, "direct").coordinators.remove(0);
    let addresses: Vec<String> = topic.leaders.clone();
    let (mut right, mut wrong) = (0, 0);
    for address in &addresses {
        let answer = init_as(&mut Talk::to(address), "direct", (-1, -1), 5);
        match address.ends_with(&format!(":{}", found.port)) {
            true => {
                assert_eq!(answer.error_code, ErrorCode::None);
                right += 1;
            }
            false => {
                assert_eq!(answer.error_code, ErrorCode::NotCoordinator);
                wrong += 1;
            }
        }
    }
    assert_eq!((right, wrong), (1, 1));
    // A producer that looks up each leader and the coordinator.
    let mut at_coordinator = Talk::to(&format!("{}:{}", found.host, found.port));
    let init = init_as(&mut at_coordinator, "direct", (-1, -1), 5);
    for (partition, address) in addresses.iter().enumerate() {
        let mut producer = Producer {
            talk: Talk::to(address),
            id: "direct".into(),
            producer_id: init.producer_id,
            epoch: init.producer_epoch,
        };
        producer.talk.transactional_id = Some("direct".into());
        assert_eq!(producer.append(&topic, partition as i32, 0, &["a"]), 0);
    }
    let mut producer = Producer {
        talk: at_coordinator,
        id: "direct".into(),
        producer_id: init.producer_id,
        epoch: init.producer_epoch,
    };
    producer.end(true);
}
