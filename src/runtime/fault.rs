//! Failures on order: the nth write fails, a flush reports EIO, a write is cut short.
//!
//! Sits in the ring, above the kernel and below everything else, so that the code under test is the code that ships.

use super::ring::Op;

/// Which operations a [`Rule`] counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Read,
    /// Writes, with or without a flush of their own.
    Write,
    /// Writes that flush themselves (`Durability::DataSync`) only.
    WriteSync,
    /// `sync_data`, `sync_all` and `dir::sync`.
    Sync,
    Open,
    Allocate,
    Truncate,
    Rename,
    Link,
    Remove,
    MakeDirectory,
    Send,
    Recv,
}

/// What happens to the operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It never reaches the kernel and reports this errno.
    Errno(i32),
    /// Only so many bytes of it are done (reads and writes of one buffer; a vectored write keeps its first buffer).
    Short(u32),
}

/// "The `nth` operation of this kind (counted from 1, from the moment of installation) suffers this fault."
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub target: Target,
    pub nth: u64,
    /// Every one from the nth on, not the nth alone.
    pub and_after: bool,
    pub fault: Fault,
}

/// What goes wrong on this thread's ring; see [`install`](super::install_faults).
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    rules: Vec<(Rule, u64)>,
}

pub(super) enum Verdict {
    /// It goes to the kernel, as it was or shortened.
    Pass(Op),
    /// It fails with this errno and goes nowhere.
    Fail(i32),
}

impl FaultPlan {
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> FaultPlan {
        FaultPlan { rules: rules.into_iter().map(|rule| (rule, 0)).collect() }
    }

    /// The nth operation of a kind fails with `errno`; those after it succeed.
    pub fn fail(target: Target, nth: u64, errno: i32) -> FaultPlan {
        FaultPlan::new([Rule { target, nth, and_after: false, fault: Fault::Errno(errno) }])
    }

    /// Whether any rule has struck.
    pub fn has_struck(&self) -> bool {
        self.rules.iter().any(|(rule, seen)| *seen >= rule.nth)
    }

    pub(super) fn judge(&mut self, mut op: Op) -> Verdict {
        for (rule, seen) in &mut self.rules {
            if !hits(rule.target, op) {
                continue;
            }
            *seen += 1;
            if *seen == rule.nth || (rule.and_after && *seen > rule.nth) {
                match rule.fault {
                    Fault::Errno(errno) => return Verdict::Fail(errno),
                    Fault::Short(bytes) => op = shorten(op, bytes),
                }
            }
        }
        Verdict::Pass(op)
    }
}

fn hits(target: Target, op: Op) -> bool {
    match op {
        Op::Read { .. } => target == Target::Read,
        Op::Write { sync, .. } | Op::Writev { sync, .. } => {
            target == Target::Write || (sync && target == Target::WriteSync)
        }
        Op::Fsync { .. } => target == Target::Sync,
        Op::OpenAt { .. } => target == Target::Open,
        Op::Fallocate { .. } => target == Target::Allocate,
        Op::Ftruncate { .. } => target == Target::Truncate,
        Op::RenameAt { .. } => target == Target::Rename,
        Op::LinkAt { .. } => target == Target::Link,
        Op::UnlinkAt { .. } => target == Target::Remove,
        Op::Send { .. } | Op::SendMsg { .. } => target == Target::Send,
        Op::Recv { .. } | Op::RecvProvided { .. } => target == Target::Recv,
        Op::MkdirAt { .. } => target == Target::MakeDirectory,
        Op::Close { .. }
        | Op::AcceptMulti { .. }
        | Op::Connect { .. }
        | Op::PollOut { .. }
        | Op::MsgRing { .. }
        | Op::Cancel { .. }
        | Op::CancelAll => false,
    }
}

fn shorten(mut op: Op, bytes: u32) -> Op {
    match &mut op {
        Op::Read { len, .. } | Op::Write { len, .. } | Op::Send { len, .. } | Op::Recv { len, .. } => {
            *len = bytes.min(*len);
        }
        Op::Writev { count, .. } => *count = 1,
        _ => {}
    }
    op
}
