//! Indexes, held against the batches that they point to.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::place::partitions;
use super::{Failure, Report, cannot_read, table};
use crate::log::index::Indexes;
use crate::record::walk;

pub fn inspect(path: &Path, report: &mut Report) -> Result<(), Failure> {
    let mut rows = table(&["segment", "offset entries", "time entries", "largest timestamp"], 1);
    let mut documents = Vec::new();
    for files in partitions(path, report)? {
        for (base, log) in &files.logs {
            let bytes = std::fs::read(log).map_err(|error| cannot_read(log, error))?;
            let vouched = files.vouched(*base, bytes.len() as u64).unwrap_or(bytes.len() as u64);
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
            let ends: BTreeMap<u64, i64> = walk::batches(&bytes)
                .map_while(Result::ok)
                .map(|b| (b.position as u64, b.header.last_offset()))
                .collect();
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
            ]);
            let offsets: Vec<Value> =
                indexes.offsets.iter().map(|e| json!([base + i64::from(e.relative_offset), e.position])).collect();
            let times: Vec<Value> =
                indexes.times.iter().map(|e| json!([e.timestamp, base + i64::from(e.relative_offset)])).collect();
            documents.push(json!({"file": index.display().to_string(), "offsets": offsets, "times": times}));
        }
    }
    report.table("indexes", rows);
    report.field("indexes", Value::Array(documents));
    Ok(())
}
