//! Prints checkpoints: the start of the replay, and the state of each partition at that point.

use std::path::Path;

use serde_json::{Value, json};

use super::locate::{checkpoints, data_directory};
use super::{Failure, Report, cannot_read, table_of_numbers};
use crate::disk::checkpoint::Checkpoint;

/// Reports one checkpoint file, or the checkpoints of a data directory.
pub fn inspect(path: &Path, report: &mut Report) -> Result<(), Failure> {
    let found = if path.is_file() {
        let bytes = std::fs::read(path).map_err(|error| cannot_read(path, error))?;
        match Checkpoint::parse(&bytes) {
            Ok(checkpoint) => vec![(path.to_owned(), checkpoint)],
            Err(why) => {
                report.damage(path, 0, why);
                Vec::new()
            }
        }
    } else {
        let (data, meta) = data_directory(path, report)?;
        checkpoints(&data, &meta, report).into_iter().map(|(_, path, checkpoint)| (path, checkpoint)).collect()
    };
    let documents = found.iter().map(|(path, checkpoint)| inspect_one(path, checkpoint, report)).collect();
    report.field("checkpoints", Value::Array(documents));
    Ok(())
}

fn inspect_one(path: &Path, checkpoint: &Checkpoint, report: &mut Report) -> Value {
    let Checkpoint { head, partitions: states } = checkpoint;
    let start = head.start;
    let columns = ["topic id", "partition", "log start", "compacted to", "segment", "position", "end", "producers"];
    let mut rows = table_of_numbers(&columns, 1);
    let mut partitions = Vec::new();
    for state in states {
        let topic = state.id().topic.to_string();
        let numbers = [
            i64::from(state.partition),
            state.log_start_offset.0,
            state.cleaned_to.0,
            state.segment_base_offset.0,
            state.segment_position as i64,
            state.end_offset.0,
            state.producers.len() as i64,
        ];
        rows.add_row(std::iter::once(topic.clone()).chain(numbers.map(|number| number.to_string())));
        partitions.push(json!({
            "topic_id": topic, "partition": state.partition, "log_start_offset": state.log_start_offset,
            "cleaned_to": state.cleaned_to, "needed_from": state.needed_from,
            "segment_base_offset": state.segment_base_offset, "segment_position": state.segment_position,
            "end_offset": state.end_offset, "leader_epochs": state.leader_epochs, "producers": state.producers.len(),
        }));
    }
    let stop = if head.is_clean { "clean" } else { "running" };
    report.table(
        format!(
            "{}: {stop}, journal {:016x}, session {}, replay from group {} at byte {} of file {}",
            path.display(),
            head.journal_id,
            head.session,
            start.sequence,
            start.position,
            start.file
        ),
        rows,
    );
    json!({
        "file": path.display().to_string(), "is_clean": head.is_clean,
        "metadata_index": head.metadata_index,
        "journal_id": format!("{:016x}", head.journal_id), "session": head.session,
        "start": {"file": start.file, "position": start.position, "sequence": start.sequence, "lap": start.lap},
        "partitions": partitions,
    })
}
