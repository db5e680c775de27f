//! Statements 98 to 100: offsets by special timestamp, by timestamp and by leader epoch.

use crate::support::bench::{self, PLAIN};
use crate::support::talk::{Talk, timed};
use tidemill::model::ErrorCode;
use tidemill::record::Codec;
use tidemill::record::builder::BatchOptions;
use tidemill::wire::data::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidemill::wire::data::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};

pub fn list_in(
    talk: &mut Talk,
    version: i16,
    topic: &str,
    partition_index: i32,
    current_leader_epoch: i32,
    timestamp: i64,
) -> ListOffsetsPartitionResponse {
    let partitions = vec![ListOffsetsPartition { partition_index, current_leader_epoch, timestamp }];
    let topics = vec![ListOffsetsTopic { name: topic.into(), partitions }];
    let mut answer: ListOffsetsResponse = talk.call(&ListOffsetsRequest { topics, ..Default::default() }, version);
    answer.topics.remove(0).partitions.remove(0)
}

fn list(talk: &mut Talk, version: i16, topic: &str, timestamp: i64) -> (ErrorCode, i64, i64) {
    let answered = list_in(talk, version, topic, 0, -1, timestamp);
    (answered.error_code, answered.offset, answered.timestamp)
}

#[test]
fn s098_special_timestamps_name_offsets_from_the_version_that_has_them() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "special", 1, &[]);
    let mut talk = topic.leader(0);
    let talk = &mut talk;
    for version in 1..=11 {
        assert_eq!(list(talk, version, &topic.name, -1).1, 0, "v{version}, empty");
        assert_eq!(list(talk, version, &topic.name, -2).1, 0, "v{version}, empty");
    }
    assert_eq!(list(talk, 7, &topic.name, -3), (ErrorCode::None, -1, -1));
    let records = [(1_000_000, "a"), (3_000_000, "b"), (2_000_000, "c")];
    talk.produce_one(&topic.name, 0, &timed(BatchOptions::default(), &records));
    talk.produce_one(&topic.name, 0, &timed(BatchOptions::default(), &[(1_500_000, "d")]));
    for version in 1..=11 {
        assert_eq!(list(talk, version, &topic.name, -1), (ErrorCode::None, 4, -1), "v{version}");
        assert_eq!(list(talk, version, &topic.name, -2), (ErrorCode::None, 0, -1), "v{version}");
        for (special, from) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11), (-7, 12), (i64::MIN, 12)] {
            let expected = if version < from { ErrorCode::UnsupportedVersion } else { ErrorCode::None };
            assert_eq!(list(talk, version, &topic.name, special).0, expected, "{special} at v{version}");
        }
    }
    assert_eq!(list(talk, 7, &topic.name, -3), (ErrorCode::None, 1, 3_000_000));
    assert_eq!(list(talk, 8, &topic.name, -4).1, 0);
    assert_eq!(list(talk, 9, &topic.name, -5).1, -1);
    assert_eq!(list(talk, 9, "s098-never", -1).0, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn s099_a_timestamp_finds_the_first_record_at_or_after_it_also_inside_a_compressed_batch() {
    let node = PLAIN.node();
    for codec in Codec::ALL {
        let topic = bench::topic(&node, "by-time", 1, &[]);
        let mut talk = topic.leader(0);
        let options = BatchOptions { codec, ..Default::default() };
        talk.produce_one(&topic.name, 0, &timed(options, &[(1_000, "a"), (2_000, "b"), (3_000, "c")]));
        talk.produce_one(&topic.name, 0, &timed(options, &[(2_500, "d"), (5_000, "e")]));
        let cases = [
            (0, (0, 1_000)),
            (1_000, (0, 1_000)),
            (1_001, (1, 2_000)),
            (2_500, (2, 3_000)),
            (3_001, (4, 5_000)),
            (5_000, (4, 5_000)),
            (5_001, (-1, -1)),
            (i64::MAX, (-1, -1)),
        ];
        for (time, (offset, timestamp)) in cases {
            for version in [1, 4, 11] {
                let answered = list(&mut talk, version, &topic.name, time);
                assert_eq!(answered, (ErrorCode::None, offset, timestamp), "{codec:?}, {time} at v{version}");
            }
        }
        assert!(list_in(&mut talk, 4, &topic.name, 0, -1, 0).leader_epoch >= 0);
    }
}

fn epoch_end(
    talk: &mut Talk,
    version: i16,
    topic: &str,
    current_leader_epoch: i32,
    leader_epoch: i32,
) -> EpochEndOffset {
    let partitions = vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch, leader_epoch }];
    let topics = vec![OffsetForLeaderTopic { topic: topic.into(), partitions }];
    let request = OffsetForLeaderEpochRequest { topics, ..Default::default() };
    let mut answer: OffsetForLeaderEpochResponse = talk.call(&request, version);
    answer.topics.remove(0).partitions.remove(0)
}

#[test]
fn s100_an_epoch_ends_where_the_next_starts_and_an_unknown_one_has_no_end() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "epoch-ends", 1, &[]);
    let mut talk = topic.leader(0);
    talk.append(&topic.name, 0, &["a", "b", "c"]);
    let epoch = list_in(&mut talk, 4, &topic.name, 0, -1, -2).leader_epoch;
    for version in 2..=4 {
        let end = epoch_end(&mut talk, version, &topic.name, epoch, epoch);
        assert_eq!((end.error_code, end.leader_epoch, end.end_offset), (ErrorCode::None, epoch, 3), "v{version}");
        let end = epoch_end(&mut talk, version, &topic.name, -1, epoch + 5);
        assert_eq!((end.error_code, end.leader_epoch, end.end_offset), (ErrorCode::None, -1, -1), "v{version}");
    }
    let ahead = epoch_end(&mut talk, 4, &topic.name, epoch + 1, epoch).error_code;
    assert_eq!(ahead, ErrorCode::UnknownLeaderEpoch);
    assert_eq!(epoch_end(&mut talk, 4, "s100-never", -1, 0).error_code, ErrorCode::UnknownTopicOrPartition);
}
