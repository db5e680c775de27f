//! The batches of segments, each held against its CRC and its neighbours.

use std::path::Path;

use serde_json::{Value, json};

use super::locate::{PartitionFiles, partitions};
use super::{Failure, Report, cannot_read, table};
use crate::record::codec::Decompressor;
use crate::record::records::Records;
use crate::record::walk::{self, Batch, Broken};

/// A batch whose records take more than this is not opened for `--records`.
const DECODED_BYTES_MAX: usize = 1 << 30;

pub fn inspect(path: &Path, with_records: bool, report: &mut Report) -> Result<(), Failure> {
    let mut documents = Vec::new();
    for files in partitions(path, report)? {
        let mut end = None;
        for (base, log) in &files.logs {
            let bytes = std::fs::read(log).map_err(|error| cannot_read(log, error))?;
            documents.push(one(&files, *base, log, &bytes, &mut end, with_records, report));
        }
        let Some(state) = &files.state else { continue };
        let is_whole = files.logs.last().is_none_or(|(base, _)| *base == files.last_base);
        let has_active = files.logs.iter().any(|(base, _)| *base == state.segment_base_offset);
        if state.segment_position > 0 && !has_active && is_whole && files.logs.len() != 1 {
            let missing = files.directory.join(format!("{:020}.log", state.segment_base_offset));
            report.damage(
                &missing,
                0,
                format!("it is missing; the checkpoint promises {} bytes of it", state.segment_position),
            );
        }
    }
    report.field("segments", Value::Array(documents));
    Ok(())
}

fn one(
    files: &PartitionFiles,
    base: i64,
    log: &Path,
    bytes: &[u8],
    end: &mut Option<i64>,
    with_records: bool,
    report: &mut Report,
) -> Value {
    let vouched = files.vouched(base, bytes.len() as u64);
    let mut rows =
        table(&["position", "offsets", "bytes", "records", "codec", "producer", "epoch", "max timestamp", "crc"], 0);
    let mut batches = Vec::new();
    let mut expected = end.unwrap_or(base).max(base);
    let mut decompressor = Decompressor::new(DECODED_BYTES_MAX);
    if end.is_some_and(|end| end > base) {
        report.damage(
            log,
            0,
            format!("it begins at offset {base}, and the segment before it ends at {}", end.unwrap_or(0)),
        );
    }
    if let Some(vouched) = vouched.filter(|vouched| *vouched > bytes.len() as u64) {
        let what =
            format!("it ends here, and the checkpoint promises {vouched} bytes: acknowledged records are missing");
        report.damage(log, bytes.len() as u64, what);
    }
    for found in walk::batches(bytes) {
        let batch = match found {
            Ok(batch) => batch,
            Err(broken) => {
                stopped(files, base, log, bytes, broken, vouched, report);
                break;
            }
        };
        let header = &batch.header;
        let position = batch.position as u64;
        let is_intact = batch.is_intact();
        if !is_intact && vouched.is_some_and(|vouched| position >= vouched) {
            report.note(format!(
                "{} at byte {position}: a batch that no checkpoint vouches for fails its CRC",
                log.display()
            ));
        } else if !is_intact {
            report.damage(log, position, format!("the batch at offset {} fails its CRC", header.base_offset));
        }
        if header.base_offset < expected {
            report.damage(
                log,
                position,
                format!("a batch at offset {} after offset {}", header.base_offset, expected - 1),
            );
        }
        expected = expected.max(header.last_offset() + 1);
        let codec =
            header.codec().map_or_else(|| format!("unknown ({})", header.codec_id()), |codec| codec.name().to_owned());
        let producer = if header.has_producer() {
            format!("{}/{} #{}", header.producer_id, header.producer_epoch, header.base_sequence)
        } else {
            "-".to_owned()
        };
        rows.add_row([
            position.to_string(),
            format!("{}..{}", header.base_offset, header.last_offset()),
            batch.bytes.len().to_string(),
            header.records_count.to_string(),
            codec.clone(),
            producer,
            header.leader_epoch.to_string(),
            header.max_timestamp.to_string(),
            if is_intact { "ok" } else { "BAD" }.to_owned(),
        ]);
        let mut document = json!({
            "position": position, "base_offset": header.base_offset, "last_offset": header.last_offset(),
            "bytes": batch.bytes.len(), "records": header.records_count, "codec": codec,
            "producer_id": header.producer_id, "producer_epoch": header.producer_epoch,
            "base_sequence": header.base_sequence, "leader_epoch": header.leader_epoch,
            "max_timestamp": header.max_timestamp, "is_transactional": header.is_transactional(),
            "is_control": header.is_control(), "crc_ok": is_intact,
        });
        if with_records && is_intact {
            match records(&batch, &mut decompressor) {
                Ok(list) => {
                    for record in &list {
                        rows.add_row([
                            String::new(),
                            format!("  {}", record["offset"]),
                            String::new(),
                            String::new(),
                            String::new(),
                            format!("key {}", record["key"]),
                            String::new(),
                            record["timestamp"].to_string(),
                            record["value"].to_string(),
                        ]);
                    }
                    document["record_list"] = Value::Array(list);
                }
                Err(why) => report.damage(log, position, format!("its records cannot be read: {why}")),
            }
        }
        batches.push(document);
    }
    *end = Some(expected);
    report.table(format!("{} ({} bytes, {} batches)", log.display(), bytes.len(), batches.len()), rows);
    json!({"file": log.display().to_string(), "base_offset": base, "end_offset": expected, "bytes": bytes.len(), "batches": batches})
}

/// The walk ended before the bytes did: what a crash leaves behind the vouched part, or damage.
fn stopped(
    files: &PartitionFiles,
    base: i64,
    log: &Path,
    bytes: &[u8],
    broken: Broken,
    vouched: Option<u64>,
    report: &mut Report,
) {
    let position = broken.position();
    let rest = &bytes[position..];
    let is_tail = match vouched {
        Some(vouched) => position as u64 >= vouched,
        // Nothing is vouched for yet: writes end in zeros up to a whole block, whichever segment they are of, and the last
        // one may be torn.
        None => {
            rest.iter().all(|byte| *byte == 0) || (base == files.last_base && matches!(broken, Broken::Torn { .. }))
        }
    };
    if is_tail {
        let what = if rest.iter().all(|byte| *byte == 0) { "zeros" } else { "bytes" };
        report.note(format!(
            "{}: {} {what} at its end are of no whole batch; a start cuts them off",
            log.display(),
            rest.len()
        ));
    } else {
        report.damage(log, position as u64, broken);
    }
}

fn records(batch: &Batch<'_>, decompressor: &mut Decompressor) -> Result<Vec<Value>, String> {
    let codec = batch.header.codec().ok_or("its codec is unknown")?;
    let plain = decompressor.decompress(codec, batch.stored_records()).map_err(|error| error.to_string())?;
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Records::new(&batch.header, plain)
        .map(|record| {
            let record = record.map_err(|error| error.to_string())?;
            let headers: Vec<Value> =
                record.headers.into_iter().map(|header| json!([text(Some(header.key)), text(header.value)])).collect();
            Ok(json!({
                "offset": record.offset, "timestamp": record.timestamp, "key": text(record.key),
                "value": text(record.value), "headers": headers,
            }))
        })
        .collect()
}
