//! What a ring did to the disk, in order: every write, flush and change of names, when it was asked for and when it came back.
//!
//! Sits in the ring beside the faults, so that what is recorded is what the code that ships asked of the kernel. From a
//! recording a test can rebuild the disk as a power failure would have left it at any moment: what was flushed by then is
//! there, of the rest any part.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use super::ring::{Completion, Op};

/// What an operation does to files and directories. Files go by the descriptor that their `Open` ended with, until a later
/// `Open` ends with the same one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Of a file or a directory; makes nothing unless `create`.
    Open {
        path: PathBuf,
        create: bool,
        truncate: bool,
    },
    /// `sync`: flushes these bytes (RWF_DSYNC), and no others.
    Write {
        fd: RawFd,
        position: u64,
        bytes: Vec<u8>,
        sync: bool,
    },
    /// fsync or fdatasync; of a directory, its names.
    Flush {
        fd: RawFd,
    },
    Truncate {
        fd: RawFd,
        bytes: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// A second name.
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    MakeDirectory {
        path: PathBuf,
    },
}

/// One line of a recording. An operation that was begun and has not ended may have done any part of its work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Begun {
        operation: u64,
        change: Change,
    },
    /// With the system call's result, or a negative errno.
    Ended {
        operation: u64,
        result: i32,
    },
}

/// A recording under way; a clone is the same one. Installed with [`record`](fn@super::record).
#[derive(Clone, Default)]
pub struct Recorder {
    events: Rc<RefCell<Vec<Event>>>,
    /// User data of what was begun and has not ended: completions of other operations are no business of ours.
    pending: Rc<RefCell<HashSet<u64>>>,
}

impl Recorder {
    /// How many events there are so far: the present moment.
    pub fn now(&self) -> usize {
        self.events.borrow().len()
    }

    /// Takes what was recorded so far.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.borrow_mut())
    }

    pub(super) fn begin(&self, op: Op, user_data: u64) {
        if let Some(change) = change_of(op) {
            assert!(self.pending.borrow_mut().insert(user_data), "OP-2: one operation at a time has this user data");
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
            // SAFETY: RING-1: the pusher keeps the iovecs, and what they point at, alive and unmoved until completion.
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
        Op::Fallocate { .. } => unimplemented!("nothing that is recorded allocates"),
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
    // SAFETY: RING-1: the bytes that an operation writes are alive and unmoved until its completion, and this is before.
    unsafe { std::slice::from_raw_parts(ptr, len) }.to_vec()
}

fn path_of(path: *const libc::c_char) -> PathBuf {
    // SAFETY: RING-1: paths are C strings that live until the operation's completion, and this is before.
    let path = unsafe { CStr::from_ptr(path) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}
