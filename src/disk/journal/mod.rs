//! A shard's write-ahead log. An acknowledged batch is in it, on stable storage.
//!
//! Owns: the journal's files and the group that is being filled. In: batches and log starts, in the order of their
//! replay; each append returns the sequence number of its group. Out: [`Journal::durable`], the highest sequence up to
//! which every group is on stable storage. Batches that arrive during a write form the next group: no delay is added,
//! and all partitions of the shard share the cost of a flush.
//!
//! The invariants JRN-1 to JRN-4 are defined in [`crate::disk`]. It does not know partitions' logs: the shard's
//! checkpoint decides from which sequence on groups are still needed. One task writes ([`Journal::run`]), on the
//! shard's thread.

mod append;
mod closing;
mod counters;
pub mod files;
pub mod group;
pub mod image;
mod marks;
pub mod recover;
mod sequence;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{BLOCK_BYTES, StorageError, is_aligned};
use crate::runtime::clock::{self, Mono};
use crate::runtime::dir;
use crate::runtime::file::{Durability, File};
use crate::runtime::sync::Notify;
use crate::runtime::{self, Class};
pub use closing::IDLE;
pub use counters::JournalCounters;
pub use sequence::Sequence;

use files::JournalFile;
use group::{GroupBuilder, GroupIdentity, InFlightGroup, SealedGroup};
use marks::Marks;

/// The sizes of a journal, and the limits of its writes.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// The directory of its files.
    pub directory: PathBuf,
    /// Bytes of one file: whole MiB.
    pub file_bytes: u64,
    /// The number of files that it grows to; at least 2.
    pub files_max: u32,
    /// The most bytes of batches in one group. A larger batch gets a group of its own.
    pub group_bytes_max: usize,
    /// The most writes in flight.
    pub depth: usize,
    /// The time without a write after which a closing group follows: [`IDLE`] in a node, other values in tests.
    pub idle: Duration,
}

/// The first group that a replay needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayStart {
    /// The number of the file.
    pub file: u32,
    /// The byte in the file where the group begins, a multiple of a block.
    pub position: u64,
    /// The group's sequence number, from 1.
    pub sequence: Sequence,
    /// The checksum of the previous group; 0 before the first.
    pub previous_checksum: u32,
    /// The session that wrote the previous group. No later group may carry a smaller one.
    pub session: u64,
    /// How often the journal has wrapped around to its first file.
    pub lap: u32,
}

impl ReplayStart {
    /// The beginning of a new journal.
    pub const BEGINNING: ReplayStart = ReplayStart {
        file: 0,
        position: BLOCK_BYTES as u64,
        sequence: Sequence(1),
        previous_checksum: 0,
        session: 0,
        lap: 0,
    };
}

/// The journal of one shard.
pub struct Journal {
    settings: JournalSettings,
    id: u64,
    session: u64,
    state: RefCell<JournalState>,
    durable: Cell<Sequence>,
    /// The highest durable group that was flushed. Groups that promise no stable storage may be durable without a
    /// flush.
    flushed: Cell<Sequence>,
    failed: RefCell<Option<Arc<StorageError>>>,
    /// A group has entries to write, or a write completed.
    work: Notify,
    /// The open group was sealed, or space was freed: a waiting append checks again.
    room: Notify,
    /// `durable` advanced, or the journal failed.
    progress: Notify,
    /// Half of the files are in use: a checkpoint should free some.
    pressure: Notify,
    /// The writer moved to the next file, or found no free one.
    growth: Notify,
    closing: Cell<bool>,
    /// No later group on stable storage proves that the last flushed one was complete (JRN-4).
    is_unproven: Cell<bool>,
    /// `is_unproven` became true.
    unproven: Notify,
    /// A sealed group waits for space.
    is_waiting: Cell<bool>,
    /// Since the journal was opened.
    pub counters: JournalCounters,
}

struct JournalState {
    files: Vec<JournalFile>,
    /// The position of the next group.
    next: ReplayStart,
    open: Option<GroupBuilder>,
    /// The time of the open group's first entry.
    open_since: Mono,
    /// Groups in flight, oldest first.
    in_flight: VecDeque<InFlightGroup>,
    /// The files with groups that were written without a flush.
    unflushed: Vec<u32>,
    /// A replay needs no group before this one.
    needed_from: Sequence,
    /// The groups from there on where a replay may start.
    marks: Marks,
}

/// The pause after a failed attempt to add a file.
const GROW_RETRY: Duration = Duration::from_secs(5);

impl Journal {
    /// Creates a journal of one file, which is written end to end. Creates its directory if needed.
    pub async fn create(settings: JournalSettings) -> Result<Rc<Journal>, StorageError> {
        dir::create_all(&settings.directory)
            .await
            .map_err(StorageError::io("create directory", &settings.directory))?;
        let parent = settings.directory.parent().expect("the journal is in a shard's directory");
        dir::sync(parent).await.map_err(StorageError::flush("flush directory", parent))?;
        let id = runtime::random_u64();
        let first = JournalFile::create(&settings.directory, id, 0, settings.file_bytes).await?;
        Ok(Journal::assemble(
            settings,
            id,
            1,
            vec![first],
            ReplayStart { session: 1, ..ReplayStart::BEGINNING },
            Sequence(1),
            Marks::default(),
        ))
    }

    fn assemble(
        settings: JournalSettings,
        id: u64,
        session: u64,
        files: Vec<JournalFile>,
        next: ReplayStart,
        needed_from: Sequence,
        marks: Marks,
    ) -> Rc<Journal> {
        assert!(settings.depth > 0 && settings.files_max >= 2, "the journal can write, and can reuse a file");
        assert!(
            next.sequence > Sequence::ZERO && needed_from <= next.sequence,
            "the next group is not before the needed ones"
        );
        assert!(is_aligned(next.position, 0) && (next.file as usize) < files.len(), "the next group has a position");
        assert!(session >= next.session, "a session number is used once");
        Rc::new(Journal {
            settings,
            id,
            session,
            durable: Cell::new(next.sequence.previous()),
            flushed: Cell::new(next.sequence.previous()),
            state: RefCell::new(JournalState {
                files,
                next,
                open: None,
                open_since: clock::now(),
                in_flight: VecDeque::new(),
                unflushed: Vec::new(),
                needed_from,
                marks,
            }),
            failed: RefCell::new(None),
            work: Notify::new(),
            room: Notify::new(),
            progress: Notify::new(),
            pressure: Notify::new(),
            growth: Notify::new(),
            closing: Cell::new(false),
            // The groups of earlier sessions.
            is_unproven: Cell::new(true),
            unproven: Notify::new(),
            is_waiting: Cell::new(false),
            counters: JournalCounters::default(),
        })
    }

    /// The random number that every file and group of the journal carries.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Every group up to and including this one is on stable storage. Groups whose topics do not require a flush may be
    /// only written.
    pub fn durable(&self) -> Sequence {
        self.durable.get()
    }

    /// The failure after which the journal acknowledges nothing (JRN-3).
    pub fn failure(&self) -> Option<Arc<StorageError>> {
        self.failed.borrow().clone()
    }

    /// Waits until `durable` advances or the journal fails.
    pub async fn wait_progress(&self) {
        self.progress.notified().await;
    }

    /// Whether a group waits for space, so that later appends wait too.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }

    /// Waits until half of the journal's files are in use.
    pub async fn wait_pressure(&self) {
        self.pressure.notified().await;
    }

    /// The open group, which takes the next append. A state that is captured now holds the batches of all earlier
    /// groups: they are in the partitions' logs already.
    pub fn position(&self) -> ReplayStart {
        self.state.borrow().next
    }

    /// The start of replay for a checkpoint that needs the groups from `needed` on. It may be somewhat earlier.
    pub fn start_for(&self, needed: Sequence) -> ReplayStart {
        let state = self.state.borrow();
        let mark = state.marks.at_or_before(needed).filter(|_| needed < state.next.sequence);
        let start = mark.unwrap_or(state.next);
        assert!(start.sequence <= needed, "JRN-2: a replay starts at or before the first group that it needs");
        start
    }

    /// The number of files that a checkpoint with this start would free.
    pub fn files_freed_by(&self, start: &ReplayStart) -> usize {
        let state = self.state.borrow();
        let freed = state.needed_from..start.sequence;
        state.files.iter().filter(|file| freed.contains(&file.last_sequence)).count()
    }

    /// The number of this session, one more at each start. A checkpoint stores it, so that no number is used twice.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The group of the latest append, whether it is sealed or still open.
    pub fn last_appended(&self) -> Sequence {
        let state = self.state.borrow();
        match &state.open {
            Some(open) if !open.is_empty() => state.next.sequence,
            _ => state.next.sequence.previous(),
        }
    }

    /// Waits until the group is durable.
    pub async fn wait_durable(&self, sequence: Sequence) -> Result<(), Arc<StorageError>> {
        while self.durable.get() < sequence {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            self.progress.notified().await;
        }
        Ok(())
    }

    /// Frees the groups before `start`: a checkpoint with this start is on stable storage.
    pub fn release(&self, start: &ReplayStart) {
        let mut state = self.state.borrow_mut();
        assert!(start.sequence >= state.needed_from, "JRN-2: a checkpoint's start never goes back");
        assert!(start.sequence <= state.next.sequence, "JRN-2: a checkpoint frees no group that is not sealed");
        state.needed_from = start.sequence;
        if start.sequence == state.next.sequence {
            // The segments hold everything, on stable storage.
            self.counters.unflushed.cover(self.counters.unflushed.written(), clock::now());
        }
        state.marks.release(*start);
        drop(state);
        self.room.notify_all();
        self.work.notify_all();
    }

    /// Makes the writer check again for space, and request a checkpoint if it finds none: a request is lost when no
    /// task waits for it.
    pub fn recheck_space(&self) {
        self.work.notify_all();
    }

    /// Ends [`run`](Self::run) once every group is written.
    pub fn close(&self) {
        self.closing.set(true);
        self.work.notify_all();
    }

    /// The writing task: seals the open group whenever a write can start. Ends on failure, or after `close`.
    pub async fn run(self: Rc<Self>) {
        let grower = runtime::spawn(Class::Background, "journal grow", self.clone().grow());
        let closer = runtime::spawn(Class::Background, "journal close", self.clone().close_when_idle());
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
                let total = self.state.borrow().open.as_ref().expect("ready").total_bytes();
                let has_space = self.find_space(total);
                self.is_waiting.set(!has_space);
                if has_space {
                    let open = self.state.borrow_mut().open.take().expect("ready");
                    self.clone().write_group(open);
                    continue;
                }
                self.counters.waits_for_space.set(self.counters.waits_for_space.get() + 1);
                self.pressure.notify_all();
                self.growth.notify_all();
            }
            self.work.notified().await;
        }
        grower.abort();
        closer.abort();
    }

    /// Advances to the next file when a group of `total` bytes does not fit into the rest of this one. False: no file
    /// is free, so a checkpoint must come first.
    fn find_space(&self, total: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let total = total as u64;
        let here = &state.files[state.next.file as usize];
        if state.next.position + total <= here.bytes {
            return true;
        }
        let candidate = (state.next.file as usize + 1) % state.files.len();
        assert!(BLOCK_BYTES as u64 + total <= here.bytes, "a group fits a file");
        // JRN-2: no group that a replay needs is overwritten.
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

    /// Seals a group and starts its write. There is space for it.
    fn write_group(self: Rc<Self>, group: GroupBuilder) {
        let mut state = self.state.borrow_mut();
        assert!(state.in_flight.len() < self.settings.depth, "the writes in flight are bounded");
        let (is_flushed, is_closing) = (group.needs_flush(), group.is_empty());
        if is_flushed && !self.is_unproven.replace(!is_closing) {
            self.unproven.notify_all();
        }
        let at = state.next;
        // RWF_DSYNC flushes only the bytes of its own write, so the files of earlier unflushed groups need their own
        // flush.
        let unflushed = if is_flushed { std::mem::take(&mut state.unflushed) } else { Vec::new() };
        if !is_flushed && !state.unflushed.contains(&at.file) {
            state.unflushed.push(at.file);
        }
        let earlier: Vec<_> = unflushed.iter().map(|number| state.files[*number as usize].handle()).collect();
        let identity = GroupIdentity {
            journal_id: self.id,
            session: self.session,
            sequence: at.sequence,
            lap: at.lap,
            previous_checksum: at.previous_checksum,
            flushed: self.flushed.get(),
        };
        let SealedGroup { bytes, total_bytes: total, copied_bytes, checksum } = group.seal(identity);
        state.marks.note(at);
        state.next.sequence = state.next.sequence.next();
        state.next.position += total as u64;
        state.next.previous_checksum = checksum;
        state.next.session = self.session;
        let (since, sealed) = (state.open_since, clock::now());
        if !is_flushed {
            self.counters.unflushed.note(total as u64, sealed);
        }
        if !is_closing {
            self.counters.wait.observe(sealed.since(since));
        }
        state.in_flight.push_back(InFlightGroup {
            sequence: at.sequence,
            is_flushed,
            is_written: false,
            bytes: total as u64,
            since,
            sealed,
            covers: self.counters.unflushed.written(),
        });
        let needed_from = state.needed_from;
        let file = &mut state.files[at.file as usize];
        assert!(is_aligned(at.position, total) && at.position + total as u64 <= file.bytes, "a group fits its file");
        let is_reused = at.position == BLOCK_BYTES as u64;
        assert!(!is_reused || file.last_sequence < needed_from, "JRN-2: no group that a replay needs is overwritten");
        assert!(file.last_sequence < at.sequence, "sequences ascend in a file");
        file.last_sequence = at.sequence;
        let (file, path) = file.handle();
        drop(state);
        self.counters.groups.set(self.counters.groups.get() + 1);
        self.counters.copied_bytes.set(self.counters.copied_bytes.get() + copied_bytes as u64);
        self.counters.bytes.set(self.counters.bytes.get() + total as u64);
        self.room.notify_all();
        let journal = self.clone();
        runtime::spawn(Class::Foreground, "journal write", async move {
            let durability = if is_flushed { Durability::DataSync } else { Durability::Cached };
            let written = file.write_at(bytes, at.position, durability).await;
            let mut outcome = written.map_err(StorageError::io("write journal group", path));
            if !earlier.is_empty() && outcome.is_ok() {
                outcome = journal.flush_earlier(at.sequence, earlier).await;
            }
            journal.complete_write(at.sequence, outcome);
        });
    }

    /// Flushes the files of earlier groups once these groups are written: a flush covers only completed writes.
    async fn flush_earlier(&self, sequence: Sequence, files: Vec<(File, PathBuf)>) -> Result<(), StorageError> {
        let is_oldest = || self.state.borrow().in_flight.front().is_some_and(|oldest| oldest.sequence == sequence);
        while !is_oldest() && self.failed.borrow().is_none() {
            self.progress.notified().await;
        }
        for (file, path) in files {
            file.sync_data().await.map_err(StorageError::flush("flush journal file", path))?;
        }
        Ok(())
    }

    /// Notes a completed write, and advances `durable` over every group that is complete in order.
    fn complete_write(&self, sequence: Sequence, outcome: Result<(), StorageError>) {
        if let Err(failure) = outcome {
            tracing::error!("the journal failed and acknowledges no further write: {failure}");
            self.failed.borrow_mut().get_or_insert_with(|| Arc::new(failure));
        }
        // JRN-3: `durable` does not advance past a failure, even if later writes succeed.
        if self.failed.borrow().is_none() {
            let mut state = self.state.borrow_mut();
            let group =
                state.in_flight.iter_mut().find(|group| group.sequence == sequence).expect("in flight until now");
            assert!(!group.is_written, "a write completes once");
            group.is_written = true;
            self.counters.flush.observe(group.sealed.elapsed());
            // JRN-1: in order, although the device may complete the writes in another order.
            while state.in_flight.front().is_some_and(|group| group.is_written) {
                let group = state.in_flight.pop_front().expect("the loop found it");
                self.advance_durable(&group);
            }
        }
        self.progress.notify_all();
        self.room.notify_all();
        self.work.notify_all();
    }

    fn advance_durable(&self, group: &InFlightGroup) {
        assert!(self.failed.borrow().is_none(), "JRN-3: nothing is acknowledged after a failure");
        assert_eq!(group.sequence, self.durable.get().next(), "JRN-1: groups become durable in order");
        self.durable.set(group.sequence);
        if group.is_flushed {
            self.flushed.set(group.sequence);
            self.counters.unflushed.cover(group.covers, group.sealed);
        }
        assert!(self.flushed.get() <= self.durable.get(), "JRN-1: a flushed group is durable");
    }

    /// Adds a file whenever fewer than two are free, up to the configured number. An idle node keeps two files, and a
    /// busy one gets its next file before it needs it. A full disk stops the growth, and the journal continues with its
    /// files.
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
                    tracing::warn!("cannot add a file to the journal, which has {number}: {error}");
                    if number >= 2 && !error.is_disk_full() {
                        return;
                    }
                    runtime::sleep(GROW_RETRY).await;
                }
            }
        }
    }
}

/// Removes a journal. Every batch in it must be in flushed segments.
pub async fn remove(directory: &Path) -> Result<(), StorageError> {
    dir::remove_all(directory).await.map_err(StorageError::io("remove journal", directory))
}
