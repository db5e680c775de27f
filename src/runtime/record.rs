//! A recording of all changes that a ring makes to the disk: writes, flushes and changes of names, with their start and
//! end.
//!
//! The ring records them beside the faults, so that the recording shows the requests of the production code. From a
//! recording a test can rebuild the disk after a power failure at any time: all flushed bytes, and any part of the
//! others.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use super::ring::{Completion, Op};

/// The effect of an operation on files and directories. A descriptor refers to the last `Open` that ended with it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields are the arguments of the system call")]
pub enum Change {
    /// Opens a file or a directory; creates it only if `create`.
    Open { path: PathBuf, create: bool, truncate: bool },
    /// With `sync`, also flushes these bytes (RWF_DSYNC), and no others.
    Write { fd: RawFd, position: u64, bytes: Vec<u8>, sync: bool },
    /// fsync or fdatasync. On a directory it flushes the names.
    Flush { fd: RawFd },
    /// Truncates or extends a file to `bytes`.
    Truncate { fd: RawFd, bytes: u64 },
    /// Renames a file or a directory; replaces `to`.
    Rename { from: PathBuf, to: PathBuf },
    /// Gives a file a second name.
    Link { from: PathBuf, to: PathBuf },
    /// Removes a file or an empty directory.
    Remove { path: PathBuf },
    /// Creates a directory.
    MakeDirectory { path: PathBuf },
}

/// One entry of a recording. An operation that has begun and not ended may have done any part of its work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The operation was submitted.
    Begun {
        /// Its user data, which pairs the two events.
        operation: u64,
        /// Its effect.
        change: Change,
    },
    /// The operation completed.
    Ended {
        /// Its user data.
        operation: u64,
        /// The result of the system call, or a negative errno.
        result: i32,
    },
}

/// A recording in progress; a clone shares it. Installed with [`record`](fn@super::record).
#[derive(Clone, Default)]
pub struct Recorder {
    events: Rc<RefCell<Vec<Event>>>,
    /// User data of recorded operations that have not ended. Completions of other operations are ignored.
    pending: Rc<RefCell<HashSet<u64>>>,
}

impl Recorder {
    /// The number of recorded events: the current time of the recording.
    pub fn now(&self) -> usize {
        self.events.borrow().len()
    }

    /// Takes the events that are recorded so far.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.borrow_mut())
    }

    pub(super) fn begin(&self, op: Op, user_data: u64) {
        if let Some(change) = change_of(op) {
            assert!(self.pending.borrow_mut().insert(user_data), "OP-2: user data {user_data:#x} is in flight twice");
            self.events.borrow_mut().push(Event::Begun { operation: user_data, change });
        }
    }

    pub(super) fn end(&self, completion: Completion) {
        let Completion { user_data: operation, result, .. } = completion;
        if self.pending.borrow_mut().remove(&operation) {
            self.events.borrow_mut().push(Event::Ended { operation, result });
        }
    }
}

fn change_of(op: Op) -> Option<Change> {
    Some(match op {
        Op::OpenAt { path, flags, .. } => Change::Open {
            path: path_of(path),
            create: flags & libc::O_CREAT != 0,
            truncate: flags & libc::O_TRUNC != 0,
        },
        Op::Write { fd, ptr, len, pos, sync } => {
            Change::Write { fd, position: pos, bytes: bytes_of(ptr, len as usize), sync }
        }
        Op::Writev { fd, iov, count, pos, sync } => {
            // SAFETY: the slot keeps the iovecs and their buffers alive and in place until completion (OP-1).
            let iov = unsafe { std::slice::from_raw_parts(iov, count as usize) };
            let bytes = iov.iter().flat_map(|one| bytes_of(one.iov_base.cast_const().cast(), one.iov_len)).collect();
            Change::Write { fd, position: pos, bytes, sync }
        }
        Op::Fsync { fd, .. } => Change::Flush { fd },
        Op::Ftruncate { fd, len } => Change::Truncate { fd, bytes: len },
        Op::RenameAt { from, to } => Change::Rename { from: path_of(from), to: path_of(to) },
        Op::LinkAt { from, to } => Change::Link { from: path_of(from), to: path_of(to) },
        Op::UnlinkAt { path, .. } => Change::Remove { path: path_of(path) },
        Op::MkdirAt { path, .. } => Change::MakeDirectory { path: path_of(path) },
        Op::Fallocate { .. } => unimplemented!("recorded code does not allocate file space"),
        Op::Read { .. }
        | Op::Close { .. }
        | Op::Recv { .. }
        | Op::RecvProvided { .. }
        | Op::Send { .. }
        | Op::SendMsg { .. }
        | Op::AcceptMulti { .. }
        | Op::Connect { .. }
        | Op::PollOut { .. }
        | Op::MsgRing { .. }
        | Op::Cancel { .. }
        | Op::CancelAll => return None,
    })
}

fn bytes_of(ptr: *const u8, len: usize) -> Vec<u8> {
    // SAFETY: the slot keeps the bytes alive and in place until completion (OP-1), which is later.
    unsafe { std::slice::from_raw_parts(ptr, len) }.to_vec()
}

fn path_of(path: *const libc::c_char) -> PathBuf {
    // SAFETY: the slot keeps the path, a C string, alive until completion (OP-1), which is later.
    let path = unsafe { CStr::from_ptr(path) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}
