//! The filter judges one batch at a time.

use super::*;
use crate::log::aborted::AbortedTransaction;
use crate::log::clean::filter::LastRecord;

/// A batch of these keys and values; the value "-" makes a tombstone.
fn batch(base_offset: Offset, options: BatchOptions, records: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset, ..options });
    for (n, (key, value)) in records.iter().enumerate() {
        let value = (*value != "-").then_some(value.as_bytes());
        builder.append(NOW_MS - 50 + n as i64, Some(key.as_bytes()), value, []);
    }
    builder.finish()
}

/// A transaction's marker. KIP-98: version 0 and type, then the coordinator's epoch.
fn marker(base_offset: Offset, producer_id: i64, commits: bool) -> Vec<u8> {
    let options = BatchOptions { base_sequence: -1, is_control: true, base_offset, ..transactional(producer_id) };
    let mut builder = BatchBuilder::new(options);
    builder.append(NOW_MS, Some(&[0, 0, 0, u8::from(commits)]), Some(&[0, 0, 0, 0, 0, 9]), []);
    builder.finish()
}

fn keys(latest: &[(&str, Offset)], up_to: Offset) -> Keys {
    let mut keys = Keys::new(0.9);
    keys.add(AlignedBuf::alloc(4096).unwrap(), 100);
    let mut latest = latest.to_vec();
    latest.sort_by_key(|(_, offset)| *offset);
    latest.into_iter().for_each(|(key, offset)| assert!(keys.put(key.as_bytes(), offset)));
    keys.reached(up_to);
    keys
}

fn filter(keys: Keys, producers: LastRecords, now_ms: i64) -> Filter {
    let rules = Rules { keys, producers, now_ms, delete_retention_ms: RETENTION_MS, end: Offset(1000) };
    Filter::new(rules, Decompressor::new(1 << 20))
}

fn judge(filter: &mut Filter, bytes: &[u8]) -> Verdict {
    filter.judge(&batch_at(bytes, 0).unwrap()).unwrap()
}

/// The rest of a batch: its header, and the offset and key of each record.
fn left(verdict: &Verdict, of: &[u8]) -> Option<(BatchHeader, Vec<(Offset, String)>)> {
    let bytes = match verdict {
        Verdict::Keep => of,
        Verdict::Rewrite(bytes) => bytes,
        Verdict::Drop => return None,
    };
    let batch = batch_at(bytes, 0).unwrap();
    assert!(batch.is_intact() && batch.bytes.len() == bytes.len());
    let mut decompressor = Decompressor::new(1 << 20);
    let plain = decompressor.records(&batch.header, batch.stored_records()).unwrap();
    let records = Records::new(&batch.header, plain).map(Result::unwrap);
    let kept = records.map(|r| (r.offset, String::from_utf8_lossy(r.key.unwrap_or_default()).into_owned()));
    Some((batch.header, kept.collect()))
}

#[test]
fn clean_1_last_record_of_a_key_stays_at_its_offset() {
    let mut f = filter(
        keys(&[("a", Offset(12)), ("b", Offset(11)), ("c", Offset(20))], Offset(20)),
        LastRecords::new(),
        NOW_MS,
    );
    let whole = batch(Offset(10), plain(), &[("a", "1"), ("b", "2"), ("a", "3"), ("x", "4")]);
    let (header, records) = left(&judge(&mut f, &whole), &whole).unwrap();
    // A record stays if the map does not have its key.
    assert_eq!(records, [(Offset(11), "b".into()), (Offset(12), "a".into()), (Offset(13), "x".into())]);
    assert_eq!((header.base_offset, header.last_offset(), header.delete_horizon_ms()), (Offset(10), Offset(13), None));
    assert_eq!(judge(&mut f, &batch(Offset(14), plain(), &[("c", "5")])), Verdict::Drop);
    assert_eq!(judge(&mut f, &batch(Offset(20), plain(), &[("c", "6")])), Verdict::Keep);
    // Records behind the offsets that the map covers stay.
    assert_eq!(judge(&mut f, &batch(Offset(21), plain(), &[("c", "7"), ("c", "8")])), Verdict::Keep);
}

#[test]
fn record_without_a_key_is_dropped() {
    let mut f = filter(keys(&[], Offset(20)), LastRecords::new(), NOW_MS);
    let mut builder = BatchBuilder::new(plain());
    builder.append(NOW_MS, None, Some(b"without a key"), []);
    assert_eq!(judge(&mut f, &builder.finish()), Verdict::Drop);
}

#[test]
fn clean_2_tombstone_stays_for_the_retention_time_after_its_first_round() {
    for codec in Codec::ALL {
        let known = || keys(&[("a", Offset(10)), ("b", Offset(11))], Offset(20));
        let fresh = batch(Offset(10), BatchOptions { codec, ..plain() }, &[("a", "-"), ("b", "2")]);
        let (header, records) = left(&judge(&mut filter(known(), LastRecords::new(), NOW_MS), &fresh), &fresh).unwrap();
        assert_eq!((header.delete_horizon_ms(), records.len()), (Some(NOW_MS + RETENTION_MS), 2), "{codec:?}");
        let Verdict::Rewrite(stamped) = judge(&mut filter(known(), LastRecords::new(), NOW_MS), &fresh) else {
            panic!("it has a horizon now");
        };
        let later = |now_ms| judge(&mut filter(known(), LastRecords::new(), now_ms), &stamped);
        assert_eq!(later(NOW_MS + RETENTION_MS - 1), Verdict::Keep, "its horizon does not move");
        let (header, records) = left(&later(NOW_MS + RETENTION_MS), &stamped).unwrap();
        assert_eq!(records, [(Offset(11), "b".into())]);
        assert_eq!(
            header.delete_horizon_ms(),
            Some(NOW_MS + RETENTION_MS),
            "it stays, as in Kafka, although no tombstone needs it"
        );
    }
}

#[test]
fn clean_2_retention_time_begins_when_the_map_covers_the_whole_batch() {
    let fresh = batch(Offset(10), plain(), &[("a", "-"), ("b", "-")]);
    let check = |latest: &[(&str, Offset)], up_to, horizon| {
        let verdict = judge(&mut filter(keys(latest, up_to), LastRecords::new(), NOW_MS), &fresh);
        let (header, records) = left(&verdict, &fresh).unwrap();
        assert_eq!((header.delete_horizon_ms(), records.len()), (horizon, 2), "a map up to {up_to}");
    };
    // The map ends before the tombstones: records that they delete may still exist.
    check(&[("z", Offset(5))], Offset(5), None);
    // A batch has one horizon, and the map does not cover its second tombstone.
    check(&[("a", Offset(10))], Offset(10), None);
    check(&[("a", Offset(10)), ("b", Offset(11))], Offset(11), Some(NOW_MS + RETENTION_MS));
}

#[test]
fn clean_2_aborted_records_are_dropped_and_their_marker_after_the_retention_time() {
    let aborted = AbortedTransaction {
        producer_id: 7,
        first_offset: Offset(10),
        last_offset: Offset(13),
        last_stable_offset: Offset(14),
    };
    let known = || keys(&[("a", Offset(20))], Offset(20));
    let (data, end) = (batch(Offset(10), transactional(7), &[("k", "1"), ("l", "-")]), marker(Offset(13), 7, false));
    let other = batch(Offset(12), transactional(8), &[("m", "1")]);
    let mut f = filter(known(), LastRecords::new(), NOW_MS);
    f.transactions.expect(Offset(10), &[aborted]);
    assert_eq!(judge(&mut f, &data), Verdict::Drop);
    assert_eq!(judge(&mut f, &other), Verdict::Keep, "its transaction was committed");
    assert_eq!(judge(&mut f, &end), Verdict::Keep, "a reader of the records needs the marker");
    assert_eq!(f.aborted, [aborted]);
    // Next round: no record of the transaction is left, so the marker's retention time begins.
    let mut f = filter(known(), LastRecords::new(), NOW_MS);
    f.transactions.expect(Offset(10), &[aborted]);
    let Verdict::Rewrite(stamped) = judge(&mut f, &end) else { panic!("it has a horizon now") };
    assert_eq!(left(&Verdict::Keep, &stamped).unwrap().0.delete_horizon_ms(), Some(NOW_MS + RETENTION_MS));
    assert!(f.aborted.is_empty());
    for (now_ms, expected) in [(NOW_MS + RETENTION_MS - 1, Verdict::Keep), (NOW_MS + RETENTION_MS, Verdict::Drop)] {
        assert_eq!(judge(&mut filter(known(), LastRecords::new(), now_ms), &stamped), expected);
    }
}

#[test]
fn commit_marker_stays_in_a_round_that_reads_a_batch_of_its_transaction() {
    let commit = marker(Offset(13), 7, true);
    let mut f = filter(keys(&[("k", Offset(30))], Offset(30)), LastRecords::new(), NOW_MS);
    // The round has read a batch, even if it drops it: the marker stays until a later round.
    assert_eq!(judge(&mut f, &batch(Offset(10), transactional(7), &[("k", "1")])), Verdict::Drop);
    assert_eq!(judge(&mut f, &commit), Verdict::Keep);
    assert!(matches!(judge(&mut f, &commit), Verdict::Rewrite(_)), "no batch of its transaction comes before it");
}

#[test]
fn clean_3_last_batch_of_a_producer_stays_by_its_header() {
    let options = BatchOptions { producer_id: 7, producer_epoch: 2, base_sequence: 5, codec: Codec::Lz4, ..plain() };
    let known = || keys(&[("k", Offset(30))], Offset(30));
    let (first, last) =
        (batch(Offset(10), options, &[("k", "1")]), batch(Offset(11), options, &[("k", "2"), ("k", "3")]));
    let producers = LastRecords::from([(7, LastRecord { offset: Some(Offset(12)), epoch: 2 })]);
    let mut f = filter(known(), producers.clone(), NOW_MS);
    assert_eq!(judge(&mut f, &first), Verdict::Drop);
    let Verdict::Rewrite(empty) = judge(&mut f, &last) else { panic!("its records are dropped") };
    let (header, records) = left(&Verdict::Keep, &empty).unwrap();
    assert!(records.is_empty());
    assert_eq!((header.last_offset(), header.last_sequence(), header.producer_epoch), (Offset(12), 6, 2));
    assert_eq!(judge(&mut filter(known(), producers, NOW_MS), &empty), Verdict::Keep);
    // The producer has written a later batch.
    let moved = LastRecords::from([(7, LastRecord { offset: Some(Offset(40)), epoch: 2 })]);
    assert_eq!(judge(&mut filter(known(), moved, NOW_MS), &empty), Verdict::Drop);
    // If a marker is the last batch, the marker keeps the epoch.
    let fenced = LastRecords::from([(7, LastRecord { offset: None, epoch: 0 })]);
    let mut builder = filter(known(), fenced.clone(), NOW_MS);
    let Verdict::Rewrite(stamped) = judge(&mut builder, &marker(Offset(13), 7, true)) else {
        panic!("it has a horizon now")
    };
    let late = judge(&mut filter(known(), fenced, NOW_MS + RETENTION_MS), &stamped);
    assert!(left(&late, &stamped).unwrap().1.is_empty());
}

#[test]
fn last_batch_of_a_round_stays_by_its_header() {
    let mut f = filter(keys(&[("k", Offset(2000))], Offset(2000)), LastRecords::new(), NOW_MS);
    let last = batch(Offset(998), plain(), &[("k", "1"), ("k", "2")]);
    let (header, records) = left(&judge(&mut f, &last), &last).unwrap();
    assert!(records.is_empty() && header.next_offset() == Offset(1000));
}
