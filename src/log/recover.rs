//! Opening a log: its files are made consistent with the state in the checkpoint.
//!
//! With a checkpoint entry, the entry is the truth. Segments behind it, and bytes behind its position, were written but
//! not flushed: recovery drops them, and the journal brings them again. If a segment is missing or shorter than in
//! the entry, acknowledged records are lost, and opening the log fails.
//!
//! Without an entry (a topic created since the last checkpoint, or a directory copied from an Apache Kafka broker),
//! recovery checks every batch against its CRC. The log ends before the first batch that fails, as in Kafka's own
//! recovery. Recovery then flushes the files: the process that wrote them may have been killed before it did.

use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use super::aborted::{AbortedTransaction, ENTRY_BYTES, OpenTransactions};
use super::clean::swap;
use super::directory::LogDirectory;
use super::epochs::Epochs;
use super::index::Indexes;
use super::segment::file::{cut, flush, length_of};
use super::segment::{
    PeekError, Peeked, SCAN_BYTES, Segment, Times, file_path, index_batch, read_aborted, rebuild_indexes,
};
use super::tail::Memory;
use super::{Log, StorageError};
use crate::config::TopicConfig;
use crate::disk::checkpoint::{PartitionState, SealedSegment};
use crate::disk::earlier;
use crate::model::{LeaderEpoch, Offset, Position};
use crate::record::control::Marker;
use crate::record::header::{BatchHeader, HEADER_BYTES};
use crate::runtime::dir;

/// The first byte of a batch that its CRC covers.
const CRC_FROM: u64 = 21;

/// The origin of a log's files, known before they are read.
pub enum Known<'a> {
    /// The state in the shard's checkpoint.
    Checkpointed(&'a PartitionState),
    /// The log was created here since the last checkpoint, and the journal has all of it.
    Journaled,
    /// The files were copied from another broker.
    Nothing,
}

/// Called with each batch that no checkpoint vouches for, and with the marker in it, if any.
pub type OnBatch<'a> = dyn FnMut(&BatchHeader, Option<Marker>) + 'a;

/// Waits until no write of an earlier process is in flight to a file that [`Log::open`] reads or continues.
pub async fn wait_for_writes(directory: &Path, known: &Known<'_>) -> Result<(), StorageError> {
    if !dir::exists(directory) {
        return Ok(());
    }
    let paths = match known {
        // The checkpoint vouches for the sealed segments, and names the active one.
        Known::Checkpointed(state) => vec![file_path(directory, state.segment_base_offset, "log")],
        Known::Journaled | Known::Nothing => {
            let names = dir::list(directory).map_err(StorageError::io("list directory", directory))?;
            names.iter().filter(|name| name.ends_with(".log")).map(|name| directory.join(name)).collect()
        }
    };
    for path in paths.iter().filter(|path| dir::exists(path)) {
        earlier::wait_for_writes(path).await?;
    }
    Ok(())
}

impl Log {
    /// Creates an empty log and its directory.
    pub async fn create(directory: &Path, config: Rc<TopicConfig>, memory: Rc<Memory>) -> Result<Log, StorageError> {
        dir::create_all(directory).await.map_err(StorageError::io("create directory", directory))?;
        let directory = LogDirectory::new(directory);
        let segments = VecDeque::from([Segment::new(&directory, Offset::ZERO, memory.clone())]);
        Ok(Log::assemble(directory, config, segments, Offset::ZERO, Epochs::default(), memory))
    }

    /// Replays a log start from the journal. The log has everything that was appended before this entry.
    ///
    /// # Errors
    /// If the log ends below `offset`: records are missing.
    pub fn replay_log_start(&self, offset: Offset) -> Result<(), StorageError> {
        let end = self.end_offset();
        if offset > end {
            let why =
                format!("it ends at offset {end}, but its log start in the journal is {offset}: records are missing");
            return Err(StorageError::format("a partition's log", self.directory(), why));
        }
        self.decide_log_start(offset);
        self.advance_log_start(offset);
        if offset >= self.segments.borrow()[0].base_offset {
            self.missing_segments.take();
        }
        Ok(())
    }

    /// Fails if segments are missing after the journal was replayed to its end: their records are lost.
    pub fn require_no_missing_segments(&self) -> Result<(), StorageError> {
        self.missing_segments.take().map_or(Ok(()), Err)
    }

    /// Opens the log in `directory`. Calls `on_batch` with every batch that the checkpoint does not vouch for.
    ///
    /// # Errors
    /// If files are missing or shorter than in the checkpoint, are unreadable, or cannot be changed.
    pub async fn open(
        directory: &Path,
        config: Rc<TopicConfig>,
        known: Known<'_>,
        memory: Rc<Memory>,
        on_batch: &mut OnBatch<'_>,
    ) -> Result<Log, StorageError> {
        if !dir::exists(directory) {
            if let Known::Checkpointed(state) = known
                && state.end_offset > Offset(0)
            {
                let why = format!("it is missing, and held records up to offset {}", state.end_offset);
                return Err(StorageError::format("a partition's directory", directory, why));
            }
            return Log::create(directory, config, memory).await;
        }
        // No checkpoint names swaps in a directory created since the last one. In a directory from Apache Kafka a swap
        // is whole, and the segments that it replaces may be removed already.
        let swapped = |base| match known {
            Known::Checkpointed(state) => {
                state.sealed.iter().find(|named| named.is_swap && named.base_offset == base).map(|named| named.bytes)
            }
            Known::Journaled => None,
            Known::Nothing => Some(0),
        };
        swap::recover_swaps(directory, swapped).await?;
        let bases = segment_bases(directory).await?;
        match known {
            Known::Checkpointed(state) => open_checkpointed(directory, config, state, bases, memory).await,
            Known::Journaled => open_unknown(directory, config, bases, false, memory, on_batch).await,
            Known::Nothing => open_unknown(directory, config, bases, true, memory, on_batch).await,
        }
    }
}

/// The base offsets of the `.log` files, ascending. Removes leftovers of removed segments.
async fn segment_bases(directory: &Path) -> Result<Vec<Offset>, StorageError> {
    let names = dir::list(directory).map_err(StorageError::io("list directory", directory))?;
    let mut bases = Vec::new();
    for name in names {
        if name.ends_with(".deleted") || name.ends_with(".new") {
            let path = directory.join(&name);
            dir::remove_file(&path).await.map_err(StorageError::io("remove leftover", &path))?;
        } else if let Some(base) = name.strip_suffix(".log") {
            let base = base.parse().ok().map(Offset).filter(|base| *base >= Offset::ZERO && name.len() == 24);
            let refuse = || StorageError::format("a segment's name", directory.join(&name), "it is not 20 digits");
            bases.push(base.ok_or_else(refuse)?);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

async fn remove_files(directory: &Path, base: Offset) -> Result<(), StorageError> {
    remove(directory, base, &["log", "index", "timeindex", "txnindex", "snapshot"]).await
}

async fn remove_indexes(directory: &Path, base: Offset) -> Result<(), StorageError> {
    remove(directory, base, &["index", "timeindex"]).await
}

async fn remove(directory: &Path, base: Offset, extensions: &[&str]) -> Result<(), StorageError> {
    for extension in extensions {
        let path = file_path(directory, base, extension);
        if dir::exists(&path) {
            dir::remove_file(&path).await.map_err(StorageError::io("remove segment", &path))?;
        }
    }
    Ok(())
}

async fn open_checkpointed(
    directory: &Path,
    config: Rc<TopicConfig>,
    state: &PartitionState,
    bases: Vec<Offset>,
    memory: Rc<Memory>,
) -> Result<Log, StorageError> {
    let active_base = state.segment_base_offset;
    let (sealed, missing_segments) = present(directory, &config, state, &bases)?;
    let shared = LogDirectory::new(directory);
    let mut segments = VecDeque::new();
    for (at, SealedSegment { base_offset, bytes, max_timestamp, offset_of_max, .. }) in
        sealed.iter().copied().enumerate()
    {
        require_length(&file_path(directory, base_offset, "log"), bytes).await?;
        let end = sealed.get(at + 1).map_or(active_base, |next| next.base_offset);
        let times = Times { max_timestamp, offset_of_max, first_append_ms: -1 };
        let existing = Segment::existing(&shared, base_offset, bytes, end, times, None, true, memory.clone());
        segments.push_back(existing);
    }
    let times = Times {
        max_timestamp: state.segment_max_timestamp,
        offset_of_max: state.segment_offset_of_max_timestamp,
        first_append_ms: state.segment_first_append_ms,
    };
    let path = file_path(directory, active_base, "log");
    let size = state.segment_position;
    if bases.contains(&active_base) {
        require_length(&path, size).await?;
    } else if size > 0 {
        return Err(missing(directory, active_base, state.end_offset));
    }
    // Check that every necessary file exists before any file is removed.
    let is_kept = |base: Offset| base == active_base || sealed.iter().any(|segment| segment.base_offset == base);
    for base in bases.iter().filter(|base| !is_kept(**base)) {
        // Written behind the checkpoint, or removed by retention and brought back by a power failure.
        remove_files(directory, *base).await?;
    }
    let active = Segment::existing(&shared, active_base, size, state.end_offset, times, None, false, memory.clone());
    if size == 0 {
        active.set_indexes(Indexes::default());
        segments.push_back(active);
    } else if reopen_active_indexes(&active, state).await? {
        segments.push_back(active);
    } else {
        segments.extend(seal_unindexed(&active, memory.clone()).await?);
    }
    let aborted_counts = sealed.iter().map(|segment| segment.aborted).chain([state.segment_aborted]);
    reopen_aborted(&segments, aborted_counts).await?;
    let start = state.log_start_offset.max(segments[0].base_offset);
    let log = Log::assemble(shared, config, segments, start, Epochs::new(state.leader_epochs.clone()), memory);
    log.cleaned_to.set(state.cleaned_to);
    log.checkpointed_base.set(active_base);
    *log.missing_segments.borrow_mut() = missing_segments;
    log.swap_is_named.set(state.sealed.iter().any(|segment| segment.is_swap));
    Ok(log)
}

/// Replaces an active segment whose indexes are lost: a sealed one without indexes, and an empty one behind it. If the
/// process ends before the next checkpoint, recovery repeats this.
async fn seal_unindexed(active: &Rc<Segment>, memory: Rc<Memory>) -> Result<[Rc<Segment>; 2], StorageError> {
    let (directory, base, end) = (active.directory(), active.base_offset, active.end_offset());
    tracing::info!("{}: its indexes are lost, and the next read rebuilds them", active.log_path().display());
    // A remaining part of the files may look whole.
    remove_indexes(directory.path(), base).await?;
    let sealed = Segment::existing(directory, base, active.size(), end, active.times(), None, true, memory.clone());
    Ok([sealed, Segment::new(directory, end, memory)])
}

/// Reads the segments' indexes of aborted transactions, as far as the checkpoint vouches for them. If one is damaged,
/// rebuilds all: a transaction can begin in any segment before that of its marker.
async fn reopen_aborted(
    segments: &VecDeque<Rc<Segment>>,
    counts: impl Iterator<Item = u32>,
) -> Result<(), StorageError> {
    for (segment, count) in segments.iter().zip(counts) {
        let path = file_path(segment.directory().path(), segment.base_offset, "txnindex");
        let count = count as usize;
        if count == 0 {
            // The file was written behind the checkpoint.
            remove(segment.directory().path(), segment.base_offset, &["txnindex"]).await?;
            continue;
        }
        match read_aborted(&path, count).await {
            Ok(entries) => {
                cut(&path, (count * ENTRY_BYTES) as u64).await?;
                segment.set_aborted(entries, count);
            }
            Err(why) => {
                tracing::warn!("{}: {why}; rebuilding the indexes of aborted transactions", path.display());
                return rebuild_aborted(segments).await;
            }
        }
    }
    Ok(())
}

/// Walks a log's batches and rebuilds the indexes of aborted transactions from its markers.
async fn rebuild_aborted(segments: &VecDeque<Rc<Segment>>) -> Result<(), StorageError> {
    let mut open = OpenTransactions::default();
    for segment in segments {
        let mut aborted = Vec::new();
        let mut position = Position::ZERO;
        while let Some(batch) = segment.peek_or_load(position, SCAN_BYTES).await? {
            let (header, marker) = open_batch(segment, position, &batch).await?;
            aborted.extend(open.apply(&header, marker).and_then(|ended| ended.aborted));
            position += batch.bytes;
        }
        segment.set_aborted(aborted, 0);
    }
    Ok(())
}

/// Markers are small: a larger control batch is not read as one.
const MARKER_BYTES_MAX: u64 = 4096;

/// The header of the batch at `position`, and the marker in it, if any.
async fn open_batch(
    segment: &Rc<Segment>,
    position: Position,
    batch: &Peeked,
) -> Result<(BatchHeader, Option<Marker>), StorageError> {
    let header = BatchHeader::decode(&segment.head(position).await?).expect("61 bytes");
    if !header.is_control() {
        return Ok((header, None));
    }
    let end = position + batch.bytes.min(MARKER_BYTES_MAX);
    let stored = segment.slices(position + HEADER_BYTES as u64, end).await?.concat();
    Ok((header, Marker::parse(&header, &stored)))
}

/// The CRC of the batch at `position`. Never holds all of its bytes: a damaged length may reach to the segment's end.
async fn crc_of(segment: &Rc<Segment>, position: Position, batch: &Peeked) -> Result<u32, StorageError> {
    let (mut at, end) = (position + CRC_FROM, position + batch.bytes);
    let mut crc = 0;
    while at < end {
        let to = (at + SCAN_BYTES).min(end);
        crc = segment.slices(at, to).await?.iter().fold(crc, |crc, slice| crc32c::crc32c_append(crc, slice));
        at = to;
    }
    Ok(crc)
}

/// The checkpoint's sealed segments that exist. Only the first ones may be missing, if the log begins behind them.
///
/// Returns the error to report unless the journal brings such a log start. With retention the journal need not have
/// one: when disk and journal are full, retention removes segments without journaling it.
fn present<'a>(
    directory: &Path,
    config: &TopicConfig,
    state: &'a PartitionState,
    bases: &[Offset],
) -> Result<(&'a [SealedSegment], Option<StorageError>), StorageError> {
    let is_there = |segment: &SealedSegment| bases.contains(&segment.base_offset);
    let gone = state.sealed.iter().take_while(|segment| !is_there(segment)).count();
    let kept = &state.sealed[gone..];
    let ends = kept.iter().skip(1).map(|next| next.base_offset).chain([state.segment_base_offset]);
    if let Some((segment, end)) = kept.iter().zip(ends).find(|(segment, _)| !is_there(segment)) {
        return Err(missing(directory, segment.base_offset, end));
    }
    if gone == 0 {
        return Ok((kept, None));
    }
    tracing::info!(
        "{}: {gone} segments from offset {} on are gone since the last checkpoint",
        directory.display(),
        state.sealed[0].base_offset
    );
    let begins = kept.first().map_or(state.segment_base_offset, |first| first.base_offset);
    let is_explained = config.has_retention() || state.log_start_offset >= begins;
    Ok((kept, (!is_explained).then(|| missing(directory, state.sealed[0].base_offset, begins))))
}

fn missing(directory: &Path, base: Offset, end: Offset) -> StorageError {
    let why = format!("it is missing, and held the records from offset {base} to {end}");
    StorageError::format("a segment", file_path(directory, base, "log"), why)
}

/// Fails if the file has fewer than `bytes`; cuts off bytes behind them, which were not flushed.
async fn require_length(path: &Path, bytes: u64) -> Result<(), StorageError> {
    let found = length_of(path).await?;
    if found < bytes {
        let why =
            format!("it has {found} bytes and had {bytes} when it was last flushed: acknowledged records are missing");
        return Err(StorageError::format("a segment", path, why));
    }
    if found > bytes { cut(path, bytes).await } else { Ok(()) }
}

/// The most bytes of an active segment that recovery walks to restore lost index entries.
const REBUILD_BYTES_MAX: u64 = 128 << 10;

/// Loads the active segment's indexes from their files. The files are not flushed, so a power failure can lose any part
/// of them. Returns false if the lost part is large: the caller seals the segment, and the first reader rebuilds its
/// indexes in place of recovery.
async fn reopen_active_indexes(active: &Rc<Segment>, state: &PartitionState) -> Result<bool, StorageError> {
    let mut stored = active.read_indexes().await.unwrap_or_default();
    stored.truncate(active.base_offset, Position(active.size()), active.end_offset());
    let has_times = stored.times.len() >= state.segment_time_entries as usize;
    if !has_times || !is_last_entry_true(active, &stored).await {
        stored = Indexes::default();
    } else if stored.offsets.len() >= state.segment_index_entries as usize {
        active.set_indexes(stored);
        return Ok(true);
    }
    let covered = stored.offsets.last().map_or(Position::ZERO, |last| Position(u64::from(last.position)));
    if active.size() - covered.0 > REBUILD_BYTES_MAX {
        return Ok(false);
    }
    let stored = Indexes::of(&stored.offsets, &stored.times);
    active.set_indexes(rebuild_indexes(active, stored, covered).await?);
    Ok(true)
}

/// Whether the last entry of the offset index names a batch of the segment. True without entries.
async fn is_last_entry_true(active: &Rc<Segment>, indexes: &Indexes) -> bool {
    let Some(last) = indexes.offsets.last() else { return true };
    let expected = active.base_offset + i64::from(last.relative_offset);
    let found = active.peek_or_load(Position(u64::from(last.position)), SCAN_BYTES).await;
    matches!(found, Ok(Some(batch)) if batch.last_offset == expected)
}

/// Opens segments that no checkpoint vouches for: each batch must be whole, match its CRC and follow the one before.
/// `may_have_gaps`: another broker's compaction leaves gaps; in a log created here, a gap is a segment lost by a power
/// failure.
async fn open_unknown(
    directory: &Path,
    config: Rc<TopicConfig>,
    bases: Vec<Offset>,
    may_have_gaps: bool,
    memory: Rc<Memory>,
    on_batch: &mut OnBatch<'_>,
) -> Result<Log, StorageError> {
    let shared = LogDirectory::new(directory);
    let mut kept: Vec<(Offset, Scanned)> = Vec::new();
    let mut epochs = Epochs::default();
    let mut open = OpenTransactions::default();
    let mut end = bases.first().copied().filter(|_| may_have_gaps).unwrap_or(Offset::ZERO);
    let mut is_cut = false;
    for base in bases {
        if !is_cut && base > end && !may_have_gaps {
            tracing::warn!(
                "{}: the records from offset {end} to {base} are missing; the journal restores them",
                directory.display()
            );
            is_cut = true;
        }
        if is_cut || base < end {
            remove_files(directory, base).await?;
            continue;
        }
        let path = file_path(directory, base, "log");
        let length = length_of(&path).await?;
        let scan = Segment::existing(&shared, base, length, base, Times::NONE, None, false, memory.clone());
        let scanned = scan_segment(&scan, base, &mut epochs, &mut open, on_batch).await?;
        if scanned.size < length {
            tracing::warn!(
                "{}: truncated from {length} to {} bytes, at offset {}: {}",
                path.display(),
                scanned.size,
                scanned.end_offset,
                scanned.reason
            );
            cut(&path, scanned.size).await?;
            is_cut = true;
        }
        flush(&path).await?;
        if !may_have_gaps {
            // A power failure may have damaged them: the next read rebuilds them.
            remove_indexes(directory, base).await?;
        }
        // The entries found in the batches are stored before the next checkpoint.
        remove(directory, base, &["txnindex"]).await?;
        assert!(end <= base && base <= scanned.end_offset, "LOG-1: {base}..{} behind {end}", scanned.end_offset);
        end = scanned.end_offset;
        kept.push((base, scanned));
    }
    // The last kept segment is the active one.
    let sealed = kept.len().saturating_sub(1);
    let mut segments: VecDeque<Rc<Segment>> = VecDeque::new();
    for (at, (base, scanned)) in kept.into_iter().enumerate() {
        let Scanned { size, end_offset, times, indexes, aborted, .. } = scanned;
        let indexes = Some(indexes);
        let memory = memory.clone();
        let segment = Segment::existing(&shared, base, size, end_offset, times, indexes, at < sealed, memory);
        segment.set_aborted(aborted, 0);
        segments.push_back(segment);
    }
    if segments.is_empty() {
        segments.push_back(Segment::new(&shared, Offset::ZERO, memory.clone()));
    }
    for directory in [Some(directory), directory.parent()].into_iter().flatten() {
        dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
    }
    let start = segments[0].base_offset;
    Ok(Log::assemble(shared, config, segments, start, epochs, memory))
}

/// The part of a segment that a scan accepted, and the reason for its end.
struct Scanned {
    size: u64,
    end_offset: Offset,
    times: Times,
    indexes: Indexes,
    aborted: Vec<AbortedTransaction>,
    reason: String,
}

async fn scan_segment(
    segment: &Rc<Segment>,
    base: Offset,
    epochs: &mut Epochs,
    open: &mut OpenTransactions,
    on_batch: &mut OnBatch<'_>,
) -> Result<Scanned, StorageError> {
    let mut scanned = Scanned {
        size: 0,
        end_offset: base,
        times: Times::NONE,
        indexes: Indexes::default(),
        aborted: Vec::new(),
        reason: String::new(),
    };
    loop {
        let position = Position(scanned.size);
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
        if batch.base_offset < scanned.end_offset {
            scanned.reason = format!("its batch begins at offset {}, which an earlier batch has", batch.base_offset);
            return Ok(scanned);
        }
        let (header, marker) = open_batch(segment, position, &batch).await?;
        if crc_of(segment, position, &batch).await? != header.crc {
            scanned.reason = "its batch does not match its CRC".into();
            return Ok(scanned);
        }
        index_batch(&mut scanned.indexes, &mut scanned.times, base, position, &batch);
        epochs.note(LeaderEpoch(batch.leader_epoch), batch.base_offset);
        scanned.aborted.extend(open.apply(&header, marker).and_then(|ended| ended.aborted));
        on_batch(&header, marker);
        assert!(batch.last_offset >= batch.base_offset, "a batch ends before it begins: {batch:?}");
        scanned.size += batch.bytes;
        scanned.end_offset = batch.last_offset + 1;
        assert!(scanned.size <= segment.size(), "a scan ends at the segment's end");
    }
}
