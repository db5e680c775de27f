//! Finds the partition files that a path selects, and the checkpoints that cover them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Failure, Report, cannot_read};
use crate::disk::checkpoint::{Checkpoint, PartitionState};
use crate::disk::layout::{DataDirectory, Meta};
use crate::model::{Offset, TopicId, TopicPartition};

/// The directory of a partition and its segments.
pub struct PartitionFiles {
    pub directory: PathBuf,
    /// The selected `.log` files with their base offsets, in order.
    pub logs: Vec<(Offset, PathBuf)>,
    /// The base offset of the partition's last segment, selected or not.
    pub last_base: Offset,
    /// The state of the partition in its shard's checkpoint.
    pub state: Option<PartitionState>,
    /// Whether the partition is in the data directory of a node. Recovery then restores bytes that no checkpoint covers
    /// from the journal.
    has_node: bool,
}

impl PartitionFiles {
    /// The number of bytes of the segment that a checkpoint covers. `None` if there are no checkpoints.
    pub fn covered_bytes(&self, base: Offset, file_bytes: u64) -> Option<u64> {
        let Some(state) = &self.state else { return self.has_node.then_some(0) };
        match base.cmp(&state.segment_base_offset) {
            std::cmp::Ordering::Less => Some(file_bytes),
            std::cmp::Ordering::Equal => Some(state.segment_position),
            std::cmp::Ordering::Greater => Some(0),
        }
    }
}

/// Opens a data directory for reading. Adds a note if a node is running on it.
pub fn data_directory(path: &Path, report: &mut Report) -> Result<(DataDirectory, Meta), Failure> {
    let data = DataDirectory::new(path, None);
    let meta = Meta::load(&data).map_err(|error| Failure::new(error.to_string()))?;
    let meta = meta.ok_or_else(|| {
        Failure::with_hint(
            format!("{} is not a data directory: it has no meta.properties", path.display()),
            "use the directory of `tidemill serve --data`",
        )
    })?;
    note_if_running(path, report);
    Ok((data, meta))
}

fn note_if_running(root: &Path, report: &mut Report) {
    let Ok(lock) = std::fs::File::open(root.join(".lock")) else { return };
    if matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
        report.note(format!(
            "a node is running on {}: its files change during the inspection, and their ends may look torn",
            root.display()
        ));
    }
}

/// The partitions that `path` selects: that of one segment file, that of one directory, or all of a data directory.
pub fn partitions(path: &Path, report: &mut Report) -> Result<Vec<PartitionFiles>, Failure> {
    if path.is_file() {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = base_offset(path)
            .ok_or_else(|| Failure::new(format!("{} does not have the name of a segment", path.display())))?;
        let mut files = partition(directory, report)?;
        files.logs = vec![(base, path.to_owned())];
        return Ok(vec![files]);
    }
    if path.join("meta.properties").is_file() {
        let (data, meta) = data_directory(path, report)?;
        let states = states(&data, &meta, report);
        let mut all = Vec::new();
        for directory in listed(path)?.into_iter().filter(|entry| entry.is_dir() && partition_number(entry).is_some()) {
            let files = partition_files(directory, Some(&states))?;
            if !files.logs.is_empty() || files.state.is_some() {
                all.push(files);
            }
        }
        return Ok(all);
    }
    let files = partition(path, report)?;
    if files.logs.is_empty() {
        return Err(Failure::with_hint(
            format!("{} contains no segments", path.display()),
            "use a data directory, the directory of a partition, or a .log file",
        ));
    }
    Ok(vec![files])
}

/// The files of one partition directory. Uses the checkpoints of the data directory above it, if there is one.
fn partition(directory: &Path, report: &mut Report) -> Result<PartitionFiles, Failure> {
    let whole = directory.canonicalize().map_err(|error| cannot_read(directory, error))?;
    let states = match whole.parent() {
        Some(root) if root.join("meta.properties").is_file() => {
            let (data, meta) = data_directory(root, report)?;
            Some(states(&data, &meta, report))
        }
        _ => None,
    };
    partition_files(directory.to_owned(), states.as_ref())
}

fn partition_files(
    directory: PathBuf,
    states: Option<&HashMap<TopicPartition, PartitionState>>,
) -> Result<PartitionFiles, Failure> {
    let mut logs: Vec<(Offset, PathBuf)> =
        listed(&directory)?.into_iter().filter_map(|path| Some((base_offset(&path)?, path))).collect();
    logs.sort();
    let last_base = logs.last().map_or(Offset::ZERO, |(base, _)| *base);
    let text = std::fs::read_to_string(directory.join("partition.metadata")).unwrap_or_default();
    let topic = text.lines().find_map(|line| TopicId::from_base64(line.strip_prefix("topic_id:")?.trim()));
    let whole = directory.canonicalize().unwrap_or_else(|_| directory.clone());
    let id = topic.zip(partition_number(&whole)).map(|(topic, partition)| TopicPartition { topic, partition });
    let state = states.zip(id).and_then(|(states, id)| states.get(&id).cloned());
    if let Some(state) = &state {
        apply_pending_swaps(&mut logs, state);
    }
    Ok(PartitionFiles { directory, logs, last_base, state, has_node: states.is_some() })
}

/// Replaces segments with their compacted `.swap` files if the checkpoint names those. The next start of the node
/// renames them.
fn apply_pending_swaps(logs: &mut Vec<(Offset, PathBuf)>, state: &PartitionState) {
    if !state.sealed.iter().any(|segment| segment.is_swap) {
        return;
    }
    let named = |base: Offset| state.sealed.iter().find(|segment| segment.base_offset == base);
    logs.retain(|(base, _)| *base >= state.segment_base_offset || named(*base).is_some());
    for (base, path) in logs {
        let swap = path.with_extension("log.swap");
        if named(*base).is_some_and(|segment| segment.is_swap) && swap.is_file() {
            *path = swap;
        }
    }
}

/// The base offset in a segment file's name.
fn base_offset(path: &Path) -> Option<Offset> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    (digits.len() == 20).then(|| digits.parse().ok().map(Offset)).flatten()
}

fn partition_number(directory: &Path) -> Option<i32> {
    directory.file_name()?.to_str()?.rsplit_once('-')?.1.parse().ok()
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(directory).map_err(|error| cannot_read(directory, error))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| cannot_read(directory, error))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The checkpoints of all shards, in order. A damaged checkpoint is reported and left out.
pub fn checkpoints(data: &DataDirectory, meta: &Meta, report: &mut Report) -> Vec<(u16, PathBuf, Checkpoint)> {
    let mut found = Vec::new();
    for shard in 0..meta.shards {
        let path = data.checkpoint_path(meta.layout, shard);
        match std::fs::read(&path) {
            Ok(bytes) => match Checkpoint::parse(&bytes) {
                Ok(checkpoint) => found.push((shard, path, checkpoint)),
                Err(why) => report.damage(&path, 0, why),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                report.note(format!("{} does not exist: the shard has never completed a start", path.display()));
            }
            Err(error) => report.damage(&path, 0, error),
        }
    }
    found
}

fn states(data: &DataDirectory, meta: &Meta, report: &mut Report) -> HashMap<TopicPartition, PartitionState> {
    let all = checkpoints(data, meta, report).into_iter().flat_map(|(_, _, checkpoint)| checkpoint.partitions);
    all.map(|state| (state.id(), state)).collect()
}
