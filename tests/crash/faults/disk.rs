//! A simulated disk that follows a recording, and its contents after a power failure.
//!
//! It assumes the weakest flushes that POSIX allows. A write with RWF_DSYNC flushes only its own bytes. fsync flushes
//! only one file's bytes (or one directory's names) that existed when it started. After a failed flush, no later flush
//! covers the same bytes (the kernel reports a lost page once, and forgets it). Any part of the unflushed data may be
//! on the disk, sector by sector and name by name.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use tidemill::runtime::record::{Change, Event};

use crate::support::chance::Chance;

const SECTOR_BYTES: usize = 512;

/// The fate of unflushed data.
pub enum Luck<'a> {
    AllIsLost,
    Some(&'a mut Chance),
}

pub struct Disk {
    root: PathBuf,
    inodes: Vec<Inode>,
    open: HashMap<RawFd, usize>,
    begun: HashMap<u64, Begun>,
    /// Number of events since this disk was created.
    now: usize,
    /// Number of events of the current recording.
    seen: usize,
}

struct Begun {
    at: usize,
    change: Change,
    /// The directory whose names it changes, resolved when it started.
    parent: Option<usize>,
    /// For a write: its index among the changes of its inode.
    write: Option<(usize, u64)>,
}

enum Inode {
    File { flushed: Vec<u8>, changes: Vec<FileChange> },
    Directory { changes: Vec<NameChange> },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ChangeState {
    /// The operation has not completed.
    InFlight,
    /// Completed at this event.
    Done(usize),
    Flushed,
    /// It failed, or its flush did: no later flush covers it.
    Doomed,
}

struct FileChange {
    number: u64,
    state: ChangeState,
    what: FileWhat,
}

enum FileWhat {
    Write { position: usize, bytes: Vec<u8> },
    Length(usize),
}

struct NameChange {
    name: String,
    to: Option<usize>,
    at: usize,
    state: ChangeState,
}

impl Disk {
    /// The disk with the current contents of `root`, all flushed.
    pub fn of(root: &Path) -> Disk {
        let mut disk = Disk {
            root: root.to_owned(),
            inodes: Vec::new(),
            open: HashMap::new(),
            begun: HashMap::new(),
            now: 0,
            seen: 0,
        };
        disk.load(root);
        disk
    }

    fn load(&mut self, path: &Path) -> usize {
        let inode = self.inodes.len();
        if path.is_file() {
            let flushed = fs::read(path).expect("a file of ours");
            self.inodes.push(Inode::File { flushed, changes: Vec::new() });
            return inode;
        }
        self.inodes.push(Inode::Directory { changes: Vec::new() });
        for entry in fs::read_dir(path).expect("a directory of ours") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("UTF-8");
            let to = Some(self.load(&entry.path()));
            let Inode::Directory { changes } = &mut self.inodes[inode] else { unreachable!("pushed above") };
            changes.push(NameChange { name, to, at: 0, state: ChangeState::Flushed });
        }
        inode
    }

    /// Starts another recording, of another process on the same disk. Unflushed data stays unflushed.
    pub fn reopened(&mut self) {
        assert!(self.begun.is_empty(), "a kernel finishes what a killed process has begun");
        self.open.clear();
        self.seen = 0;
    }

    /// The number of applied events of the current recording.
    pub fn seen(&self) -> usize {
        self.seen
    }

    pub fn apply(&mut self, event: &Event) {
        self.now += 1;
        self.seen += 1;
        match event {
            Event::Begun { operation, change } => self.begin(*operation, change),
            Event::Ended { operation, result } => {
                let begun = self.begun.remove(operation).expect("what ends was begun");
                self.end(begun, *result);
            }
        }
    }

    fn begin(&mut self, operation: u64, change: &Change) {
        let mut write = None;
        if let Change::Write { fd, position, bytes, .. } = change
            && let Some(&inode) = self.open.get(fd)
        {
            let what = FileWhat::Write { position: *position as usize, bytes: bytes.clone() };
            let number = self.now as u64;
            self.file(inode).push(FileChange { number, state: ChangeState::InFlight, what });
            write = Some((inode, number));
        }
        let parent = match change {
            Change::Open { path, .. } | Change::Remove { path } | Change::MakeDirectory { path } => self.parent(path),
            Change::Rename { from, .. } | Change::Link { from, .. } => self.parent(from),
            Change::Write { .. } | Change::Flush { .. } | Change::Truncate { .. } => None,
        };
        self.begun.insert(operation, Begun { at: self.now, change: change.clone(), parent, write });
    }

    fn end(&mut self, begun: Begun, result: i32) {
        let now = self.now;
        let is_done = result >= 0;
        match begun.change {
            Change::Open { path, create, truncate } if is_done => match self.opened(begun.parent, &path, create) {
                None => drop(self.open.remove(&result)),
                Some(inode) => {
                    if truncate {
                        self.change_length(inode, 0);
                    }
                    self.open.insert(result, inode);
                }
            },
            Change::Write { sync, .. } => {
                let Some((inode, number)) = begun.write else { return };
                let change = self.file(inode).iter_mut().find(|change| change.number == number).expect("begun");
                change.state = match (is_done, sync) {
                    (false, _) => ChangeState::Doomed,
                    (true, false) => ChangeState::Done(now),
                    (true, true) => ChangeState::Flushed,
                };
                if let FileWhat::Write { bytes, .. } = &mut change.what
                    && is_done
                {
                    bytes.truncate(result as usize);
                }
                self.fold(inode);
            }
            Change::Flush { fd } => {
                let Some(&inode) = self.open.get(&fd) else { return };
                let to = if is_done { ChangeState::Flushed } else { ChangeState::Doomed };
                let flush = |state: &mut ChangeState| match state {
                    ChangeState::Done(at) if *at <= begun.at => *state = to,
                    _ => {}
                };
                match &mut self.inodes[inode] {
                    Inode::File { changes, .. } => changes.iter_mut().for_each(|change| flush(&mut change.state)),
                    Inode::Directory { changes } if is_done => {
                        changes.iter_mut().for_each(|change| flush(&mut change.state));
                    }
                    Inode::Directory { .. } => {}
                }
                self.fold(inode);
            }
            Change::Truncate { fd, bytes } if is_done => {
                let Some(&inode) = self.open.get(&fd) else { return };
                self.change_length(inode, bytes as usize);
            }
            Change::Rename { from, to } if is_done => {
                assert_eq!(from.parent(), to.parent(), "nothing of ours moves between directories");
                let moved = begun.parent.and_then(|parent| self.child(parent, &from));
                self.name(begun.parent, &from, None);
                self.name(begun.parent, &to, moved);
            }
            Change::Link { from, to } if is_done => {
                assert_eq!(from.parent(), to.parent(), "nothing of ours has names in two directories");
                let linked = begun.parent.and_then(|parent| self.child(parent, &from));
                self.name(begun.parent, &to, linked);
            }
            Change::Remove { path } if is_done => self.name(begun.parent, &path, None),
            Change::MakeDirectory { path } if is_done => {
                self.inodes.push(Inode::Directory { changes: Vec::new() });
                self.name(begun.parent, &path, Some(self.inodes.len() - 1));
            }
            _ => {}
        }
    }

    /// The inode that an open found or created; `None` outside the root, or when it was removed meanwhile.
    fn opened(&mut self, parent: Option<usize>, path: &Path, create: bool) -> Option<usize> {
        if path == self.root {
            return Some(0);
        }
        let found = self.child(parent?, path);
        if found.is_none() && create {
            self.inodes.push(Inode::File { flushed: Vec::new(), changes: Vec::new() });
            let fresh = Some(self.inodes.len() - 1);
            self.name(parent, path, fresh);
            return fresh;
        }
        found
    }

    fn change_length(&mut self, inode: usize, bytes: usize) {
        let (number, state) = (self.now as u64, ChangeState::Done(self.now));
        self.file(inode).push(FileChange { number, state, what: FileWhat::Length(bytes) });
    }

    fn file(&mut self, inode: usize) -> &mut Vec<FileChange> {
        match &mut self.inodes[inode] {
            Inode::File { changes, .. } => changes,
            Inode::Directory { .. } => panic!("a directory is not written"),
        }
    }

    fn directory(&self, inode: usize) -> &Vec<NameChange> {
        match &self.inodes[inode] {
            Inode::Directory { changes } => changes,
            Inode::File { .. } => panic!("a file has no names in it"),
        }
    }

    /// The directory that contains a path, as a process sees it.
    fn parent(&self, path: &Path) -> Option<usize> {
        let below = path.parent()?.strip_prefix(&self.root).ok()?;
        below.components().try_fold(0, |inode, name| self.child(inode, Path::new(name.as_os_str())))
    }

    /// The inode of a path's last name in a directory.
    fn child(&self, directory: usize, path: &Path) -> Option<usize> {
        let name = name_of(path);
        self.directory(directory).iter().rev().find(|change| change.name == name)?.to
    }

    fn name(&mut self, directory: Option<usize>, path: &Path, to: Option<usize>) {
        let (at, state, name) = (self.now, ChangeState::Done(self.now), name_of(path).to_owned());
        // A removed directory removes its names.
        let Some(directory) = directory else { return };
        let Inode::Directory { changes } = &mut self.inodes[directory] else { panic!("a file has no names in it") };
        changes.push(NameChange { name, to, at, state });
    }

    /// Applies flushed changes without unflushed ones before them: a power failure cannot undo them.
    fn fold(&mut self, inode: usize) {
        if let Inode::File { flushed, changes } = &mut self.inodes[inode] {
            let settled = changes.iter().take_while(|change| change.state == ChangeState::Flushed).count();
            changes.drain(..settled).for_each(|change| change.what.apply(flushed));
        }
    }

    /// Writes the disk's contents after a power failure at this moment to `into`.
    pub fn leave(&self, into: &Path, mut luck: Luck) {
        // A file system that journals its names keeps them up to some moment; another one keeps any subset.
        let names_until = match &mut luck {
            Luck::AllIsLost => Some(0),
            Luck::Some(chance) => chance.one_in(2).then(|| chance.below(self.now as u64 + 1) as usize),
        };
        self.leave_inode(0, into, names_until, &mut luck);
    }

    fn leave_inode(&self, inode: usize, into: &Path, names_until: Option<usize>, luck: &mut Luck) {
        match &self.inodes[inode] {
            Inode::File { flushed, changes } => {
                let mut bytes = flushed.clone();
                changes.iter().for_each(|change| change.survive(&mut bytes, luck));
                fs::write(into, bytes).expect("the image can be written");
            }
            Inode::Directory { changes } => {
                fs::create_dir_all(into).expect("the image can be written");
                let names: BTreeSet<&str> = changes.iter().map(|change| change.name.as_str()).collect();
                for name in names {
                    let of_name: Vec<&NameChange> = changes.iter().filter(|change| change.name == name).collect();
                    if let Some(inode) = survivor(&of_name, names_until, luck) {
                        self.leave_inode(inode, &into.join(name), names_until, luck);
                    }
                }
            }
        }
    }
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("names of ours are UTF-8")
}

/// The value of a name on the disk: the last flushed one, or one of the later ones.
fn survivor(changes: &[&NameChange], names_until: Option<usize>, luck: &mut Luck) -> Option<usize> {
    let flushed = changes.iter().rposition(|change| change.state == ChangeState::Flushed);
    let behind = flushed.map_or(0, |at| at + 1);
    let kept = match (names_until, luck) {
        (Some(until), _) => changes[behind..].iter().take_while(|change| change.at <= until).count(),
        (None, Luck::Some(chance)) => chance.below((changes.len() - behind + 1) as u64) as usize,
        (None, _) => unreachable!("only chance takes names one by one"),
    };
    (behind + kept).checked_sub(1).and_then(|last| changes[last].to)
}

impl FileWhat {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            FileWhat::Write { position, bytes } => put(file, *position, bytes),
            FileWhat::Length(bytes) => file.resize(*bytes, 0),
        }
    }
}

fn put(file: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[position..end].copy_from_slice(bytes);
}

impl FileChange {
    /// The part of this change that is on the disk.
    fn survive(&self, file: &mut Vec<u8>, luck: &mut Luck) {
        let chance = match (self.state, luck) {
            (ChangeState::Flushed, _) => return self.what.apply(file),
            (_, Luck::AllIsLost) => return,
            (_, Luck::Some(chance)) => chance,
        };
        match (&self.what, chance.below(4)) {
            (_, 0) => {}
            (_, 1) | (FileWhat::Length(_), _) => self.what.apply(file),
            // A torn write: its first sectors, or any subset of them.
            (FileWhat::Write { position, bytes }, 2) => {
                let sectors = chance.below((bytes.len() / SECTOR_BYTES) as u64 + 1) as usize;
                put(file, *position, &bytes[..sectors * SECTOR_BYTES]);
            }
            (FileWhat::Write { position, bytes }, _) => {
                for (at, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if chance.one_in(2) {
                        put(file, position + at * SECTOR_BYTES, sector);
                    }
                }
            }
        }
    }
}
