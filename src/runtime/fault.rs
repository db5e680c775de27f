//! Planned failures for tests: the nth write fails, a flush reports EIO, a write is short.
//!
//! The ring applies them, between the kernel and the rest of the runtime, so that tests run the production code.

use super::ring::Op;

/// The kind of operations that a [`Rule`] counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Reads of files.
    Read,
    /// Writes of either [`Durability`](super::Durability).
    Write,
    /// Writes with `Durability::DataSync` only.
    WriteSync,
    /// `sync_data`, `sync_all` and `dir::sync`.
    Sync,
    /// `File::open`, and the open of the directory in `dir::sync`.
    Open,
    /// `File::allocate`.
    Allocate,
    /// `File::set_len`.
    Truncate,
    /// `dir::rename`.
    Rename,
    /// `dir::link`.
    Link,
    /// Removals of files and directories.
    Remove,
    /// `dir::create_all`, once per directory.
    MakeDirectory,
    /// Sends on sockets.
    Send,
    /// Receives on sockets.
    Recv,
    /// Wake-ups of other shards.
    WakeUp,
}

/// The failure of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The operation does not reach the kernel, and reports this errno.
    Errno(i32),
    /// The operation transfers at most this many bytes. A vectored write keeps only its first buffer.
    Short(u32),
    /// The operation waits, and reaches the kernel when the plan is replaced.
    Hold,
}

/// Applies `fault` to the `nth` operation of a kind, counted from 1 since the installation of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The kind of operations.
    pub target: Target,
    /// The first operation that fails.
    pub nth: u64,
    /// Applies the fault to all later operations too.
    pub and_after: bool,
    /// The failure.
    pub fault: Fault,
}

/// The planned failures of this thread's ring; see [`install`](super::install_faults).
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    rules: Vec<(Rule, u64)>,
}

pub(super) enum Verdict {
    /// The operation, possibly shortened, goes to the kernel.
    Pass(Op),
    /// The operation fails with this errno.
    Fail(i32),
    /// The operation waits for the next plan.
    Hold,
}

impl FaultPlan {
    /// A plan of several rules, applied in order.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> FaultPlan {
        FaultPlan { rules: rules.into_iter().map(|rule| (rule, 0)).collect() }
    }

    /// The nth operation of a kind fails with `errno`; later ones succeed.
    pub fn fail(target: Target, nth: u64, errno: i32) -> FaultPlan {
        FaultPlan::new([Rule { target, nth, and_after: false, fault: Fault::Errno(errno) }])
    }

    /// The nth operation of a kind reaches the kernel only when the plan is replaced.
    pub fn hold(target: Target, nth: u64) -> FaultPlan {
        FaultPlan::new([Rule { target, nth, and_after: false, fault: Fault::Hold }])
    }

    /// Whether any rule has been applied.
    pub fn has_struck(&self) -> bool {
        self.rules.iter().any(|(rule, seen)| *seen >= rule.nth)
    }

    pub(super) fn judge(&mut self, mut op: Op) -> Verdict {
        for (rule, seen) in &mut self.rules {
            if !is_target(rule.target, op) {
                continue;
            }
            *seen += 1;
            if *seen == rule.nth || (rule.and_after && *seen > rule.nth) {
                match rule.fault {
                    Fault::Errno(errno) => return Verdict::Fail(errno),
                    Fault::Short(bytes) => op = shorten(op, bytes),
                    Fault::Hold => return Verdict::Hold,
                }
            }
        }
        Verdict::Pass(op)
    }
}

fn is_target(target: Target, op: Op) -> bool {
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
        Op::MsgRing { .. } => target == Target::WakeUp,
        Op::Close { .. }
        | Op::AcceptMulti { .. }
        | Op::Connect { .. }
        | Op::PollOut { .. }
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
