//! Offsets that become visible when their transaction commits.

use std::time::Duration;

use crate::support::bench;
use crate::support::talk::Talk;
use crate::support::wait_for;
use crate::transactions::producer::{FORWARD, Producer};
use tidemill::model::ErrorCode;
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse, GROUP};
use tidemill::wire::group::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use tidemill::wire::group::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
};

fn find_group(talk: &mut Talk, group: &str) {
    let request =
        FindCoordinatorRequest { key_type: GROUP, coordinator_keys: vec![group.into()], ..Default::default() };
    wait_for("there is a coordinator", Duration::from_secs(20), || {
        let answer: FindCoordinatorResponse = talk.call(&request, 6);
        (answer.coordinators[0].error_code == ErrorCode::None).then_some(())
    });
}

fn request(producer: &Producer, group: &str, topic: &str, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition {
        committed_offset: offset,
        committed_metadata: Some("m".into()),
        ..TxnOffsetCommitRequestPartition::default()
    };
    TxnOffsetCommitRequest {
        transactional_id: producer.id.clone(),
        group_id: group.into(),
        producer_id: producer.producer_id,
        producer_epoch: producer.epoch,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..TxnOffsetCommitRequest::default()
    }
}

fn commit(producer: &mut Producer, version: i16, request: &TxnOffsetCommitRequest) -> ErrorCode {
    wait_for("the transaction before is finished", Duration::from_secs(20), || {
        let answer: TxnOffsetCommitResponse = producer.talk.call(request, version);
        let code = answer.topics[0].partitions[0].error_code;
        let again = [ErrorCode::ConcurrentTransactions, ErrorCode::CoordinatorLoadInProgress];
        (!again.contains(&code)).then_some(code)
    })
}

/// The committed offset, or the error in its place.
fn committed(talk: &mut Talk, group: &str, topic: &str, require_stable: bool) -> Result<i64, ErrorCode> {
    let topics =
        vec![OffsetFetchRequestTopics { name: topic.into(), partition_indexes: vec![0], ..Default::default() }];
    let asked = OffsetFetchRequestGroup { group_id: group.into(), topics: Some(topics), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![asked], require_stable, ..Default::default() };
    let answer: OffsetFetchResponse = talk.call(&request, 8);
    let answered = &answer.groups[0].topics[0].partitions[0];
    if answered.error_code.is_error() { Err(answered.error_code) } else { Ok(answered.committed_offset) }
}

#[test]
fn s079_offsets_of_a_transaction_are_unstable_until_it_ends() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "consumed", 1, &[]);
    let mut producer = Producer::new(&node, "s079");
    let group = "s079-group";
    let mut talk = Talk::to(node.bootstrap());
    find_group(&mut talk, group);
    let mut before = -1;
    for (round, is_committed) in [(1, true), (2, false), (3, true)] {
        let request = request(&producer, group, &topic.name, round * 10);
        // Below version 5 the partition must be added first.
        assert_eq!(commit(&mut producer, 3, &request), ErrorCode::InvalidTxnState);
        assert_eq!(commit(&mut producer, 4, &request), ErrorCode::TransactionAbortable);
        assert_eq!(commit(&mut producer, 5, &request), ErrorCode::None, "round {round}");
        assert_eq!(commit(&mut producer, 3, &request), ErrorCode::None, "it is in the transaction now");
        assert_eq!(producer.describe().topics[0].topic, "__consumer_offsets");
        assert_eq!(committed(&mut talk, group, &topic.name, false), Ok(before));
        assert_eq!(committed(&mut talk, group, &topic.name, true), Err(ErrorCode::UnstableOffsetCommit));
        producer.end(is_committed);
        before = if is_committed { round * 10 } else { before };
        assert_eq!(committed(&mut talk, group, &topic.name, true), Ok(before), "round {round}");
    }
}

#[test]
fn s080_only_a_member_of_the_generation_commits_and_only_a_live_producer() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "fenced-offsets", 1, &[]);
    let mut producer = Producer::new(&node, "s080");
    let group = "s080-group";
    find_group(&mut producer.talk, group);
    let plain = request(&producer, group, &topic.name, 1);
    let of_generation =
        TxnOffsetCommitRequest { generation_id_or_member_epoch: 3, member_id: "nobody".into(), ..plain.clone() };
    assert_eq!(commit(&mut producer, 5, &of_generation), ErrorCode::IllegalGeneration, "there is no such group");
    assert_eq!(commit(&mut producer, 5, &plain), ErrorCode::None);
    assert_eq!(commit(&mut producer, 5, &of_generation), ErrorCode::UnknownMemberId);
    let unknown = request(&producer, group, "never", 1);
    assert_eq!(commit(&mut producer, 5, &unknown), ErrorCode::UnknownTopicOrPartition);
    let stale = TxnOffsetCommitRequest { producer_epoch: plain.producer_epoch + 1, ..plain.clone() };
    assert_eq!(commit(&mut producer, 5, &stale), ErrorCode::InvalidProducerEpoch);
    let other = TxnOffsetCommitRequest { transactional_id: "s080-never".into(), producer_id: 987_654, ..plain.clone() };
    assert_eq!(commit(&mut producer, 5, &other), ErrorCode::InvalidProducerIdMapping);
    producer.end(true);
    assert_eq!(commit(&mut producer, 5, &plain), ErrorCode::InvalidProducerEpoch, "its epoch was raised");
}
