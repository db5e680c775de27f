//! Checks indexes against the batches that they point to.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::Table;
use serde_json::{Value, json};

use super::locate::{PartitionFiles, partitions};
use super::{Failure, Report, cannot_read, table_of_numbers};
use crate::log::aborted::{self, AbortedTransaction};
use crate::log::index::Indexes;
use crate::model::Offset;
use crate::record::control::{Ending, Marker};
use crate::record::walk;

/// Reports the indexes of the selected segments.
pub fn inspect(path: &Path, report: &mut Report) -> Result<(), Failure> {
    let columns = ["segment", "offset entries", "time entries", "largest timestamp", "aborted transactions"];
    let mut rows = table_of_numbers(&columns, 1);
    let mut documents = Vec::new();
    for files in partitions(path, report)? {
        for (base, log) in &files.logs {
            documents.extend(inspect_one(&files, *base, log, &mut rows, report)?);
        }
    }
    report.table("indexes", rows);
    report.field("indexes", Value::Array(documents));
    Ok(())
}

/// Adds one segment to the table and returns its document. `None` if its indexes are missing or damaged.
fn inspect_one(
    files: &PartitionFiles,
    base: Offset,
    log: &Path,
    rows: &mut Table,
    report: &mut Report,
) -> Result<Option<Value>, Failure> {
    let bytes = std::fs::read(log).map_err(|error| cannot_read(log, error))?;
    let covered_bytes = files.covered_bytes(base, bytes.len() as u64).unwrap_or(bytes.len() as u64);
    let batches: Vec<walk::Batch<'_>> = walk::batches(&bytes).map_while(Result::ok).collect();
    let aborted = aborted_transactions(log, &batches, covered_bytes, report)?;
    let (index, timeindex) = (log.with_extension("index"), log.with_extension("timeindex"));
    let (Ok(offsets), Ok(times)) = (std::fs::read(&index), std::fs::read(&timeindex)) else {
        report.note(format!("{}: no indexes; the node rebuilds them when it needs them", log.display()));
        return Ok(None);
    };
    let indexes = match Indexes::parse(&offsets, &times, (bytes.len() as u64).max(1)) {
        Ok(indexes) => indexes,
        Err(why) => {
            report.damage(&index, 0, format!("{why} (or those of its .timeindex); the next start rebuilds them"));
            return Ok(None);
        }
    };
    check_offsets(&index, &indexes, base, &batches, covered_bytes, report);
    let largest = indexes.times.last().map_or(-1, |entry| entry.timestamp);
    rows.add_row([
        log.display().to_string(),
        indexes.offsets.len().to_string(),
        indexes.times.len().to_string(),
        largest.to_string(),
        aborted.len().to_string(),
    ]);
    let offsets: Vec<Value> =
        indexes.offsets.iter().map(|e| json!([base + i64::from(e.relative_offset), e.position])).collect();
    let times: Vec<Value> =
        indexes.times.iter().map(|e| json!([e.timestamp, base + i64::from(e.relative_offset)])).collect();
    let aborted: Vec<Value> =
        aborted.iter().map(|a| json!([a.producer_id, a.first_offset, a.last_offset, a.last_stable_offset])).collect();
    let file = index.display().to_string();
    Ok(Some(json!({"file": file, "offsets": offsets, "times": times, "aborted": aborted})))
}

/// Checks that each covered offset entry names the position and the last offset of a batch.
fn check_offsets(
    index: &Path,
    indexes: &Indexes,
    base: Offset,
    batches: &[walk::Batch<'_>],
    covered_bytes: u64,
    report: &mut Report,
) {
    let ends: BTreeMap<u64, Offset> =
        batches.iter().map(|batch| (batch.position as u64, batch.header.last_offset())).collect();
    for (number, entry) in indexes.offsets.iter().enumerate() {
        let position = u64::from(entry.position);
        let offset = base + i64::from(entry.relative_offset);
        // The next start truncates entries beyond the covered bytes, together with those bytes.
        if position < covered_bytes && ends.get(&position) != Some(&offset) {
            let found = ends
                .get(&position)
                .map_or("no batch begins there".to_owned(), |end| format!("the batch there ends at {end}"));
            let what = format!("an entry has offset {offset} at byte {position}, but {found}");
            report.damage(index, number as u64 * 8, what);
        }
    }
}

/// The aborted transactions of a segment, each checked against its marker. Empty without a `.txnindex`.
fn aborted_transactions(
    log: &Path,
    batches: &[walk::Batch<'_>],
    covered_bytes: u64,
    report: &mut Report,
) -> Result<Vec<AbortedTransaction>, Failure> {
    let path = log.with_extension("txnindex");
    let entries = match std::fs::read(&path) {
        Ok(entries) => aborted::parse(&entries),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot_read(&path, error)),
    };
    let entries = match entries {
        Ok(entries) => entries,
        Err(why) => {
            report.damage(&path, 0, format!("{why}; the next start rebuilds it"));
            return Ok(Vec::new());
        }
    };
    let mut by_last_offset: BTreeMap<Offset, usize> =
        entries.iter().enumerate().map(|(number, entry)| (entry.last_offset, number)).collect();
    // An entry without a batch is not damage: compaction may have removed the marker. Bytes that no checkpoint covers
    // are not checked.
    for batch in batches.iter().take_while(|batch| (batch.position as u64) < covered_bytes) {
        let header = &batch.header;
        let in_batch: Vec<Offset> =
            by_last_offset.range(header.base_offset..=header.last_offset()).map(|(offset, _)| *offset).collect();
        for offset in in_batch {
            let number = by_last_offset.remove(&offset).expect("the range has just returned it");
            let producer_id = entries[number].producer_id;
            let marker = Marker::parse(header, batch.stored_records());
            if header.producer_id != producer_id || marker.is_none_or(|marker| marker.ending != Ending::Abort) {
                let what = format!(
                    "an entry names an abort of producer {producer_id} at offset {offset}, which has no such marker"
                );
                report.damage(&path, (number * aborted::ENTRY_BYTES) as u64, what);
            }
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::{BatchBuilder, BatchOptions};
    use crate::record::header::patch_base_offset;

    #[test]
    fn aborted_entry_without_its_marker_is_damage() {
        let root = std::env::temp_dir().join(format!("tidemill-inspect-aborted-{}", std::process::id()));
        let directory = root.join("t-0");
        std::fs::create_dir_all(&directory).unwrap();
        let mut records =
            BatchBuilder::new(BatchOptions { is_transactional: true, producer_id: 7, ..BatchOptions::default() });
        records.append(1, None, Some(b"value"), []);
        let mut bytes = records.finish();
        let (header, records) = Marker { ending: Ending::Abort, coordinator_epoch: 0 }.batch(7, 0, 1, false);
        let mut marker = [&header.encode()[..], &records].concat();
        patch_base_offset(&mut marker, Offset(1));
        bytes.extend(marker);
        let file = |extension: &str| directory.join("00000000000000000000").with_extension(extension);
        std::fs::write(file("log"), bytes).unwrap();
        std::fs::write(file("index"), []).unwrap();
        std::fs::write(file("timeindex"), []).unwrap();
        let entry = |producer_id, last_offset| AbortedTransaction {
            producer_id,
            first_offset: Offset(0),
            last_offset,
            last_stable_offset: last_offset + 1,
        };
        for (entries, damaged_at) in [
            (vec![entry(7, Offset(1))], None),
            (vec![entry(8, Offset(1))], Some(0)),
            (vec![entry(7, Offset(0)), entry(7, Offset(1))], Some(0)),
            (vec![entry(6, Offset(0)), entry(6, Offset(1))], Some(0)),
        ] {
            std::fs::write(file("txnindex"), aborted::render(&entries)).unwrap();
            let mut report = Report::default();
            inspect(&directory, &mut report).unwrap();
            assert_eq!(report.damage.first().map(|damage| damage.position), damaged_at, "{:?}", report.damage);
            assert!(report.damage.iter().all(|damage| damage.file == file("txnindex")), "{:?}", report.damage);
        }
        std::fs::write(file("txnindex"), [0; aborted::ENTRY_BYTES - 1]).unwrap();
        let mut report = Report::default();
        inspect(&directory, &mut report).unwrap();
        assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
