//! Prints the metadata log and the image at its end.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::locate::data_directory;
use super::{Failure, Report, cannot_read, table_of_numbers};
use crate::controller::recover::{Refused, recover};

/// Reports the newest metadata log of a data directory.
pub fn inspect(path: &Path, report: &mut Report) -> Result<(), Failure> {
    let (data, meta) = data_directory(path, report)?;
    let directory = data.metadata_directory();
    let entries = std::fs::read_dir(&directory).map_err(|error| cannot_read(&directory, error))?;
    let mut logs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "tml"));
    logs.sort();
    let Some(log) = logs.pop() else {
        return Err(Failure::new(format!("{} contains no metadata log", directory.display())));
    };
    let bytes = std::fs::read(&log).map_err(|error| cannot_read(&log, error))?;
    let recovered = match recover(&bytes) {
        Ok(recovered) => recovered,
        Err(refused) => {
            let (Refused::Damaged { at, .. }
            | Refused::Unreadable { at, .. }
            | Refused::Order { at, .. }
            | Refused::DoesNotApply { at, .. }) = refused;
            report.damage(&log, at, refused);
            return Ok(());
        }
    };
    if let Some((bytes, why)) = &recovered.torn {
        report.note(format!(
            "{}: its last {bytes} bytes are a torn write that was not acknowledged ({why})",
            log.display()
        ));
    }
    let image = &recovered.image;
    if image.cluster_id != meta.cluster_id {
        let (found, expected) = (&image.cluster_id, &meta.cluster_id);
        report.damage(&log, 0, format!("it belongs to cluster {found}, but meta.properties names {expected}"));
    }
    let mut rows = table_of_numbers(&["topic", "id", "partitions", "settings"], 2);
    let mut topics = Vec::new();
    for topic in image.topics() {
        let settings = format!("{:?}", topic.overrides);
        rows.add_row([
            topic.name.to_string(),
            topic.id.to_string(),
            topic.partitions.len().to_string(),
            settings.clone(),
        ]);
        let leaders: Vec<Value> = topic.partitions.iter().map(|p| json!(p.leader.map(|leader| leader.0))).collect();
        topics.push(json!({
            "name": topic.name.to_string(), "id": topic.id.to_string(), "leaders": leaders, "settings": settings,
        }));
    }
    let nodes: Vec<Value> = image
        .nodes()
        .map(|node| json!({"id": node.id.0, "incarnation": node.incarnation, "shards": node.shards, "rack": node.rack}))
        .collect();
    report.table(
        format!(
            "{}: cluster {}, index {}, term {}, {} of {} bytes whole; layout {} for {} shards, {} nodes",
            log.display(),
            image.cluster_id,
            image.index,
            recovered.term,
            recovered.valid_bytes,
            bytes.len(),
            meta.layout,
            meta.shards,
            nodes.len()
        ),
        rows,
    );
    for (name, value) in [
        ("file", json!(log.display().to_string())),
        ("cluster_id", json!(image.cluster_id)),
        ("index", json!(image.index)),
        ("term", json!(recovered.term)),
        ("layout", json!(meta.layout)),
        ("shards", json!(meta.shards)),
        ("nodes", json!(nodes)),
        ("topics", json!(topics)),
    ] {
        report.field(name, value);
    }
    Ok(())
}
