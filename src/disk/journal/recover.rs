//! Replays a journal: reads its groups in order, from a checkpoint's start to the last whole one.
//!
//! The end of the journal is the first group that is not there: never written, torn, or of an earlier lap. Each group
//! says up to which one all were on stable storage when it was sealed. So when a whole group says so of one that is
//! not there, that is not a torn tail but lost data, and replay refuses to go on.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::files::JournalFile;
use super::group::{self, Damage, GroupHeader, JournalEntry};
use super::{Journal, JournalSettings, ReplayStart, Sequence};
use crate::disk::{BLOCK_BYTES, StorageError, block_ceil};
use crate::runtime::buf::{AlignedBuf, Shared};
use crate::runtime::dir;
use crate::runtime::file::{File, Open};

/// How much one read takes.
const WINDOW_BYTES: usize = 4 << 20;

/// One group, verified.
pub struct Group {
    pub header: GroupHeader,
    pub file: u32,
    pub position: u64,
    /// What it holds, in order: the entry and where its payload lies in `bytes`.
    pub entries: Vec<(JournalEntry, std::ops::Range<usize>)>,
    pub bytes: Shared,
}

impl Group {
    pub fn entries(&self) -> impl Iterator<Item = (&JournalEntry, &[u8])> {
        self.entries.iter().map(|(entry, range)| (entry, &self.bytes[range.clone()]))
    }
}

/// A journal being read, before anything is appended to it.
pub struct Replay {
    settings: JournalSettings,
    id: u64,
    files: Vec<JournalFile>,
    next: ReplayStart,
    needed_from: Sequence,
    window: Option<Window>,
}

struct Window {
    file: u32,
    from: u64,
    bytes: usize,
    buf: Shared,
}

impl Replay {
    /// Opens the journal `id` at `start`, both as its checkpoint names them.
    pub async fn open(settings: JournalSettings, id: u64, start: ReplayStart) -> Result<Replay, StorageError> {
        let names = dir::list(&settings.directory).map_err(StorageError::io("list directory", &settings.directory))?;
        for unfinished in names.iter().filter(|name| name.ends_with(".filling")) {
            let path = settings.directory.join(unfinished);
            dir::remove_file(&path).await.map_err(StorageError::io("remove unfinished file", &path))?;
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
                format!("replay starts in file {}, and there are {count}", start.file),
            ));
        };
        if start.position > first.bytes || !start.position.is_multiple_of(BLOCK_BYTES as u64) {
            let why = format!("replay starts at byte {} of {}", start.position, first.bytes);
            return Err(StorageError::format("a journal", &first.path, why));
        }
        Ok(Replay { settings, id, files, next: start, needed_from: start.sequence, window: None })
    }

    /// The next group, or `None` at the journal's end.
    pub async fn next_group(&mut self) -> Result<Option<Group>, StorageError> {
        let (file, position) = (self.next.file, self.next.position);
        if let Some(group) = self.group_at(file, position).await? {
            return Ok(Some(group));
        }
        // The writer skips the rest of a file that is too short for a group.
        for file in 0..self.files.len() as u32 {
            let is_looked_at = file == self.next.file && position == BLOCK_BYTES as u64;
            if !is_looked_at && let Some(group) = self.group_at(file, BLOCK_BYTES as u64).await? {
                return Ok(Some(group));
            }
        }
        self.refuse_a_hole().await?;
        Ok(None)
    }

    /// The group that belongs next, if it is whole at this place.
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
                self.files[file as usize].last_sequence = header.identity.sequence;
                self.next = ReplayStart {
                    file,
                    position: position + header.total_bytes as u64,
                    sequence: header.identity.sequence + 1,
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

    /// `bytes` at a place, read in windows. `None` where the file ends before.
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

    /// The end was found; makes sure that it is one. Looks for any whole group that was sealed after the one which is
    /// not there had been flushed.
    async fn refuse_a_hole(&mut self) -> Result<(), StorageError> {
        let missing = self.next;
        for file in 0..self.files.len() as u32 {
            // Groups lie back to back from a file's start, or, in the file where replay ended, from its end on. Damage can
            // hide where the next one begins, so every block may be one.
            let mut position = if file == missing.file { missing.position } else { BLOCK_BYTES as u64 };
            while position < self.files[file as usize].bytes {
                let header =
                    self.header_at(file, position).await?.filter(|header| header.identity.journal_id == self.id);
                let at = position;
                position += BLOCK_BYTES as u64;
                let Some(header) = header else { continue };
                // What lies behind one of before in another file is older still.
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
                            "group {} is damaged or missing at byte {}, and was flushed before group {}, which is whole: \
                             acknowledged records would be lost. Keep a copy of the data directory and see `tidemill inspect`",
                            missing.sequence, missing.position, header.identity.sequence
                        ),
                    ));
                }
                break;
            }
        }
        Ok(())
    }

    /// How many files there are.
    pub fn files_count(&self) -> u32 {
        self.files.len() as u32
    }

    /// How far replay has come, for progress and reports.
    pub fn position(&self) -> ReplayStart {
        self.next
    }

    /// Ready for appending, behind the last whole group, as session number `session`. What was replayed may have been
    /// written by a process that was killed before its flush: it is flushed here, for the next groups count on it.
    pub async fn into_journal(mut self, session: u64) -> Result<Rc<Journal>, StorageError> {
        assert!(session > self.next.session, "a session number is used once");
        self.window = None;
        for file in self.files.iter().filter(|file| file.last_sequence > 0) {
            file.file.sync_data().await.map_err(StorageError::flush("flush journal file", &file.path))?;
        }
        let directory = &self.settings.directory;
        dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
        Ok(Journal::assemble(self.settings, self.id, session, self.files, self.next, self.needed_from))
    }
}

/// A file of the journal in `directory` that groups were written to, if there is one.
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
