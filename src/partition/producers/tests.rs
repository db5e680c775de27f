use super::*;
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::control::Ending;

/// A batch header: producer 7 at `epoch`, `count` records from `sequence` on.
fn batch(epoch: ProducerEpoch, sequence: i32, count: i32) -> BatchHeader {
    let mut header = BatchBuilder::new(BatchOptions::default()).finish_apart().0;
    header.producer_id = 7;
    header.producer_epoch = epoch;
    header.base_sequence = sequence;
    header.records_count = count;
    header.last_offset_delta = count - 1;
    header.max_timestamp = 1000 + i64::from(sequence);
    header
}

fn transactional(mut header: BatchHeader) -> BatchHeader {
    header.attributes |= 1 << 4;
    header
}

/// The confirmation of a coordinator under `transaction.version` 1 and 2.
const V1: Membership = Membership::Verified { is_v2: false };
const V2: Membership = Membership::Verified { is_v2: true };

const ABORT: Marker = Marker { ending: Ending::Abort, coordinator_epoch: 4 };

/// Records a marker of producer 7 at `offset`.
fn end(producers: &mut Producers, marker: Marker, epoch: ProducerEpoch, offset: Offset) -> Option<Ended> {
    let (header, _) = marker.batch(7, epoch, 5, false);
    producers.record_marker(&header, &marker, offset, 5)
}

/// Checks each batch as a client's and records it; all must be fresh. Offsets continue from `offset`.
fn append(producers: &mut Producers, mut offset: Offset, batches: &[BatchHeader]) {
    for header in batches {
        assert_eq!(producers.check(header, V1), Ok(ProducerVerdict::Fresh), "{header:?}");
        producers.record_batch(header, offset, 0);
        offset += i64::from(header.records_count);
    }
}

fn after(batches: &[BatchHeader]) -> Producers {
    let mut producers = Producers::default();
    append(&mut producers, Offset(100), batches);
    producers
}

fn refused(producers: &Producers, header: &BatchHeader) -> ErrorCode {
    producers.check(header, V1).expect_err("refused").error_code()
}

#[test]
fn batch_without_a_producer_is_fresh_and_not_kept() {
    let mut header = batch(0, 0, 1);
    header.producer_id = -1;
    let mut producers = Producers::default();
    assert_eq!(producers.check(&header, V1), Ok(ProducerVerdict::Fresh));
    producers.record_batch(&header, Offset(0), 0);
    assert!(producers.is_empty());
    assert_eq!(size_of::<Producers>(), 80);
}

#[test]
fn unknown_producer_may_begin_at_any_sequence_except_under_transactions_v2() {
    let producers = Producers::default();
    assert_eq!(producers.check(&batch(3, 55, 1), V1), Ok(ProducerVerdict::Fresh));
    assert_eq!(producers.check(&batch(3, 0, 1), V2), Ok(ProducerVerdict::Fresh));
    let refusal = producers.check(&batch(3, 55, 1), V2).unwrap_err();
    assert_eq!(refusal.error_code(), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn next_sequence_is_the_last_plus_one() {
    let producers = after(&[batch(0, 0, 3), batch(0, 3, 1)]);
    assert_eq!(producers.check(&batch(0, 4, 9), V1), Ok(ProducerVerdict::Fresh));
    for gap in [5, 100, 2, i32::MAX] {
        assert_eq!(refused(&producers, &batch(0, gap, 1)), ErrorCode::OutOfOrderSequenceNumber, "{gap}");
    }
}

#[test]
fn sequences_wrap_from_the_maximum_to_zero() {
    let producers = after(&[batch(0, i32::MAX, 1)]);
    assert_eq!(producers.check(&batch(0, 0, 1), V1), Ok(ProducerVerdict::Fresh));
    assert_eq!(refused(&producers, &batch(0, 1, 1)), ErrorCode::OutOfOrderSequenceNumber);
    // A batch that wraps within itself: MAX - 1, MAX, 0, 1.
    let wrapping = batch(0, i32::MAX - 1, 4);
    let producers = after(&[wrapping]);
    assert_eq!(producers.check(&batch(0, 2, 1), V1), Ok(ProducerVerdict::Fresh));
    let verdict = producers.check(&wrapping, V1).unwrap();
    let timestamp = wrapping.max_timestamp;
    assert_eq!(verdict, ProducerVerdict::Duplicate { base_offset: Offset(100), last_offset: Offset(103), timestamp });
}

#[test]
fn duplicates_of_the_last_five_batches_are_recognized() {
    let batches: Vec<_> = (0..8).map(|i| batch(0, i * 2, 2)).collect();
    let producers = after(&batches);
    for (i, header) in batches.iter().enumerate().skip(3) {
        let (base_offset, timestamp) = (100 + i as i64 * 2, header.max_timestamp);
        let expected = ProducerVerdict::Duplicate {
            base_offset: Offset(base_offset),
            last_offset: Offset(base_offset + 1),
            timestamp,
        };
        assert_eq!(producers.check(header, V1), Ok(expected), "batch {i}");
    }
    for header in &batches[..3] {
        // Kafka 4.3 answers OUT_OF_ORDER_SEQUENCE_NUMBER to a duplicate that it no longer keeps.
        assert_eq!(refused(&producers, header), ErrorCode::OutOfOrderSequenceNumber);
    }
    // A different range of sequences is no duplicate.
    assert_eq!(refused(&producers, &batch(0, 14, 1)), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(refused(&producers, &batch(0, 12, 4)), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn lower_epoch_is_fenced_even_for_a_duplicate() {
    let producers = after(&[batch(1, 0, 1), batch(2, 0, 1)]);
    assert_eq!(refused(&producers, &batch(1, 1, 1)), ErrorCode::InvalidProducerEpoch);
    assert_eq!(refused(&producers, &batch(1, 0, 1)), ErrorCode::InvalidProducerEpoch);
    assert_eq!(refused(&producers, &batch(0, 0, 1)), ErrorCode::InvalidProducerEpoch);
}

// PROD-1
#[test]
fn new_epoch_begins_at_zero_and_drops_the_old_batches() {
    let mut producers = after(&[batch(0, 0, 1), batch(0, 1, 1)]);
    assert_eq!(refused(&producers, &batch(1, 2, 1)), ErrorCode::OutOfOrderSequenceNumber);
    append(&mut producers, Offset(102), &[batch(1, 0, 1)]);
    let expected = ProducerVerdict::Duplicate { base_offset: Offset(102), last_offset: Offset(102), timestamp: 1000 };
    assert_eq!(producers.check(&batch(1, 0, 1), V1), Ok(expected), "the batch of the new epoch");
    assert_eq!(producers.snapshot()[0].batches.len(), 1);
}

#[test]
fn producers_are_independent() {
    let mut producers = after(&[batch(0, 0, 5)]);
    let mut other = batch(0, 33, 1);
    other.producer_id = 8;
    append(&mut producers, Offset(105), &[other]);
    assert_eq!(producers.len(), 2);
    assert_eq!(producers.check(&batch(0, 5, 1), V1), Ok(ProducerVerdict::Fresh));
}

#[test]
fn silent_producers_expire_and_may_then_begin_at_any_sequence() {
    let mut producers = Producers::default();
    producers.record_batch(&batch(4, 0, 1), Offset(0), 1_000);
    assert_eq!(producers.expire(1_999, 1_000), 0);
    producers.record_batch(&batch(4, 1, 1), Offset(1), 1_500);
    assert_eq!(producers.expire(2_499, 1_000), 0, "an append restarts the expiration");
    assert_eq!(producers.expire(2_500, 1_000), 1);
    assert!(producers.is_empty());
    assert_eq!(producers.check(&batch(0, 77, 1), V1), Ok(ProducerVerdict::Fresh));
}

#[test]
fn open_transaction_keeps_its_producer_and_refuses_plain_batches() {
    let mut producers = after(&[transactional(batch(0, 0, 2))]);
    assert_eq!(producers.snapshot()[0].current_txn_first_offset, Some(Offset(100)));
    assert_eq!(refused(&producers, &batch(0, 2, 1)), ErrorCode::InvalidTxnState);
    append(&mut producers, Offset(102), &[transactional(batch(0, 2, 1))]);
    assert_eq!(
        producers.snapshot()[0].current_txn_first_offset,
        Some(Offset(100)),
        "the first batch opened the transaction"
    );
    assert_eq!(producers.expire(i64::MAX, 1), 0);
    let ended = end(&mut producers, ABORT, 0, Offset(103)).expect("the transaction was open");
    assert_eq!((ended.first_offset, ended.last_offset), (Offset(100), Offset(103)));
    assert_eq!(ended.aborted.map(|aborted| aborted.last_stable_offset), Some(Offset(104)));
    assert_eq!(producers.snapshot()[0].current_txn_first_offset, None);
    assert_eq!(end(&mut producers, ABORT, 0, Offset(104)), None, "statement 77");
    assert_eq!(producers.check(&batch(0, 3, 1), V1), Ok(ProducerVerdict::Fresh));
    assert_eq!(producers.expire(i64::MAX, 1), 1);
}

#[test]
fn producer_begins_at_zero_after_a_marker_of_a_new_epoch() {
    let mut producers = after(&[transactional(batch(0, 0, 2))]);
    end(&mut producers, ABORT, 1, Offset(102));
    assert_eq!(producers.check(&batch(1, 0, 1), V1), Ok(ProducerVerdict::Fresh));
    assert_eq!(refused(&producers, &batch(1, 2, 1)), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(refused(&producers, &batch(0, 2, 1)), ErrorCode::InvalidProducerEpoch);
}

#[test]
fn coordinator_batch_is_kept_by_offset_only() {
    let mut producers = Producers::default();
    for (offset, count) in [(100, 2), (102, 3)] {
        let written = transactional(batch(0, -1, count));
        assert_eq!(
            producers.check(&written, V1),
            Ok(ProducerVerdict::Fresh),
            "a batch without sequences is no duplicate"
        );
        producers.record_batch(&written, Offset(offset), 0);
    }
    end(&mut producers, ABORT, 0, Offset(105));
    let restored = Producers::restore(&producers.snapshot(), PRODUCERS_MAX_DEFAULT);
    for producers in [&producers, &restored] {
        let saved = &producers.snapshot()[0];
        let offsets: Vec<_> = saved.batches.iter().map(|batch| (batch.base_offset, batch.last_offset())).collect();
        assert_eq!(offsets, [(Offset(100), Offset(101)), (Offset(102), Offset(104))]);
        assert_eq!(saved.batches[1].last_sequence, -1, "as Kafka reports it");
        assert_eq!(producers.check(&batch(0, 0, 3), V1), Ok(ProducerVerdict::Fresh));
        assert_eq!(refused(producers, &batch(0, 1, 3)), ErrorCode::OutOfOrderSequenceNumber);
    }
}

#[test]
fn transactional_batch_needs_a_verified_or_open_transaction() {
    let first = transactional(batch(0, 0, 2));
    let mut producers = Producers::default();
    let refusal = producers.check(&first, Membership::ByLog).unwrap_err();
    assert_eq!(refusal.error_code(), ErrorCode::InvalidTxnState);
    assert_eq!(producers.check(&first, V1), Ok(ProducerVerdict::Fresh));
    producers.record_batch(&first, Offset(100), 0);
    assert!(producers.has_open(7, 0) && !producers.has_open(7, 1) && !producers.has_open(8, 0));
    assert_eq!(producers.check(&transactional(batch(0, 2, 1)), Membership::ByLog), Ok(ProducerVerdict::Fresh));
    // A duplicate stays a duplicate after its transaction ended.
    end(&mut producers, ABORT, 0, Offset(102));
    let verdict = producers.check(&first, Membership::ByLog).unwrap();
    assert_eq!(
        verdict,
        ProducerVerdict::Duplicate {
            base_offset: Offset(100),
            last_offset: Offset(101),
            timestamp: first.max_timestamp
        }
    );
    let refusal = producers.check(&transactional(batch(0, 2, 1)), Membership::ByLog).unwrap_err();
    assert_eq!(refusal.error_code(), ErrorCode::InvalidTxnState);
}

// Statements 73 and 74.
#[test]
fn late_markers_are_refused_by_their_epochs() {
    let mut producers = after(&[transactional(batch(3, 0, 2))]);
    let check = |producers: &Producers, epoch, is_v2, expected: Option<ErrorCode>| {
        let got = producers.check_marker(7, epoch, &ABORT, is_v2).err().map(|refusal| refusal.error_code());
        assert_eq!(got, expected, "epoch {epoch}, v2: {is_v2}");
    };
    for (epoch, v1, v2) in [(2, false, false), (3, true, false), (4, true, true)] {
        check(&producers, epoch, false, (!v1).then_some(ErrorCode::InvalidProducerEpoch));
        check(&producers, epoch, true, (!v2).then_some(ErrorCode::InvalidProducerEpoch));
    }
    end(&mut producers, ABORT, 4, Offset(102));
    check(&producers, 4, true, None);
    check(&producers, 3, true, Some(ErrorCode::InvalidProducerEpoch));
    let zombie = Marker { coordinator_epoch: 3, ..ABORT };
    let refusal = producers.check_marker(7, 4, &zombie, false).unwrap_err();
    assert_eq!(refusal.error_code(), ErrorCode::TransactionCoordinatorFenced);
    assert!(producers.check_marker(8, 0, &zombie, true).is_ok(), "an unknown producer accepts any epoch");
}

// PROD-2
#[test]
fn longest_silent_producers_are_evicted_and_open_transactions_are_kept() {
    let mut producers = Producers::new(64);
    for id in 0..1000 {
        let mut header = batch(0, 0, 1);
        header.producer_id = id;
        if id == 3 {
            header = transactional(header);
        }
        producers.record_batch(&header, Offset(id), id);
        assert!(producers.len() <= 64, "PROD-2");
        assert!(
            producers.snapshot().iter().any(|saved| saved.producer_id == id),
            "PROD-2: the producer that appends stays"
        );
    }
    let kept: Vec<_> = producers.snapshot().iter().map(|saved| saved.producer_id).collect();
    assert_eq!(kept[0], 3);
    assert!(kept[1..].iter().all(|id| *id > 900), "{kept:?}");
}

#[test]
fn restored_state_decides_as_the_saved_one() {
    let mut producers = after(&[transactional(batch(2, 0, 3))]);
    for i in 0..6 {
        let mut header = batch(0, i * 4, 4);
        header.producer_id = 9;
        append(&mut producers, Offset(200 + i64::from(i) * 4), &[header]);
    }
    let snapshot = producers.snapshot();
    let restored = Producers::restore(&snapshot, PRODUCERS_MAX_DEFAULT);
    assert_eq!(restored.snapshot(), snapshot);
    for id in [7, 9] {
        for epoch in 0..4 {
            for sequence in 0..30 {
                for count in 1..6 {
                    let mut header = batch(epoch, sequence, count);
                    header.producer_id = id;
                    assert_eq!(restored.check(&header, V1), producers.check(&header, V1));
                }
            }
        }
    }
}
