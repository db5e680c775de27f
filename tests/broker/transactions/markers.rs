//! Transaction markers: their bytes, the requests that write them, and the producer state after them.

use crate::support::bench::{self, Topic};
use crate::support::talk::{Talk, headers};
use crate::transactions::producer::{FORWARD, Producer};
use tidemill::model::{ErrorCode, Offset};
use tidemill::record::control::{Ending, Marker};
use tidemill::record::walk::batches;
use tidemill::wire::txn::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeProducersTopic, ProducerState,
};
use tidemill::wire::txn::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

#[test]
fn s072_a_marker_takes_one_offset_and_names_the_outcome() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "marker", 1, &[]);
    let stamped = bench::topic(&node, "stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let mut producer = Producer::new(&node, "marker");
    for (committed, at) in [(true, 0), (false, 2)] {
        assert_eq!(producer.append(&topic, 0, 0, &["a"]), at);
        assert_eq!(producer.append(&stamped, 0, 0, &["a"]), at);
        producer.end(committed);
        for (topic, attributes) in [(&topic, 0x30), (&stamped, 0x38)] {
            let records = topic.leader(0).fetch_one(topic.by_name(), 0, at + 1, 11).records;
            let batch = batches(&records).next().expect("the marker").expect("whole");
            let header = batch.header;
            assert_eq!(
                (header.base_offset, header.last_offset(), header.attributes),
                (Offset(at + 1), Offset(at + 1), attributes)
            );
            assert_eq!((header.producer_id, header.producer_epoch), (producer.producer_id, producer.epoch));
            assert!(batch.is_intact());
            let marker = Marker::parse(&header, batch.stored_records()).expect("a marker");
            assert_eq!(marker.ending, if committed { Ending::Commit } else { Ending::Abort });
            assert!(marker.coordinator_epoch >= 0);
        }
    }
}

fn end(talk: &mut Talk, version: i16, marker: WritableTxnMarker) -> Vec<ErrorCode> {
    let request = WriteTxnMarkersRequest { markers: vec![marker] };
    let answer: WriteTxnMarkersResponse = talk.call(&request, version);
    let partitions = answer.markers[0].topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

fn abort(
    topic: &Topic,
    partitions: &[i32],
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: i32,
) -> WritableTxnMarker {
    WritableTxnMarker {
        producer_id,
        producer_epoch,
        transaction_result: false,
        topics: vec![WritableTxnMarkerTopic { name: topic.name.clone(), partition_indexes: partitions.into() }],
        coordinator_epoch,
        transaction_version: 0,
    }
}

fn producers(talk: &mut Talk, topic: &str, partition: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    let topics = vec![DescribeProducersTopic { name: topic.into(), partition_indexes: vec![partition] }];
    let answer: DescribeProducersResponse = talk.call(&DescribeProducersRequest { topics }, 0);
    let partition = answer.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
    let partition = partition.expect("one was asked for");
    if partition.error_code.is_error() { Err(partition.error_code) } else { Ok(partition.active_producers) }
}

#[test]
fn s073_late_markers_and_s074_those_of_an_old_coordinator_are_refused() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "late", 2, &[]);
    let mut talk = Talk::to(node.bootstrap());
    let mut producer = Producer::new(&node, "late");
    let (id, epoch) = (producer.producer_id, producer.epoch);
    for partition in 0..2 {
        producer.append(&topic, partition, 0, &["a"]);
    }
    let marker = |epoch, coordinator_epoch| abort(&topic, &[0, 1], id, epoch, coordinator_epoch);
    let v2 = |marker: WritableTxnMarker| WritableTxnMarker { transaction_version: 2, ..marker };
    let (late, good) = ([ErrorCode::InvalidProducerEpoch; 2], [ErrorCode::None; 2]);
    assert_eq!(end(&mut talk, 2, v2(marker(epoch, 5))), late, "it has to be above, under version 2");
    assert_eq!(end(&mut talk, 2, v2(marker(epoch + 1, 5))), good);
    assert_eq!(end(&mut talk, 2, v2(marker(epoch + 1, 5))), good, "the same again");
    assert_eq!(end(&mut talk, 2, v2(marker(epoch, 5))), late);
    assert_eq!(end(&mut talk, 1, marker(epoch, 5)), late);
    assert_eq!(end(&mut talk, 1, marker(epoch + 1, 4)), [ErrorCode::TransactionCoordinatorFenced; 2]);
    assert_eq!(end(&mut talk, 1, marker(epoch + 1, 5)), good);
    let seen = producers(&mut talk, &topic.name, 0).unwrap();
    assert_eq!((seen.len(), seen[0].coordinator_epoch, seen[0].current_txn_start_offset), (1, 5, -1));
    for (topic, expected) in [("never", ErrorCode::UnknownTopicOrPartition), (&*topic.name, ErrorCode::InvalidRequest)]
    {
        let topics = vec![WritableTxnMarkerTopic { name: topic.into(), partition_indexes: vec![0] }];
        let producer_id = if expected == ErrorCode::InvalidRequest { -1 } else { id };
        let answered = end(&mut talk, 1, WritableTxnMarker { producer_id, topics, ..marker(epoch + 1, 5) });
        assert_eq!(answered, [expected]);
    }
}

#[test]
fn a_hanging_transaction_is_found_and_aborted_by_hand() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "hanging", 1, &[]);
    let mut talk = Talk::to(node.bootstrap());
    talk.append(&topic.name, 0, &["plain"]);
    let mut producer = Producer::new(&node, "hanging");
    producer.append(&topic, 0, 0, &["a", "b"]);
    let seen = producers(&mut talk, &topic.name, 0).unwrap();
    let found = seen.iter().find(|seen| seen.current_txn_start_offset >= 0).expect("it is open");
    assert_eq!((found.producer_id, found.producer_epoch), (producer.producer_id, producer.epoch.into()));
    assert_eq!((found.current_txn_start_offset, found.last_sequence), (1, 1));
    assert!((crate::support::talk::now_ms() - found.last_timestamp).abs() < 60_000);
    // As Admin.abortTransaction does.
    let marker = abort(&topic, &[0], found.producer_id, found.producer_epoch as i16, found.coordinator_epoch.max(0));
    assert_eq!(end(&mut talk, 1, marker), [ErrorCode::None]);
    assert_eq!(producers(&mut talk, &topic.name, 0).unwrap()[0].current_txn_start_offset, -1);
    let records = talk.fetch_one(topic.by_name(), 0, 0, 11).records;
    assert!(headers(&records).last().expect("the marker").is_control());
    for (name, partition) in [("never", 0), (&*topic.name, 7)] {
        assert_eq!(producers(&mut talk, name, partition), Err(ErrorCode::UnknownTopicOrPartition));
    }
    // The coordinator still takes the transaction for open, and ends it too.
    producer.end(false);
}
