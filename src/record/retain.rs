//! A batch with the records that compaction retains: byte for byte Kafka's `MemoryRecords.filterTo`.
//!
//! The batch keeps its base offset, last offset, sequence numbers and leader epoch, because offsets never change and
//! recovery reads the producer's last sequence from it. Its timestamps are computed from the retained records. A delete
//! horizon (KIP-534) replaces the base timestamp.

use crate::record::builder::write_record;
use crate::record::codec::{self, Codec};
use crate::record::header::{
    BatchHeader, HEADER_BYTES, PREFIX_BYTES, TimestampType, with_delete_horizon, with_no_codec,
};
use crate::record::records::Record;

/// The batch of `header` with only the records `kept`, in their order and with their codec. At least one is required.
pub fn with_records<'a>(
    header: &BatchHeader,
    kept: impl Iterator<Item = Record<'a>>,
    delete_horizon_ms: Option<i64>,
) -> Vec<u8> {
    let mut plain = vec![0; HEADER_BYTES];
    let mut base_timestamp = delete_horizon_ms;
    let mut max_timestamp = -1;
    let mut count = 0;
    for record in kept {
        let base = *base_timestamp.get_or_insert(record.timestamp);
        max_timestamp = max_timestamp.max(record.timestamp);
        write_record(record.timestamp.wrapping_sub(base), &record, &mut plain);
        count += 1;
    }
    assert!(count > 0, "a batch without records is made by `empty`");
    let codec = header.codec().expect("the records were decompressed with a known codec");
    let mut batch = plain;
    if codec != Codec::None {
        let mut compressed = vec![0; HEADER_BYTES];
        codec::compress(codec, None, &batch[HEADER_BYTES..], &mut compressed);
        batch = compressed;
    }
    let is_stamped = header.timestamp_type() == TimestampType::LogAppendTime;
    let mut header = BatchHeader {
        batch_length: i32::try_from(batch.len() - PREFIX_BYTES).expect("a retained batch is under 2 GiB"),
        attributes: with_delete_horizon(header.attributes, delete_horizon_ms.is_some()),
        base_timestamp: base_timestamp.expect("of the first record"),
        max_timestamp: if is_stamped { header.max_timestamp } else { max_timestamp },
        records_count: count,
        ..*header
    };
    header.crc = header.crc_with(&batch[HEADER_BYTES..]);
    batch[..HEADER_BYTES].copy_from_slice(&header.encode());
    batch
}

/// The batch of `header` without records. It is kept for its offsets and its producer's sequence.
pub fn empty(header: &BatchHeader) -> [u8; HEADER_BYTES] {
    let mut header = BatchHeader {
        batch_length: (HEADER_BYTES - PREFIX_BYTES) as i32,
        attributes: with_delete_horizon(with_no_codec(header.attributes), false),
        base_timestamp: -1,
        records_count: 0,
        ..*header
    };
    header.crc = header.crc_with(&[]);
    header.encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LeaderEpoch, Offset};
    use crate::record::builder::{BatchBuilder, BatchOptions};
    use crate::record::codec::Decompressor;
    use crate::record::records::Records;
    use crate::record::walk::batches;

    fn batch(codec: Codec, log_append_time_ms: Option<i64>) -> Vec<u8> {
        let options = BatchOptions {
            base_offset: Offset(100),
            leader_epoch: LeaderEpoch(3),
            codec,
            log_append_time_ms,
            producer_id: 7,
            producer_epoch: 1,
            base_sequence: 20,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for n in 0..10i64 {
            let key = format!("key {n}");
            let header: (&[u8], Option<&[u8]>) = (b"h", Some(b"v"));
            builder.append(1000 + n, Some(key.as_bytes()), (n != 4).then_some(&[n as u8; 50]), [header]);
        }
        builder.finish()
    }

    /// Offset, timestamp, key, value and the number of headers.
    type Row = (i64, i64, Vec<u8>, Option<Vec<u8>>, usize);

    fn read(bytes: &[u8]) -> (BatchHeader, Vec<Row>) {
        let batch = batches(bytes).next().unwrap().unwrap();
        assert!(batch.is_intact() && batch.bytes.len() == bytes.len());
        let mut decompressor = Decompressor::new(1 << 20);
        let plain = decompressor.records(&batch.header, batch.stored_records()).unwrap();
        let records = Records::new(&batch.header, plain).map(|record| {
            let r = record.unwrap();
            (r.offset.0, r.timestamp, r.key.unwrap().to_vec(), r.value.map(<[u8]>::to_vec), r.headers.len())
        });
        (batch.header, records.collect())
    }

    fn retain(bytes: &[u8], keep: &[i64], horizon: Option<i64>) -> Vec<u8> {
        let batch = batches(bytes).next().unwrap().unwrap();
        let mut decompressor = Decompressor::new(1 << 20);
        let plain = decompressor.records(&batch.header, batch.stored_records()).unwrap();
        let records = Records::new(&batch.header, plain).map(Result::unwrap);
        with_records(&batch.header, records.filter(|record| keep.contains(&record.offset.0)), horizon)
    }

    #[test]
    fn retained_records_keep_their_offsets_and_content() {
        for codec in Codec::ALL {
            for stamp in [None, Some(9_000)] {
                let whole = batch(codec, stamp);
                let (before, records) = read(&whole);
                for (keep, horizon) in [(&[102, 104, 107][..], None), (&[104], Some(5_000_000)), (&[100, 109], Some(1))]
                {
                    let (after, left) = read(&retain(&whole, keep, horizon));
                    let expected: Vec<_> = records.iter().filter(|row| keep.contains(&row.0)).cloned().collect();
                    assert_eq!(left, expected, "{codec:?} {stamp:?} {keep:?} {horizon:?}");
                    assert_eq!(after.delete_horizon_ms(), horizon);
                    let most = expected.iter().map(|row| row.1).max().unwrap();
                    let expected = BatchHeader {
                        batch_length: after.batch_length,
                        crc: after.crc,
                        attributes: after.attributes,
                        base_timestamp: horizon.unwrap_or(expected[0].1),
                        max_timestamp: most,
                        records_count: keep.len() as i32,
                        ..before
                    };
                    assert_eq!(after, expected);
                    // Retaining again with the stored horizon changes nothing.
                    let (again, left_again) =
                        read(&retain(&retain(&whole, keep, horizon), keep, after.delete_horizon_ms()));
                    assert_eq!((again, left_again), (after, left));
                }
            }
        }
    }

    #[test]
    fn an_empty_batch_keeps_its_offsets_and_its_sequence() {
        let whole = batch(Codec::Zstd, None);
        let (before, _) = read(&whole);
        let (after, records) = read(&empty(&before));
        assert!(records.is_empty());
        assert_eq!(
            (after.base_offset, after.last_offset(), after.next_offset()),
            (Offset(100), Offset(109), Offset(110))
        );
        assert_eq!((after.producer_id, after.producer_epoch, after.last_sequence()), (7, 1, 29));
        assert_eq!((after.max_timestamp, after.leader_epoch, after.codec()), (1009, LeaderEpoch(3), Some(Codec::None)));
    }
}
