//! Opening a log: what its files hold, made consistent with what the checkpoint promises.
//!
//! With a checkpoint entry, the entry is the truth: segments behind it and bytes behind its position were written
//! but not flushed, so they are dropped, and the journal brings them again. A file that has less than the entry
//! says has lost acknowledged records, and the log refuses to open. Without an entry (a topic made since the last
//! checkpoint, or a directory copied from an Apache Kafka broker) every batch is checked against its CRC, and the
//! log ends before the first that fails, as Kafka's own recovery does it.

use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use super::epochs::Epochs;
use super::index::Indexes;
use super::segment::{PeekError, Peeked, Segment, Times, file_path};
use super::tail::Memory;
use super::{Log, Settings, StorageError};
use crate::disk::checkpoint::PartitionState;
use crate::model::Offset;
use crate::runtime::buf::Slice;
use crate::runtime::dir;
use crate::runtime::file::{File, Open};

/// How much a scan loads at a time.
const SCAN_BYTES: u64 = 1 << 20;
/// Where a batch's CRC lies, and from where on it counts.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

impl Log {
    /// A log of which nothing exists yet. The directory is made with the first write.
    pub async fn create(directory: &Path, settings: Rc<Settings>, memory: Rc<Memory>) -> Result<Log, StorageError> {
        dir::create_all(directory).await.map_err(StorageError::io("create directory", directory))?;
        let segments = VecDeque::from([Segment::new(directory, 0, memory.clone())]);
        Ok(Log::assemble(directory, settings, segments, 0, Epochs::default(), memory))
    }

    /// Opens what is in `directory`. `on_batch` is told of every batch that the checkpoint does not vouch for:
    /// its header's 61 bytes.
    pub async fn open(
        directory: &Path,
        settings: Rc<Settings>,
        checkpoint: Option<&PartitionState>,
        memory: Rc<Memory>,
        on_batch: &mut dyn FnMut(&[u8]),
    ) -> Result<Log, StorageError> {
        if !dir::exists(directory) {
            if let Some(state) = checkpoint.filter(|state| state.segment_position > 0) {
                let why = format!("it is missing, and held records up to offset {}", state.end_offset);
                return Err(StorageError::format("a partition's directory", directory, why));
            }
            return Log::create(directory, settings, memory).await;
        }
        let bases = segment_bases(directory).await?;
        match checkpoint {
            Some(state) => open_checkpointed(directory, settings, state, bases, memory).await,
            None => open_unknown(directory, settings, bases, memory, on_batch).await,
        }
    }
}

/// The base offsets of the `.log` files, ascending. Leftovers of removed segments are cleared away.
async fn segment_bases(directory: &Path) -> Result<Vec<Offset>, StorageError> {
    let names = dir::list(directory).map_err(StorageError::io("list directory", directory))?;
    let mut bases = Vec::new();
    for name in names {
        if name.ends_with(".deleted") || name.ends_with(".new") {
            let path = directory.join(&name);
            dir::remove_file(&path).await.map_err(StorageError::io("remove leftover", &path))?;
        } else if let Some(base) = name.strip_suffix(".log") {
            let base = base.parse::<Offset>().ok().filter(|base| *base >= 0 && name.len() == 24);
            let refuse = || StorageError::format("a segment's name", directory.join(&name), "it is not 20 digits");
            bases.push(base.ok_or_else(refuse)?);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

async fn length_of(path: &Path) -> Result<u64, StorageError> {
    let file = File::open(path, Open { read: true, ..Open::default() })
        .await
        .map_err(StorageError::io("open segment", path))?;
    file.len().await.map_err(StorageError::io("measure segment", path))
}

async fn cut(path: &Path, length: u64) -> Result<(), StorageError> {
    let open = Open { read: true, write: true, ..Open::default() };
    let file = File::open(path, open).await.map_err(StorageError::io("open segment", path))?;
    file.set_len(length).await.map_err(StorageError::io("cut segment", path))
}

async fn remove_files(directory: &Path, base: Offset) -> Result<(), StorageError> {
    for extension in ["log", "index", "timeindex", "txnindex", "snapshot"] {
        let path = file_path(directory, base, extension);
        if dir::exists(&path) {
            dir::remove_file(&path).await.map_err(StorageError::io("remove segment", &path))?;
        }
    }
    Ok(())
}

async fn open_checkpointed(
    directory: &Path,
    settings: Rc<Settings>,
    state: &PartitionState,
    bases: Vec<Offset>,
    memory: Rc<Memory>,
) -> Result<Log, StorageError> {
    let active_base = state.segment_base_offset;
    for base in bases.iter().filter(|base| **base > active_base) {
        remove_files(directory, *base).await?;
    }
    let mut segments = VecDeque::new();
    let sealed: Vec<Offset> = bases.iter().copied().filter(|base| *base < active_base).collect();
    for (at, base) in sealed.iter().enumerate() {
        let size = length_of(&file_path(directory, *base, "log")).await?;
        let end = sealed.get(at + 1).copied().unwrap_or(active_base);
        segments.push_back(Segment::existing(directory, *base, size, end, Times::NONE, None, true, memory.clone()));
    }
    let times = Times {
        max_timestamp: state.segment_max_timestamp,
        offset_of_max: state.segment_offset_of_max_timestamp,
        first_append_ms: state.segment_first_append_ms,
    };
    let path = file_path(directory, active_base, "log");
    let size = state.segment_position;
    let found = if bases.contains(&active_base) { length_of(&path).await? } else { 0 };
    if found < size {
        let why =
            format!("it has {found} bytes and had {size} when it was last flushed: acknowledged records are missing");
        return Err(StorageError::format("a segment", path, why));
    }
    if found > size {
        cut(&path, size).await?;
    }
    let active = Segment::existing(directory, active_base, size, state.end_offset, times, None, false, memory.clone());
    if size == 0 {
        active.set_indexes(Indexes::default());
    } else {
        reopen_active_indexes(&active).await?;
    }
    segments.push_back(active);
    let start = state.log_start_offset.max(segments[0].base_offset);
    Ok(Log::assemble(directory, settings, segments, start, Epochs::new(state.leader_epochs.clone()), memory))
}

/// The active segment's indexes, from what the last checkpoint stored of them, completed by walking the rest.
async fn reopen_active_indexes(active: &Rc<Segment>) -> Result<(), StorageError> {
    if let Ok(mut stored) = active.read_indexes().await {
        stored.cut(active.base_offset, active.size(), active.end_offset());
        let from = stored.offsets.last().map_or(0, |entry| u64::from(entry.position));
        let expected = stored.offsets.last().map(|entry| active.base_offset + Offset::from(entry.relative_offset));
        let found = peek(active, from).await;
        if matches!((found, expected), (Ok(Some(batch)), Some(last)) if batch.last_offset == last) {
            active.set_indexes(stored);
            return Ok(());
        }
    }
    let indexes = rebuild_indexes(active).await?;
    active.set_indexes(indexes);
    Ok(())
}

async fn peek(segment: &Rc<Segment>, position: u64) -> Result<Option<Peeked>, StorageError> {
    loop {
        match segment.peek(position) {
            Ok(found) => return Ok(found),
            Err(PeekError::Missing(missing)) => drop(segment.load(missing.position, SCAN_BYTES).await?),
            Err(PeekError::Damaged(position)) => {
                let why = format!("there is no whole batch at byte {position} of {}", segment.size());
                return Err(StorageError::format("a segment", segment.log_path(), why));
            }
        }
    }
}

/// Walks a segment's batches and makes its indexes anew, with Kafka's default interval.
pub async fn rebuild_indexes(segment: &Rc<Segment>) -> Result<Indexes, StorageError> {
    let mut indexes = Indexes::default();
    let mut times = Times::NONE;
    let mut position = 0;
    while let Some(batch) = peek(segment, position).await? {
        note(&mut indexes, &mut times, segment.base_offset, position, &batch);
        position += batch.bytes;
    }
    indexes.note_time(segment.base_offset, times.max_timestamp, times.offset_of_max);
    Ok(indexes)
}

fn note(indexes: &mut Indexes, times: &mut Times, base: Offset, position: u64, batch: &Peeked) {
    if batch.max_timestamp > times.max_timestamp {
        // The record itself is not looked for; its batch's last offset is what Kafka's rebuild takes too.
        *times = Times { max_timestamp: batch.max_timestamp, offset_of_max: batch.last_offset, ..*times };
    }
    let (timestamp, offset) = (times.max_timestamp, times.offset_of_max);
    indexes.note(base, batch.last_offset, position, batch.bytes, 4096, timestamp, offset);
}

/// Opens segments that nothing vouches for: each batch must be whole, match its CRC and follow the one before.
async fn open_unknown(
    directory: &Path,
    settings: Rc<Settings>,
    bases: Vec<Offset>,
    memory: Rc<Memory>,
    on_batch: &mut dyn FnMut(&[u8]),
) -> Result<Log, StorageError> {
    let mut segments: VecDeque<Rc<Segment>> = VecDeque::new();
    let mut epochs = Epochs::default();
    let mut end = bases.first().copied().unwrap_or(0);
    let mut is_cut = false;
    for (at, base) in bases.iter().copied().enumerate() {
        if is_cut || base < end {
            remove_files(directory, base).await?;
            continue;
        }
        let path = file_path(directory, base, "log");
        let length = length_of(&path).await?;
        let scan = Segment::existing(directory, base, length, base, Times::NONE, None, false, memory.clone());
        let scanned = scan_segment(&scan, base, &mut epochs, on_batch).await?;
        if scanned.size < length {
            tracing::warn!(
                "{}: cut from {length} to {} bytes, at offset {}: {}",
                path.display(),
                scanned.size,
                scanned.end_offset,
                scanned.reason
            );
            cut(&path, scanned.size).await?;
            is_cut = true;
        }
        end = scanned.end_offset;
        let is_sealed = at + 1 < bases.len() && !is_cut;
        let (times, indexes) = (scanned.times, Some(scanned.indexes));
        segments.push_back(Segment::existing(
            directory,
            base,
            scanned.size,
            end,
            times,
            indexes,
            is_sealed,
            memory.clone(),
        ));
    }
    if segments.is_empty() {
        segments.push_back(Segment::new(directory, 0, memory.clone()));
    }
    let start = segments[0].base_offset;
    Ok(Log::assemble(directory, settings, segments, start, epochs, memory))
}

struct Scanned {
    size: u64,
    end_offset: Offset,
    times: Times,
    indexes: Indexes,
    reason: String,
}

async fn scan_segment(
    segment: &Rc<Segment>,
    base: Offset,
    epochs: &mut Epochs,
    on_batch: &mut dyn FnMut(&[u8]),
) -> Result<Scanned, StorageError> {
    let mut scanned =
        Scanned { size: 0, end_offset: base, times: Times::NONE, indexes: Indexes::default(), reason: String::new() };
    loop {
        let position = scanned.size;
        let batch = match segment.peek(position) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(scanned),
            Err(PeekError::Missing(missing)) => {
                segment.load(missing.position, SCAN_BYTES).await?;
                continue;
            }
            Err(PeekError::Damaged(_)) => {
                scanned.reason = "no whole batch begins there".into();
                return Ok(scanned);
            }
        };
        let slices = segment.slices(position, position + batch.bytes).await?;
        if batch.base_offset < scanned.end_offset {
            scanned.reason = format!("its batch begins at offset {}, which is taken", batch.base_offset);
            return Ok(scanned);
        }
        let head = copy_head(&slices);
        if crc_of(&slices) != u32::from_be_bytes(head[CRC_AT..CRC_FROM].try_into().expect("4 bytes")) {
            scanned.reason = "its batch does not match its CRC".into();
            return Ok(scanned);
        }
        note(&mut scanned.indexes, &mut scanned.times, base, position, &batch);
        epochs.note(batch.leader_epoch, batch.base_offset);
        on_batch(&head);
        scanned.size += batch.bytes;
        scanned.end_offset = batch.last_offset + 1;
    }
}

fn copy_head(slices: &[Slice]) -> Vec<u8> {
    slices.iter().flat_map(|slice| slice.iter().copied()).take(61).collect()
}

fn crc_of(slices: &[Slice]) -> u32 {
    let mut skip = CRC_FROM;
    let mut crc = 0;
    for slice in slices {
        let skipped = skip.min(slice.len());
        skip -= skipped;
        crc = crc32c::crc32c_append(crc, &slice[skipped..]);
    }
    crc
}
