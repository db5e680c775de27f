//! Prints the journals: the groups that a recovery would replay, and the other groups in the files.
//!
//! The live range starts at the position in the checkpoint. A group belongs to it if its sequence, its session and the
//! checksum of its predecessor match. The journal is damaged if the live range ends although a complete group elsewhere
//! proves that the next group was flushed; a node refuses to start with it. A torn group at the end is normal after a
//! crash.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::locate::{checkpoints, data_directory};
use super::{Failure, Report, cannot_read, table_of_numbers};
use crate::disk::checkpoint::CheckpointHead;
use crate::disk::journal::ReplayStart;
use crate::disk::journal::files::FileHeader;
use crate::disk::journal::group::{self, GroupHeader};
use crate::disk::layout::DataDirectory;
use crate::disk::{BLOCK_BYTES, block_ceil};

/// One file of a journal.
struct JournalFile {
    path: PathBuf,
    bytes: Vec<u8>,
    groups: Vec<Group>,
}

/// A complete group of any lap.
struct Group {
    /// In bytes from the start of the file.
    position: u64,
    header: GroupHeader,
    entries: usize,
    batches: usize,
    batch_bytes: usize,
}

/// Reports the journals of all shards. `journal_dir` is the setting `journal.dir` of the node.
pub fn inspect(path: &Path, journal_dir: Option<&Path>, with_groups: bool, report: &mut Report) -> Result<(), Failure> {
    let (data, meta) = data_directory(path, report)?;
    let data = DataDirectory::new(data.root, journal_dir.map(Path::to_owned));
    let mut documents = Vec::new();
    for (shard, _, checkpoint) in checkpoints(&data, &meta, report) {
        let directory = data.journal_directory(meta.layout, shard);
        let files = read(&directory, &checkpoint.head, report)?;
        documents.push(inspect_one(shard, &files, &checkpoint.head, with_groups, report));
    }
    report.field("journals", Value::Array(documents));
    Ok(())
}

/// Reads all files of a journal, and reports damaged file headers.
fn read(directory: &Path, checkpoint: &CheckpointHead, report: &mut Report) -> Result<Vec<JournalFile>, Failure> {
    let mut files = Vec::new();
    for number in 0.. {
        let path = crate::disk::journal::files::path_of(directory, number);
        if !path.is_file() {
            break;
        }
        let bytes = std::fs::read(&path).map_err(|error| cannot_read(&path, error))?;
        match FileHeader::parse(&bytes) {
            None => report.damage(&path, 0, "its header is damaged or of another version"),
            Some(header) if header.journal_id != checkpoint.journal_id => {
                let (found, named) = (header.journal_id, checkpoint.journal_id);
                let what = format!("it belongs to journal {found:016x}, but the checkpoint names {named:016x}");
                report.damage(&path, 8, what);
            }
            Some(header) if header.number != number || header.bytes != bytes.len() as u64 => {
                let what = format!("its header is that of file {} with {} bytes", header.number, header.bytes);
                report.damage(&path, 16, what);
            }
            Some(_) => {}
        }
        let groups = complete_groups(&bytes, checkpoint.journal_id);
        files.push(JournalFile { path, bytes, groups });
    }
    if files.is_empty() {
        return Err(Failure::with_hint(
            format!("{} contains no journal files", directory.display()),
            "if the node runs with journal.dir, use --journal-dir",
        ));
    }
    Ok(files)
}

/// All complete groups in a file, in order.
fn complete_groups(bytes: &[u8], journal_id: u64) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut position = BLOCK_BYTES;
    while position < bytes.len() {
        let found = group_at(bytes, position).filter(|group| group.header.identity.journal_id == journal_id);
        position += found.as_ref().map_or(BLOCK_BYTES, |group| group.header.total_bytes.max(BLOCK_BYTES));
        groups.extend(found);
    }
    groups
}

fn group_at(bytes: &[u8], position: usize) -> Option<Group> {
    let header = GroupHeader::parse(bytes.get(position..)?)?;
    let whole = bytes.get(position..position.checked_add(header.total_bytes)?)?;
    let entries = group::read_entries(&header, whole).ok()?;
    let batch_bytes = entries.iter().map(|(_, batch)| batch.len()).sum();
    let batches = entries.iter().filter(|(entry, _)| entry.kind == group::EntryKind::Batch).count();
    Some(Group { position: position as u64, header, entries: entries.len(), batches, batch_bytes })
}

fn inspect_one(
    shard: u16,
    files: &[JournalFile],
    checkpoint: &CheckpointHead,
    with_groups: bool,
    report: &mut Report,
) -> Value {
    let start = ReplayStart::from(checkpoint.start);
    let live = live_groups(files, start);
    let columns = ["file", "bytes", "whole groups", "live groups", "live batches", "live bytes"];
    let mut rows = table_of_numbers(&columns, 1);
    let mut documents = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let own: Vec<&Group> = live.iter().filter(|(at, _)| *at == number).map(|(_, group)| *group).collect();
        let batches: usize = own.iter().map(|group| group.batches).sum();
        let bytes: usize = own.iter().map(|group| group.header.total_bytes).sum();
        let counts = [file.bytes.len(), file.groups.len(), own.len(), batches, bytes];
        rows.add_row(std::iter::once(file.path.display().to_string()).chain(counts.map(|count| count.to_string())));
        documents.push(json!({
            "file": file.path.display().to_string(), "bytes": counts[0], "whole_groups": counts[1],
            "live_groups": counts[2], "live_batches": counts[3], "live_bytes": counts[4],
        }));
    }
    let (groups, batches) = (live.len(), live.iter().map(|(_, group)| group.batches).sum::<usize>());
    let title = format!(
        "shard {shard}: journal {:016x}, session {}, replay from group {} at byte {} of file {}: {groups} groups, \
         {batches} batches{}",
        checkpoint.journal_id,
        checkpoint.session,
        start.sequence,
        start.position,
        start.file,
        if checkpoint.is_clean { " (stopped cleanly)" } else { "" }
    );
    report.table(title, rows);
    let listed = live.iter().map(|(file, group)| {
        let GroupHeader { identity, is_flushed, total_bytes, used_bytes, .. } = group.header;
        json!({
            "file": file, "position": group.position, "sequence": identity.sequence, "session": identity.session,
            "lap": identity.lap, "entries": group.entries, "bytes": total_bytes, "batch_bytes": group.batch_bytes,
            "image_bytes": total_bytes - block_ceil(used_bytes), "is_flushed": is_flushed,
        })
    });
    let listed: Vec<Value> = if with_groups { listed.collect() } else { Vec::new() };
    if with_groups {
        // `image_bytes`: blocks of segments that hold large batches.
        let columns = [
            "sequence",
            "file",
            "position",
            "session",
            "lap",
            "entries",
            "bytes",
            "batch_bytes",
            "image_bytes",
            "is_flushed",
        ];
        let mut rows = table_of_numbers(&columns, 0);
        for group in &listed {
            rows.add_row(columns.map(|column| group[column].to_string()));
        }
        report.table(format!("shard {shard}: live groups"), rows);
    }
    check_end(files, start, &live, report);
    json!({
        "shard": shard, "journal_id": format!("{:016x}", checkpoint.journal_id), "session": checkpoint.session,
        "start_sequence": start.sequence, "start_file": start.file, "start_position": start.position,
        "live_groups": groups, "live_batches": batches, "is_clean": checkpoint.is_clean, "files": documents,
        "groups": listed,
    })
}

/// The groups that a recovery would replay, in order, each with the index of its file.
fn live_groups(files: &[JournalFile], start: ReplayStart) -> Vec<(usize, &Group)> {
    let mut live: Vec<(usize, &Group)> = Vec::new();
    let (mut sequence, mut session, mut previous) = (start.sequence, start.session, start.previous_checksum);
    let (mut file, mut position) = (start.file as usize, start.position);
    loop {
        let fits = |group: &&Group| {
            let identity = &group.header.identity;
            identity.sequence == sequence && identity.session >= session && identity.previous_checksum == previous
        };
        // The next group follows its predecessor. If the rest of the file was too short for it, it starts another file.
        let here = files.get(file).and_then(|f| f.groups.iter().find(|group| group.position == position).filter(fits));
        let next = here.map(|group| (file, group)).or_else(|| {
            let firsts = files.iter().enumerate();
            firsts
                .filter_map(|(at, f)| Some((at, f.groups.iter().find(|group| group.position == BLOCK_BYTES as u64)?)))
                .find(|(_, group)| fits(group))
        });
        let Some((at, group)) = next else { return live };
        live.push((at, group));
        (file, position) = (at, group.position + group.header.total_bytes as u64);
        (sequence, session, previous) = (sequence.next(), group.header.identity.session, group.header.checksum);
    }
}

/// Checks the end of the live range. It is damaged if a later group proves that the next group was flushed.
fn check_end(files: &[JournalFile], start: ReplayStart, live: &[(usize, &Group)], report: &mut Report) {
    let (file, position, sequence) =
        live.last().map_or((start.file as usize, start.position, start.sequence), |(at, group)| {
            (*at, group.position + group.header.total_bytes as u64, group.header.identity.sequence.next())
        });
    let Some(ended) = files.get(file) else {
        let path = files.last().map_or(Path::new(""), |file| &file.path);
        let what = format!("the checkpoint starts in file {file}, but the journal has {} files", files.len());
        report.damage(path, 0, what);
        return;
    };
    let ahead = files
        .iter()
        .flat_map(|file| &file.groups)
        .filter(|group| group.header.proves(sequence))
        .map(|group| group.header.identity.sequence)
        .min();
    if let Some(ahead) = ahead {
        let what = format!(
            "group {sequence} is damaged or missing, but group {ahead} after it is complete: acknowledged records \
             are lost"
        );
        report.damage(&ended.path, position, what);
        return;
    }
    let header = ended.bytes.get(position as usize..).and_then(GroupHeader::parse);
    if header.is_some_and(|header| {
        header.identity.sequence == sequence && header.identity.previous_checksum == last_checksum(start, live)
    }) {
        report.note(format!(
            "{}: group {sequence} at byte {position} is torn; it was not acknowledged",
            ended.path.display()
        ));
    }
}

/// The checksum that the next group must name as its predecessor's.
fn last_checksum(start: ReplayStart, live: &[(usize, &Group)]) -> u32 {
    live.last().map_or(start.previous_checksum, |(_, group)| group.header.checksum)
}
