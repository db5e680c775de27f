//! Indexes, held against the batches that they point to.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::locate::partitions;
use super::{Failure, Report, cannot_read, table};
use crate::log::aborted::{self, AbortedTransaction};
use crate::log::index::Indexes;
use crate::record::control::{Ending, Marker};
use crate::record::walk;

pub fn inspect(path: &Path, report: &mut Report) -> Result<(), Failure> {
    let mut rows =
        table(&["segment", "offset entries", "time entries", "largest timestamp", "aborted transactions"], 1);
    let mut documents = Vec::new();
    for files in partitions(path, report)? {
        for (base, log) in &files.logs {
            let bytes = std::fs::read(log).map_err(|error| cannot_read(log, error))?;
            let vouched = files.vouched(*base, bytes.len() as u64).unwrap_or(bytes.len() as u64);
            let batches: Vec<walk::Batch<'_>> = walk::batches(&bytes).map_while(Result::ok).collect();
            let aborted = aborted(log, &batches, vouched, report)?;
            let (index, timeindex) = (log.with_extension("index"), log.with_extension("timeindex"));
            let (Ok(offsets), Ok(times)) = (std::fs::read(&index), std::fs::read(&timeindex)) else {
                report.note(format!("{}: no indexes; they are made anew when needed", log.display()));
                continue;
            };
            let indexes = match Indexes::parse(&offsets, &times, (bytes.len() as u64).max(1)) {
                Ok(indexes) => indexes,
                Err(why) => {
                    report.damage(&index, 0, format!("{why} (or those of its .timeindex); a start makes them anew"));
                    continue;
                }
            };
            let ends: BTreeMap<u64, i64> =
                batches.iter().map(|batch| (batch.position as u64, batch.header.last_offset())).collect();
            for (at, entry) in indexes.offsets.iter().enumerate() {
                let position = u64::from(entry.position);
                let offset = base + i64::from(entry.relative_offset);
                // An entry beyond what is vouched for goes at the next start, with the bytes that it points to.
                if position < vouched && ends.get(&position) != Some(&offset) {
                    let found = ends
                        .get(&position)
                        .map_or("no batch begins there".to_owned(), |end| format!("the batch there ends at {end}"));
                    report.damage(
                        &index,
                        at as u64 * 8,
                        format!("an entry says offset {offset} at byte {position}, and {found}"),
                    );
                }
            }
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
            let aborted: Vec<Value> = aborted
                .iter()
                .map(|a| json!([a.producer_id, a.first_offset, a.last_offset, a.last_stable_offset]))
                .collect();
            let file = index.display().to_string();
            documents.push(json!({"file": file, "offsets": offsets, "times": times, "aborted": aborted}));
        }
    }
    report.table("indexes", rows);
    report.field("indexes", Value::Array(documents));
    Ok(())
}

/// The segment's aborted transactions, each held against its marker; none where there is no `.txnindex`.
fn aborted(
    log: &Path,
    batches: &[walk::Batch<'_>],
    vouched: u64,
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
            report.damage(&path, 0, format!("{why}; a start makes it anew"));
            return Ok(Vec::new());
        }
    };
    let mut at: BTreeMap<i64, usize> = entries.iter().enumerate().map(|(at, entry)| (entry.last_offset, at)).collect();
    // Compaction may have taken a marker, and what is behind what is vouched for is not counted on.
    for batch in batches.iter().take_while(|batch| (batch.position as u64) < vouched) {
        let header = &batch.header;
        let covered: Vec<i64> =
            at.range(header.base_offset..=header.last_offset()).map(|(offset, _)| *offset).collect();
        for offset in covered {
            let number = at.remove(&offset).expect("found just now");
            let producer_id = entries[number].producer_id;
            let marker = Marker::parse(header, batch.stored_records());
            if header.producer_id != producer_id || marker.is_none_or(|marker| marker.ending != Ending::Abort) {
                let what = format!(
                    "an entry says that producer {producer_id} aborted at offset {offset}, where no such marker is"
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
    fn an_entry_of_the_aborted_is_held_against_its_marker() {
        let root = std::env::temp_dir().join(format!("tidemill-inspect-aborted-{}", std::process::id()));
        let directory = root.join("t-0");
        std::fs::create_dir_all(&directory).unwrap();
        let mut records =
            BatchBuilder::new(BatchOptions { is_transactional: true, producer_id: 7, ..BatchOptions::default() });
        records.append(1, None, Some(b"value"), []);
        let mut bytes = records.finish();
        let (header, records) = Marker { ending: Ending::Abort, coordinator_epoch: 0 }.batch(7, 0, 1, false);
        let mut marker = [&header.encode()[..], &records].concat();
        patch_base_offset(&mut marker, 1);
        bytes.extend(marker);
        let file = |extension: &str| directory.join("00000000000000000000").with_extension(extension);
        std::fs::write(file("log"), bytes).unwrap();
        std::fs::write(file("index"), []).unwrap();
        std::fs::write(file("timeindex"), []).unwrap();
        let entry = |producer_id, last_offset| AbortedTransaction {
            producer_id,
            first_offset: 0,
            last_offset,
            last_stable_offset: last_offset + 1,
        };
        for (entries, damaged_at) in [
            (vec![entry(7, 1)], None),
            (vec![entry(8, 1)], Some(0)),
            (vec![entry(7, 0), entry(7, 1)], Some(0)),
            (vec![entry(6, 0), entry(6, 1)], Some(0)),
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
