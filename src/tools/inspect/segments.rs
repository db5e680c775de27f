//! Prints the batches of segments, and checks the CRC and the offsets of each batch.

use std::path::Path;

use serde_json::{Value, json};

use super::locate::{PartitionFiles, partitions};
use super::{Failure, Report, cannot_read, table_of_numbers};
use crate::model::Offset;
use crate::record::codec::Decompressor;
use crate::record::records::Records;
use crate::record::walk::{self, Batch, Broken};

/// The largest decompressed batch that `--records` prints.
const DECODED_BYTES_MAX: usize = 1 << 30;

/// Reports the batches of the selected segments, and with `with_records` also their records.
pub fn inspect(path: &Path, with_records: bool, report: &mut Report) -> Result<(), Failure> {
    let mut documents = Vec::new();
    for files in partitions(path, report)? {
        let mut end = None;
        for (base, log) in &files.logs {
            let bytes = std::fs::read(log).map_err(|error| cannot_read(log, error))?;
            let covered_bytes = files.covered_bytes(*base, bytes.len() as u64);
            let segment = InspectedSegment { files: &files, base: *base, log, bytes: &bytes, covered_bytes };
            documents.push(segment.inspect(&mut end, with_records, report));
        }
        let Some(state) = &files.state else { continue };
        let has_last = files.logs.last().is_none_or(|(base, _)| *base == files.last_base);
        let has_active = files.logs.iter().any(|(base, _)| *base == state.segment_base_offset);
        if state.segment_position > 0 && !has_active && has_last && files.logs.len() != 1 {
            let missing = files.directory.join(format!("{:020}.log", state.segment_base_offset));
            let what = format!("it is missing, but the checkpoint covers {} bytes of it", state.segment_position);
            report.damage(&missing, 0, what);
        }
    }
    report.field("segments", Value::Array(documents));
    Ok(())
}

/// One segment in memory.
struct InspectedSegment<'a> {
    files: &'a PartitionFiles,
    base: Offset,
    log: &'a Path,
    bytes: &'a [u8],
    /// The number of bytes that the checkpoint covers.
    covered_bytes: Option<u64>,
}

impl InspectedSegment<'_> {
    /// Checks all batches and returns the document of the segment. `end` is the end offset of the previous segment, and
    /// afterwards that of this one.
    fn inspect(&self, end: &mut Option<Offset>, with_records: bool, report: &mut Report) -> Value {
        let columns = ["position", "offsets", "bytes", "records", "codec", "producer", "epoch", "max timestamp", "crc"];
        let mut rows = table_of_numbers(&columns, 0);
        let mut documents = Vec::new();
        let mut expected = end.unwrap_or(self.base).max(self.base);
        let mut decompressor = Decompressor::new(DECODED_BYTES_MAX);
        self.check_bounds(*end, report);
        for found in walk::batches(self.bytes) {
            let batch = match found {
                Ok(batch) => batch,
                Err(broken) => {
                    self.report_end(broken, report);
                    break;
                }
            };
            let is_intact = batch.is_intact();
            self.check_batch(&batch, is_intact, expected, report);
            expected = expected.max(batch.header.last_offset() + 1);
            rows.add_row(batch_row(&batch, is_intact));
            let mut document = batch_document(&batch, is_intact);
            if with_records && is_intact {
                match records(&batch, &mut decompressor) {
                    Ok(list) => {
                        list.iter().for_each(|record| _ = rows.add_row(record_row(record)));
                        document["record_list"] = Value::Array(list);
                    }
                    Err(why) => {
                        report.damage(self.log, batch.position as u64, format!("its records cannot be decoded: {why}"));
                    }
                }
            }
            documents.push(document);
        }
        *end = Some(expected);
        let (log, bytes) = (self.log.display().to_string(), self.bytes.len());
        report.table(format!("{log} ({bytes} bytes, {} batches)", documents.len()), rows);
        json!({
            "file": log, "base_offset": self.base, "end_offset": expected, "bytes": bytes, "batches": documents,
        })
    }

    /// Checks the start against the previous segment, and the length against the checkpoint.
    fn check_bounds(&self, previous_end: Option<Offset>, report: &mut Report) {
        if let Some(end) = previous_end.filter(|end| *end > self.base) {
            let what = format!("it begins at offset {}, but the segment before it ends at {end}", self.base);
            report.damage(self.log, 0, what);
        }
        let bytes = self.bytes.len() as u64;
        if let Some(covered_bytes) = self.covered_bytes.filter(|covered_bytes| *covered_bytes > bytes) {
            let what = format!(
                "it ends here, but the checkpoint covers {covered_bytes} bytes: acknowledged records are missing"
            );
            report.damage(self.log, bytes, what);
        }
    }

    /// Reports a batch that fails its CRC, or that overlaps the batch before it.
    fn check_batch(&self, batch: &Batch<'_>, is_intact: bool, expected: Offset, report: &mut Report) {
        let base_offset = batch.header.base_offset;
        let position = batch.position as u64;
        if !is_intact && self.covered_bytes.is_some_and(|covered_bytes| position >= covered_bytes) {
            let log = self.log.display();
            report.note(format!("{log} at byte {position}: a batch that no checkpoint covers fails its CRC"));
        } else if !is_intact {
            report.damage(self.log, position, format!("the batch at offset {base_offset} fails its CRC"));
        }
        if base_offset < expected {
            let what = format!("a batch at offset {base_offset} after offset {}", expected - 1);
            report.damage(self.log, position, what);
        }
    }

    /// Reports bytes that are not a complete batch: a note if a crash explains them, else damage.
    fn report_end(&self, broken: Broken, report: &mut Report) {
        let position = broken.position();
        let rest = &self.bytes[position..];
        let is_zeros = rest.iter().all(|byte| *byte == 0);
        let is_tail = match self.covered_bytes {
            Some(covered_bytes) => position as u64 >= covered_bytes,
            // Without a checkpoint: each segment may end in the zeros of its last block, and the last one may be torn.
            None => is_zeros || (self.base == self.files.last_base && matches!(broken, Broken::Torn { .. })),
        };
        if is_tail {
            let (log, what) = (self.log.display(), if is_zeros { "zeros" } else { "bytes" });
            report.note(format!(
                "{log}: the last {} {what} are not a complete batch; the next start truncates them",
                rest.len()
            ));
        } else {
            report.damage(self.log, position as u64, broken);
        }
    }
}

fn codec_name(batch: &Batch<'_>) -> String {
    let header = &batch.header;
    header.codec().map_or_else(|| format!("unknown ({})", header.codec_id()), |codec| codec.name().to_owned())
}

fn batch_row(batch: &Batch<'_>, is_intact: bool) -> [String; 9] {
    let header = &batch.header;
    let producer = if header.has_producer() {
        format!("{}/{} #{}", header.producer_id, header.producer_epoch, header.base_sequence)
    } else {
        "-".to_owned()
    };
    [
        batch.position.to_string(),
        format!("{}..{}", header.base_offset, header.last_offset()),
        batch.bytes.len().to_string(),
        header.records_count.to_string(),
        codec_name(batch),
        producer,
        header.leader_epoch.to_string(),
        header.max_timestamp.to_string(),
        if is_intact { "ok" } else { "BAD" }.to_owned(),
    ]
}

fn batch_document(batch: &Batch<'_>, is_intact: bool) -> Value {
    let header = &batch.header;
    json!({
        "position": batch.position, "base_offset": header.base_offset, "last_offset": header.last_offset(),
        "bytes": batch.bytes.len(), "records": header.records_count, "codec": codec_name(batch),
        "producer_id": header.producer_id, "producer_epoch": header.producer_epoch,
        "base_sequence": header.base_sequence, "leader_epoch": header.leader_epoch,
        "max_timestamp": header.max_timestamp, "is_transactional": header.is_transactional(),
        "is_control": header.is_control(), "crc_ok": is_intact,
    })
}

fn record_row(record: &Value) -> [String; 9] {
    let mut row = <[String; 9]>::default();
    row[1] = format!("  {}", record["offset"]);
    row[5] = format!("key {}", record["key"]);
    row[7] = record["timestamp"].to_string();
    row[8] = record["value"].to_string();
    row
}

/// The records of a batch as JSON.
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
