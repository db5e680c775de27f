//! A shard's write-ahead log: what makes an acknowledgement true.
//!
//! In comes: batches, and where logs begin, in the order in which they are to be replayed, each answered with the sequence
//! number of the group it went into. Out goes: [`Journal::durable`], the highest sequence such that it and all before it are
//! on stable storage. What arrives while a write is in flight forms the next group: no delay is added, and the
//! cost of a flush is shared by all partitions of the shard.
//!
//! It does not know what becomes of the batches: `durable` is only a number, and the checkpoint's owner says from
//! which sequence on groups are still needed. One task writes ([`Journal::run`]); runs on the shard's thread.

pub mod files;
pub mod group;
pub mod recover;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::disk::{BLOCK_BYTES, StorageError};
use crate::runtime::buf::Slice;
use crate::runtime::dir;
use crate::runtime::file::{Durability, File};
use crate::runtime::sync::Notify;
use crate::runtime::{self, Class};
use files::JournalFile;
use group::{GroupBuilder, GroupIdentity, JournalEntry, entry_room};

/// The number of a group, from 1; the next one's is one more, for the life of the journal.
pub type Sequence = u64;

/// How a journal is laid out and written.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// Where its files are.
    pub directory: PathBuf,
    /// Bytes of one file: whole MiB.
    pub file_bytes: u64,
    /// How many files it grows to; at least 2.
    pub files_max: u32,
    /// Bytes of batches that one group takes at the most (a single larger batch still gets a group of its own).
    pub group_bytes_max: usize,
    /// Writes in flight at a time.
    pub depth: usize,
}

/// Where replay starts: the first group that is still needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayStart {
    pub file: u32,
    pub position: u64,
    pub sequence: Sequence,
    pub previous_checksum: u32,
    /// The session that wrote the group before; no later group may carry a smaller one.
    pub session: u64,
    pub lap: u32,
}

impl ReplayStart {
    /// The very beginning of a new journal.
    pub const BEGINNING: ReplayStart =
        ReplayStart { file: 0, position: BLOCK_BYTES as u64, sequence: 1, previous_checksum: 0, session: 0, lap: 0 };
}

pub struct Journal {
    settings: JournalSettings,
    id: u64,
    session: u64,
    state: RefCell<JournalState>,
    durable: Cell<Sequence>,
    /// As `durable`, but on stable storage for sure.
    flushed: Cell<Sequence>,
    failed: RefCell<Option<Rc<StorageError>>>,
    /// Something to write, or a write came back.
    work: Notify,
    /// The open group was taken, or space was freed: who waits for room looks again.
    room: Notify,
    /// `durable` moved, or the journal failed.
    moved: Notify,
    /// Half of the files are in use: a checkpoint would be welcome.
    pressure: Notify,
    /// The writer moved to another file, or found none.
    growth: Notify,
    closing: Cell<bool>,
    /// A group is ready, and there is no space for it.
    is_waiting: Cell<bool>,
    pub counters: Counters,
}

/// What the journal has done since it was opened; for benches and metrics.
#[derive(Default)]
pub struct Counters {
    pub groups: Cell<u64>,
    pub bytes: Cell<u64>,
    pub batches: Cell<u64>,
    pub waits_for_space: Cell<u64>,
}

struct JournalState {
    files: Vec<JournalFile>,
    /// Where the next group goes.
    next: ReplayStart,
    open: Option<GroupBuilder>,
    /// Groups in flight, oldest first.
    in_flight: VecDeque<InFlight>,
    /// Files with groups that were written and not flushed.
    unflushed: Vec<u32>,
    /// Groups before this one are not needed any more.
    needed_from: Sequence,
}

struct InFlight {
    sequence: Sequence,
    is_flushed: bool,
    has_come_back: bool,
}

impl JournalState {
    /// Files that a replay would read.
    fn files_in_use(&self) -> usize {
        self.files.iter().filter(|file| file.last_sequence >= self.needed_from).count()
    }
}

impl Journal {
    /// A new journal: one file, written end to end. The directory is made when it is not there.
    pub async fn create(settings: JournalSettings) -> Result<Rc<Journal>, StorageError> {
        dir::create_all(&settings.directory)
            .await
            .map_err(StorageError::io("create directory", &settings.directory))?;
        let parent = settings.directory.parent().expect("it lies in a shard's directory");
        dir::sync(parent).await.map_err(StorageError::flush("flush directory", parent))?;
        let id = runtime::random_u64();
        let first = JournalFile::create(&settings.directory, id, 0, settings.file_bytes).await?;
        Ok(Journal::assemble(settings, id, 1, vec![first], ReplayStart { session: 1, ..ReplayStart::BEGINNING }, 1))
    }

    fn assemble(
        settings: JournalSettings,
        id: u64,
        session: u64,
        files: Vec<JournalFile>,
        next: ReplayStart,
        needed_from: Sequence,
    ) -> Rc<Journal> {
        assert!(settings.depth > 0 && settings.files_max >= 2);
        Rc::new(Journal {
            settings,
            id,
            session,
            durable: Cell::new(next.sequence - 1),
            flushed: Cell::new(next.sequence - 1),
            state: RefCell::new(JournalState {
                files,
                next,
                open: None,
                in_flight: VecDeque::new(),
                unflushed: Vec::new(),
                needed_from,
            }),
            failed: RefCell::new(None),
            work: Notify::new(),
            room: Notify::new(),
            moved: Notify::new(),
            pressure: Notify::new(),
            growth: Notify::new(),
            closing: Cell::new(false),
            is_waiting: Cell::new(false),
            counters: Counters::default(),
        })
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many files there are so far.
    pub fn files_count(&self) -> u32 {
        self.state.borrow().files.len() as u32
    }

    /// The largest batch that can ever be written: one group must fit one file.
    pub fn batch_bytes_max(&self) -> usize {
        self.settings.file_bytes as usize - 2 * BLOCK_BYTES - entry_room(0)
    }

    /// Every group up to and including this one is on stable storage (or, for groups of topics that asked for no
    /// more, written).
    pub fn durable(&self) -> Sequence {
        self.durable.get()
    }

    /// Why nothing is acknowledged any more, if so.
    pub fn failure(&self) -> Option<Rc<StorageError>> {
        self.failed.borrow().clone()
    }

    /// Waits until `durable` moves or the journal fails.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Whether a group waits for space, and so what is appended next.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }

    /// Waits until half of the journal is in use.
    pub async fn pressure(&self) {
        self.pressure.notified().await;
    }

    /// Whether a batch of this size can be appended right now.
    pub fn has_room(&self, batch_bytes: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let need = entry_room(batch_bytes);
        // Whoever made the open group may have put nothing into it: a batch that was there already, or was refused.
        if state.open.as_ref().is_none_or(|open| open.is_empty() && !open.has_room(need)) {
            let file_bytes = self.settings.file_bytes as usize - BLOCK_BYTES;
            state.open = GroupBuilder::new(need.max(self.settings.group_bytes_max), file_bytes).ok();
        }
        state.open.as_ref().is_some_and(|open| open.has_room(need))
    }

    /// Waits until a batch of this size can be appended. Fails only when the journal has failed.
    pub async fn reserve(&self, batch_bytes: usize) -> Result<(), Rc<StorageError>> {
        assert!(batch_bytes <= self.batch_bytes_max(), "message.max.bytes is bounded by the journal's file size");
        loop {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if self.has_room(batch_bytes) {
                return Ok(());
            }
            let _ = runtime::timeout(std::time::Duration::from_millis(20), self.room.notified()).await;
        }
    }

    /// Appends one batch to the open group. [`has_room`](Self::has_room) was true since the last await.
    pub fn append(&self, entry: JournalEntry, header: &[u8], records: &[u8], flush: bool) -> Sequence {
        let mut state = self.state.borrow_mut();
        let sequence = state.next.sequence;
        state.open.as_mut().expect("reserved before").push(entry, header, records, flush);
        self.counters.batches.set(self.counters.batches.get() + 1);
        self.work.notify_all();
        sequence
    }

    /// Appends where a log begins to the open group. [`has_room`](Self::has_room) for nothing was true since the last await.
    pub fn append_log_start(&self, entry: JournalEntry) -> Sequence {
        let mut state = self.state.borrow_mut();
        let sequence = state.next.sequence;
        state.open.as_mut().expect("reserved before").push_log_start(entry);
        self.work.notify_all();
        sequence
    }

    /// Where the replay of a checkpoint starts whose every part is captured after this call: at the open group, for
    /// all that went into earlier groups is in the partitions' logs already, and so in the checkpoint.
    pub fn position(&self) -> ReplayStart {
        self.state.borrow().next
    }

    /// Which start of this journal is running; a checkpoint records it, so that none is used twice.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Waits until everything appended so far is durable.
    pub async fn wait_all_durable(&self) -> Result<(), Rc<StorageError>> {
        self.wait_durable(self.last_appended()).await
    }

    /// The group that the latest batch went into, sealed or not.
    pub fn last_appended(&self) -> Sequence {
        let state = self.state.borrow();
        match &state.open {
            Some(open) if !open.is_empty() => state.next.sequence,
            _ => state.next.sequence - 1,
        }
    }

    /// Waits until the group is durable.
    pub async fn wait_durable(&self, sequence: Sequence) -> Result<(), Rc<StorageError>> {
        while self.durable.get() < sequence {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            self.moved.notified().await;
        }
        Ok(())
    }

    /// Groups before `start` are not needed any more: a checkpoint that says so is on stable storage.
    pub fn release(&self, start: &ReplayStart) {
        let mut state = self.state.borrow_mut();
        assert!(start.sequence >= state.needed_from, "a checkpoint never goes back");
        state.needed_from = start.sequence;
        drop(state);
        self.room.notify_all();
        self.work.notify_all();
    }

    /// Has the writer look again whether there is space, and ask for a checkpoint if there is none: what it asked for while
    /// nobody listened is lost.
    pub fn recheck_space(&self) {
        self.work.notify_all();
    }

    /// Lets [`run`](Self::run) end once everything is written.
    pub fn close(&self) {
        self.closing.set(true);
        self.work.notify_all();
    }

    /// The writing task: seals the open group whenever a write may start. Ends on failure or after `close`.
    pub async fn run(self: Rc<Self>) {
        let grower = runtime::spawn(Class::Background, "journal grow", self.clone().grow());
        loop {
            let (idle, ready) = {
                let state = self.state.borrow();
                let open = state.open.as_ref().is_some_and(|open| !open.is_empty());
                (!open && state.in_flight.is_empty(), open && state.in_flight.len() < self.settings.depth)
            };
            if self.failed.borrow().is_some() || (idle && self.closing.get()) {
                break;
            }
            if ready {
                let has_space = self.find_space();
                self.is_waiting.set(!has_space);
                if has_space {
                    self.clone().write_group();
                    continue;
                }
                self.counters.waits_for_space.set(self.counters.waits_for_space.get() + 1);
                self.pressure.notify_all();
                self.growth.notify_all();
            }
            self.work.notified().await;
        }
        grower.abort();
    }

    /// Moves on to the next file when the open group does not fit what is left of this one. False: no file is
    /// free, a checkpoint must come first.
    fn find_space(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let total = state.open.as_ref().expect("ready").total_bytes() as u64;
        let here = &state.files[state.next.file as usize];
        if state.next.position + total <= here.bytes {
            return true;
        }
        let candidate = (state.next.file as usize + 1) % state.files.len();
        assert!(BLOCK_BYTES as u64 + total <= here.bytes, "a group fits a file");
        // JRN-2: nothing that a replay needs is overwritten.
        if candidate == state.next.file as usize || state.files[candidate].last_sequence >= state.needed_from {
            return false;
        }
        if candidate == 0 {
            state.next.lap += 1;
        }
        state.next.file = candidate as u32;
        state.next.position = BLOCK_BYTES as u64;
        if state.files_in_use() * 2 >= self.settings.files_max as usize {
            self.pressure.notify_all();
        }
        self.growth.notify_all();
        true
    }

    /// Seals the open group and starts its write.
    fn write_group(self: Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let open = state.open.take().expect("ready");
        let is_flushed = open.needs_flush();
        let at = state.next;
        // RWF_DSYNC flushes the bytes of its own write and no others, so groups that were written without are behind it yet.
        let unflushed = if is_flushed { std::mem::take(&mut state.unflushed) } else { Vec::new() };
        if !is_flushed && !state.unflushed.contains(&at.file) {
            state.unflushed.push(at.file);
        }
        let behind: Vec<_> = unflushed.iter().map(|number| state.files[*number as usize].handle()).collect();
        let place = GroupIdentity {
            journal_id: self.id,
            session: self.session,
            sequence: at.sequence,
            lap: at.lap,
            previous_checksum: at.previous_checksum,
            flushed: self.flushed.get(),
        };
        let (buf, total, checksum) = open.seal(place);
        state.next.sequence += 1;
        state.next.position += total as u64;
        state.next.previous_checksum = checksum;
        state.next.session = self.session;
        state.in_flight.push_back(InFlight { sequence: at.sequence, is_flushed, has_come_back: false });
        let file = &mut state.files[at.file as usize];
        file.last_sequence = at.sequence;
        let (file, path) = file.handle();
        drop(state);
        self.counters.groups.set(self.counters.groups.get() + 1);
        self.counters.bytes.set(self.counters.bytes.get() + total as u64);
        self.room.notify_all();
        let journal = self.clone();
        runtime::spawn(Class::Foreground, "journal write", async move {
            let bytes = Slice::from(buf).slice(0..total);
            let durability = if is_flushed { Durability::DataSync } else { Durability::Cached };
            let written = file.write_at(bytes, at.position, durability).await;
            let mut outcome = written.map_err(StorageError::io("write journal group", path));
            if !behind.is_empty() && outcome.is_ok() {
                outcome = journal.flush_behind(at.sequence, behind).await;
            }
            journal.written(at.sequence, outcome);
        });
    }

    /// Flushes the files once every group before this one is written; for a flush covers only what was written before it.
    async fn flush_behind(&self, sequence: Sequence, files: Vec<(File, PathBuf)>) -> Result<(), StorageError> {
        let is_oldest = || self.state.borrow().in_flight.front().is_some_and(|oldest| oldest.sequence == sequence);
        while !is_oldest() && self.failed.borrow().is_none() {
            self.moved.notified().await;
        }
        for (file, path) in files {
            file.sync_data().await.map_err(StorageError::flush("flush journal file", path))?;
        }
        Ok(())
    }

    fn written(&self, sequence: Sequence, outcome: Result<(), StorageError>) {
        if let Err(failure) = outcome {
            tracing::error!("the journal has failed, nothing more will be acknowledged: {failure}");
            self.failed.borrow_mut().get_or_insert_with(|| Rc::new(failure));
        }
        // JRN-3: `durable` does not move past a failure, whatever comes back later.
        if self.failed.borrow().is_none() {
            let mut state = self.state.borrow_mut();
            let group =
                state.in_flight.iter_mut().find(|group| group.sequence == sequence).expect("in flight until now");
            group.has_come_back = true;
            // JRN-1: in order, whatever order the device answered in.
            while state.in_flight.front().is_some_and(|group| group.has_come_back) {
                let group = state.in_flight.pop_front().expect("looked at just now");
                assert_eq!(group.sequence, self.durable.get() + 1, "JRN-1: groups become durable in order");
                self.durable.set(group.sequence);
                if group.is_flushed {
                    self.flushed.set(group.sequence);
                }
            }
        }
        self.moved.notify_all();
        self.room.notify_all();
        self.work.notify_all();
    }

    /// Adds a file whenever fewer than two are free, up to the configured size: a node with little to do stays at two,
    /// one under load has what it needs before it needs it. A full disk stops the growth, not the journal.
    async fn grow(self: Rc<Self>) {
        loop {
            let (number, free) = {
                let state = self.state.borrow();
                (state.files.len() as u32, state.files.len() - state.files_in_use())
            };
            if number >= self.settings.files_max {
                return;
            }
            if number >= 2 && free >= 2 {
                self.growth.notified().await;
                continue;
            }
            match JournalFile::create(&self.settings.directory, self.id, number, self.settings.file_bytes).await {
                Ok(file) => {
                    self.state.borrow_mut().files.push(file);
                    self.work.notify_all();
                }
                Err(error) => {
                    tracing::warn!("the journal stays at {number} files for now: {error}");
                    if number >= 2 && !error.is_disk_full() {
                        return;
                    }
                    runtime::sleep(std::time::Duration::from_secs(5)).await;
                }
            }
        }
    }
}

/// Removes a journal whose every batch is in flushed segments.
pub async fn remove(directory: &Path) -> Result<(), StorageError> {
    dir::remove_all(directory).await.map_err(StorageError::io("remove journal", directory))
}
