//! Prints the metadata log and the image at its end.

use std::path::{Path, PathBuf};

use comfy_table::Table;
use serde_json::{Value, json};

use super::locate::data_directory;
use super::{Failure, Report, cannot_read};
use crate::controller::recover::{RecoverError, recover};
use crate::metadata::Image;
use crate::model::counted;
use crate::tools::output::{align_right, table};

/// Reports the newest metadata log of a data directory.
pub fn inspect(path: &Path, report: &mut Report) -> Result<(), Failure> {
    let (data, meta) = data_directory(path, report)?;
    let log = newest_log(&data.metadata_directory())?;
    let bytes = std::fs::read(&log).map_err(|error| cannot_read(&log, error))?;
    let recovered = match recover(&bytes) {
        Ok(recovered) => recovered,
        Err(refused) => {
            let (RecoverError::Damaged { at, .. }
            | RecoverError::Unreadable { at, .. }
            | RecoverError::Order { at, .. }
            | RecoverError::DoesNotApply { at, .. }) = refused;
            report.damage(&log, at, refused);
            return Ok(());
        }
    };
    if let Some((bytes, why)) = &recovered.torn {
        report.note(format!(
            "{}: its last {bytes} bytes are not an entry: a torn write, or damage ({why})",
            log.display()
        ));
    }
    let image = &recovered.image;
    if image.cluster_id != meta.cluster_id {
        let (found, expected) = (&image.cluster_id, &meta.cluster_id);
        report.damage(&log, 0, format!("it belongs to cluster {found}, but meta.properties names {expected}"));
    }
    let (rows, topics) = topics(image);
    let nodes: Vec<Value> = image
        .nodes()
        .map(|node| json!({"id": node.id.0, "incarnation": node.incarnation, "shards": node.shards, "rack": node.rack}))
        .collect();
    report.table(
        format!(
            "{}: cluster {}, index {}, term {}, {} of {} bytes whole; layout {} for {}, {}",
            log.display(),
            image.cluster_id,
            image.index,
            recovered.term,
            recovered.valid_bytes,
            bytes.len(),
            meta.layout,
            counted(meta.shards.into(), "shard"),
            counted(nodes.len(), "node")
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

/// The metadata log with the highest number.
fn newest_log(directory: &Path) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(directory).map_err(|error| cannot_read(directory, error))?;
    let mut logs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "tml"));
    logs.sort();
    logs.pop().ok_or_else(|| Failure::new(format!("{} contains no metadata log", directory.display())))
}

/// The topics of the image, as a table and as documents.
fn topics(image: &Image) -> (Table, Vec<Value>) {
    let mut rows = table(&["topic", "id", "partitions", "settings"]);
    let mut documents = Vec::new();
    for topic in image.topics() {
        let (name, id) = (topic.name.to_string(), topic.id.to_string());
        let settings: Vec<String> = topic.overrides.iter().map(|(name, value)| format!("{name}={value}")).collect();
        rows.add_row([name.clone(), id.clone(), topic.partitions.len().to_string(), settings.join(" ")]);
        let leaders: Vec<Value> = topic.partitions.iter().map(|p| json!(p.leader.map(|leader| leader.0))).collect();
        documents.push(json!({ "name": name, "id": id, "leaders": leaders, "settings": topic.overrides }));
    }
    align_right(&mut rows, [2]);
    (rows, documents)
}
