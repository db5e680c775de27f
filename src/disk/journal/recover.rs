//! Replays a journal: reads its groups in order, from a checkpoint's start to the last whole one.
//!
//! The journal ends before the first missing group, which was never written, is torn, or is of an earlier lap. Each
//! group names the sequence up to which all groups were on stable storage when it was sealed. If a whole group names
//! the missing group in this way, the missing group is lost data and not a torn tail, and replay fails. An idle journal
//! ends with a closing group, so that this also holds for its last group with entries (JRN-4).

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::files::JournalFile;
use super::group::{self, Damage, GroupHeader, JournalEntry};
use super::marks::Marks;
use super::{Journal, JournalSettings, ReplayStart, Sequence};
use crate::disk::{BLOCK_BYTES, StorageError, block_ceil, is_aligned};
use crate::runtime::buf::{AlignedBuf, Shared};
use crate::runtime::dir;
use crate::runtime::file::{File, Open};

/// The bytes of one read.
const WINDOW_BYTES: usize = 4 << 20;

const _: () = assert!(WINDOW_BYTES.is_multiple_of(BLOCK_BYTES), "O_DIRECT");

/// One verified group.
pub struct Group {
    /// The verified header. Every entry is verified too.
    pub header: GroupHeader,
    /// The number of its file.
    pub file: u32,
    /// The byte in the file where it begins.
    pub position: u64,
    /// The entries in order, each with the range of its payload in `bytes`.
    pub entries: Vec<(JournalEntry, std::ops::Range<usize>)>,
    /// The read window, which contains the payloads.
    pub bytes: Shared,
}

impl Group {
    /// The entries in order, each with its payload.
    pub fn entries(&self) -> impl Iterator<Item = (&JournalEntry, &[u8])> {
        self.entries.iter().map(|(entry, range)| (entry, &self.bytes[range.clone()]))
    }
}

/// A journal that is replayed, before the first append to it.
pub struct Replay {
    settings: JournalSettings,
    id: u64,
    files: Vec<JournalFile>,
    next: ReplayStart,
    needed_from: Sequence,
    marks: Marks,
    window: Option<Window>,
}

struct Window {
    file: u32,
    from: u64,
    bytes: usize,
    buf: Shared,
}

impl Replay {
    /// Opens the journal `id` at `start`. The checkpoint holds both.
    pub async fn open(settings: JournalSettings, id: u64, start: ReplayStart) -> Result<Replay, StorageError> {
        let names = dir::list(&settings.directory).map_err(StorageError::io("list directory", &settings.directory))?;
        for unfinished in names.iter().filter(|name| name.ends_with(".filling")) {
            let path = settings.directory.join(unfinished);
            match dir::remove_file(&path).await {
                // The writer ended while the kernel renamed the file, which was filled: it is replaced when it is
                // needed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(StorageError::io("remove unfinished file", &path))?,
            }
        }
        let count = names.iter().filter(|name| name.ends_with(".journal")).count() as u32;
        let mut files = Vec::with_capacity(count as usize);
        for number in 0..count {
            files.push(JournalFile::open(&settings.directory, id, number).await?);
        }
        let Some(first) = files.get(start.file as usize) else {
            return Err(StorageError::format(
                "a journal",
                &settings.directory,
                format!("replay starts in file {}, but only {count} files exist", start.file),
            ));
        };
        if start.position > first.bytes || !start.position.is_multiple_of(BLOCK_BYTES as u64) {
            let why = format!("replay starts at byte {} of {}", start.position, first.bytes);
            return Err(StorageError::format("a journal", &first.path, why));
        }
        let mut marks = Marks::default();
        marks.release(start);
        Ok(Replay { settings, id, files, next: start, needed_from: start.sequence, marks, window: None })
    }

    /// The next group, or `None` at the journal's end.
    pub async fn next_group(&mut self) -> Result<Option<Group>, StorageError> {
        let (file, position) = (self.next.file, self.next.position);
        if let Some(group) = self.group_at(file, position).await? {
            return Ok(Some(group));
        }
        // The writer skips the rest of a file when the next group does not fit into it.
        for file in 0..self.files.len() as u32 {
            let was_read = file == self.next.file && position == BLOCK_BYTES as u64;
            if !was_read && let Some(group) = self.group_at(file, BLOCK_BYTES as u64).await? {
                return Ok(Some(group));
            }
        }
        self.require_no_hole().await?;
        Ok(None)
    }

    /// The next group of the journal, if the bytes at this position are exactly that group.
    async fn group_at(&mut self, file: u32, position: u64) -> Result<Option<Group>, StorageError> {
        let Some(header) = self.header_at(file, position).await? else { return Ok(None) };
        let expected = header.identity.journal_id == self.id
            && header.identity.sequence == self.next.sequence
            && header.identity.session >= self.next.session
            && header.identity.previous_checksum == self.next.previous_checksum;
        if !expected {
            return Ok(None);
        }
        match self.verified(file, position, &header).await? {
            Ok(group) => {
                assert!(
                    header.identity.sequence > self.files[file as usize].last_sequence,
                    "sequences ascend in a file"
                );
                assert!(is_aligned(position, header.total_bytes), "groups are whole blocks");
                self.files[file as usize].last_sequence = header.identity.sequence;
                self.marks.note(ReplayStart { file, position, lap: header.identity.lap, ..self.next });
                self.next = ReplayStart {
                    file,
                    position: position + header.total_bytes as u64,
                    sequence: header.identity.sequence.next(),
                    previous_checksum: header.checksum,
                    session: header.identity.session,
                    lap: header.identity.lap,
                };
                Ok(Some(group))
            }
            Err(damage) => {
                let path = &self.files[file as usize].path;
                tracing::warn!(
                    "{} ends at byte {position}: group {} is torn or damaged: {damage}",
                    path.display(),
                    header.identity.sequence
                );
                Ok(None)
            }
        }
    }

    async fn header_at(&mut self, file: u32, position: u64) -> Result<Option<GroupHeader>, StorageError> {
        let Some((window, at)) = self.bytes_at(file, position, BLOCK_BYTES).await? else { return Ok(None) };
        Ok(GroupHeader::parse(&window[at..at + BLOCK_BYTES]))
    }

    /// Reads and verifies the group with this header.
    async fn verified(
        &mut self,
        file: u32,
        position: u64,
        header: &GroupHeader,
    ) -> Result<Result<Group, Damage>, StorageError> {
        let Some((window, at)) = self.bytes_at(file, position, header.total_bytes).await? else {
            return Ok(Err(Damage::Header));
        };
        let bytes = &window[at..at + header.total_bytes];
        Ok(group::read_entries(header, bytes).map(|entries| {
            let base = window.as_ptr() as usize;
            let entries = entries
                .into_iter()
                .map(|(entry, batch)| {
                    let from = batch.as_ptr() as usize - base;
                    (entry, from..from + batch.len())
                })
                .collect();
            Group { header: *header, file, position, entries, bytes: window.clone() }
        }))
    }

    /// A window that holds `bytes` at this position, and where they begin in it. `None` if the file ends before.
    async fn bytes_at(
        &mut self,
        file: u32,
        position: u64,
        bytes: usize,
    ) -> Result<Option<(Shared, usize)>, StorageError> {
        if let Some(window) = &self.window
            && window.file == file
            && position >= window.from
            && position + bytes as u64 <= window.from + window.bytes as u64
        {
            return Ok(Some((window.buf.clone(), (position - window.from) as usize)));
        }
        assert!(is_aligned(position, 0), "groups begin at whole blocks");
        let journal_file = &self.files[file as usize];
        if position + bytes as u64 > journal_file.bytes {
            return Ok(None);
        }
        let length = block_ceil(bytes).max(WINDOW_BYTES).min((journal_file.bytes - position) as usize);
        let handle = journal_file.file.clone();
        self.window = None;
        let buf = AlignedBuf::alloc(length)
            .map_err(|over| StorageError::Refused(format!("no memory to replay the journal: {over}")))?;
        let (read, buf) = handle.read_at(buf, 0, length, position).await;
        let read = read.map_err(StorageError::io("read journal", &self.files[file as usize].path))?;
        let buf = buf.freeze();
        self.window = Some(Window { file, from: position, bytes: read, buf: buf.clone() });
        Ok((read >= bytes).then_some((buf, 0)))
    }

    /// Verifies that the end found is the journal's end: fails if a whole group proves that the missing one was
    /// flushed.
    async fn require_no_hole(&mut self) -> Result<(), StorageError> {
        let missing = self.next;
        for file in 0..self.files.len() as u32 {
            // Groups are contiguous from a file's start, or from the end of replay in the file where it ended. Damage
            // can hide where the next group begins, so each block is checked.
            let mut position = if file == missing.file { missing.position } else { BLOCK_BYTES as u64 };
            while position < self.files[file as usize].bytes {
                let header =
                    self.header_at(file, position).await?.filter(|header| header.identity.journal_id == self.id);
                let at = position;
                position += BLOCK_BYTES as u64;
                let Some(header) = header else { continue };
                // In another file, all groups after an old group are older still.
                let is_old = header.identity.sequence < missing.sequence && file != missing.file;
                let is_proof = header.proves(missing.sequence);
                if !(is_old || is_proof) || self.verified(file, at, &header).await?.is_err() {
                    continue;
                }
                if is_proof {
                    let path = &self.files[missing.file as usize].path;
                    return Err(StorageError::format(
                        "a journal",
                        path,
                        format!(
                            "group {} is damaged or missing at byte {}, and was flushed before group {}, \
                             which is whole: acknowledged records would be lost. Keep a copy of the data directory \
                             and see `tidemill inspect`",
                            missing.sequence, missing.position, header.identity.sequence
                        ),
                    ));
                }
                break;
            }
        }
        Ok(())
    }

    /// The number of files.
    pub fn files_count(&self) -> u32 {
        self.files.len() as u32
    }

    /// The position after the last replayed group.
    pub fn position(&self) -> ReplayStart {
        self.next
    }

    /// Opens the journal for appends after the last whole group, as session number `session`. Flushes the replayed
    /// groups first: the process that wrote them may have been killed before its flush, and later groups depend on
    /// them.
    pub async fn into_journal(mut self, session: u64) -> Result<Rc<Journal>, StorageError> {
        assert!(session > self.next.session, "a session number is used once");
        self.window = None;
        for file in self.files.iter().filter(|file| file.last_sequence > Sequence::ZERO) {
            file.file.sync_data().await.map_err(StorageError::flush("flush journal file", &file.path))?;
        }
        let directory = &self.settings.directory;
        dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
        Ok(Journal::assemble(self.settings, self.id, session, self.files, self.next, self.needed_from, self.marks))
    }
}

/// A journal file in `directory` that holds a group, if there is one.
pub async fn used_file(directory: &Path) -> Result<Option<PathBuf>, StorageError> {
    let names = dir::list(directory).map_err(StorageError::io("list directory", directory))?;
    for name in names.iter().filter(|name| name.ends_with(".journal")) {
        let path = directory.join(name);
        let open = Open { read: true, ..Open::default() };
        let file = File::open(&path, open).await.map_err(StorageError::io("open journal file", &path))?;
        let first = file.read_vec(group::HEADER_BYTES, BLOCK_BYTES as u64).await;
        let first = first.map_err(StorageError::io("read journal file", &path))?;
        if GroupHeader::parse(&first).is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
