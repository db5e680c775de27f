//! The only interface to the kernel's ring: plain [`Op`] values go in, `(user_data, result, flags)` come out.
//!
//! The code above knows operations, not io_uring. A simulated kernel can replace this file without a change above it.
//! [`FaultPlan`] and [`Recorder`] are the part of such a simulation that exists today.
//!
//! The memory that an `Op` points at stays valid and in place until the last completion. Only `op.rs` pushes operations
//! with pointers, and its slots own that memory (OP-1).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::buf::Pool;
use super::clock;
use super::fault::{FaultPlan, Verdict};
use super::record::Recorder;

/// One operation for the kernel. Its pointers stay valid until its last completion (OP-1).
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Read { fd: RawFd, ptr: *mut u8, len: u32, pos: u64 },
    Write { fd: RawFd, ptr: *const u8, len: u32, pos: u64, sync: bool },
    Writev { fd: RawFd, iov: *const libc::iovec, count: u32, pos: u64, sync: bool },
    Fsync { fd: RawFd, data_only: bool },
    Fallocate { fd: RawFd, pos: u64, len: u64 },
    Ftruncate { fd: RawFd, len: u64 },
    OpenAt { path: *const libc::c_char, flags: i32, mode: u32 },
    UnlinkAt { path: *const libc::c_char, dir: bool },
    RenameAt { from: *const libc::c_char, to: *const libc::c_char },
    LinkAt { from: *const libc::c_char, to: *const libc::c_char },
    MkdirAt { path: *const libc::c_char, mode: u32 },
    Close { fd: RawFd },
    Recv { fd: RawFd, ptr: *mut u8, len: u32, all: bool },
    RecvProvided { fd: RawFd, group: u16, poll_first: bool },
    Send { fd: RawFd, ptr: *const u8, len: u32, all: bool },
    SendMsg { fd: RawFd, msg: *const libc::msghdr, all: bool },
    PollOut { fd: RawFd },
    AcceptMulti { fd: RawFd },
    Connect { fd: RawFd, addr: *const libc::sockaddr, len: u32 },
    MsgRing { ring: RawFd, user_data: u64 },
    Cancel { user_data: u64 },
    CancelAll,
}

/// The result of an operation: the system call's result or a negative errno, and io_uring's CQE flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub user_data: u64,
    pub result: i32,
    pub flags: u32,
}

impl Completion {
    /// Whether more completions follow for the same operation (multishot).
    pub fn more(self) -> bool {
        cqueue::more(self.flags)
    }
}

/// How long [`Ring::enter`] may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    /// Until a completion arrives or the time has passed.
    For(Duration),
    Forever,
}

pub(super) struct Ring {
    uring: IoUring,
    /// The index among the thread's registered rings. It saves the descriptor lookup in each `enter`.
    registered: Option<u32>,
    ftruncate_supported: bool,
    faults: Option<FaultPlan>,
    /// Operations that the fault plan holds back.
    pub held: Vec<(Op, u64)>,
    pub recorder: Option<Recorder>,
    /// Completions of operations that did not reach the kernel.
    synthetic: VecDeque<Completion>,
    pub enters: u64,
}

/// The smallest ring size that is tried.
pub(super) const ENTRIES_MIN: u32 = 32;
/// How long to wait for locked memory: kernel threads release the memory of a closed ring a little later.
const CLOSED_RING_WAIT_MAX: Duration = Duration::from_millis(300);

/// A ring with the flags that Tidemill requires, and its pool of receive buffers.
pub(super) struct Built {
    // Fields drop in this order: the ring before its pool, see `Pool`.
    pub uring: IoUring,
    pub pool: Rc<Pool>,
}

/// Builds a ring of exactly `entries` (a power of two). Retries for a short time when locked memory is short.
pub(super) fn build(entries: u32, recv_buffers: u16, recv_buffer_bytes: u32) -> io::Result<Built> {
    let begun = clock::now();
    loop {
        match try_build(entries, recv_buffers, recv_buffer_bytes) {
            Err(error) if is_out_of_memory(&error) && begun.elapsed() < CLOSED_RING_WAIT_MAX => {
                std::thread::sleep(Duration::from_millis(10));
            }
            built => return built,
        }
    }
}

fn try_build(entries: u32, recv_buffers: u16, recv_buffer_bytes: u32) -> io::Result<Built> {
    let uring = IoUring::builder()
        .setup_clamp()
        .setup_cqsize(entries * 4)
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .dontfork()
        .build(entries)?;
    let pool = Pool::new(&uring, recv_buffers, recv_buffer_bytes)?;
    Ok(Built { uring, pool })
}

/// Builds a ring of at most `entries`, as large as the limit on locked memory allows. A smaller ring needs more enters.
pub(super) fn build_largest(entries: u32, recv_buffers: u16, recv_buffer_bytes: u32) -> io::Result<Built> {
    let mut entries = supported_entries(entries);
    loop {
        match build(entries, recv_buffers, recv_buffer_bytes) {
            Err(error) if is_out_of_memory(&error) && entries > ENTRIES_MIN => entries /= 2,
            built => return built,
        }
    }
}

/// Rounds the requested entries to a supported ring size.
pub(super) fn supported_entries(entries: u32) -> u32 {
    entries.clamp(ENTRIES_MIN, 32_768).next_power_of_two()
}

pub(super) fn is_out_of_memory(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOMEM)
}

impl Ring {
    /// Must be called on the thread that built the ring and will use it (SINGLE_ISSUER).
    pub fn new(uring: IoUring) -> io::Result<Ring> {
        let mut probe = io_uring::Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let ftruncate_supported = probe.is_supported(opcode::Ftruncate::CODE);
        let registered = register_ring_fd(uring.as_raw_fd());
        Ok(Ring {
            uring,
            registered,
            ftruncate_supported,
            faults: None,
            held: Vec::new(),
            recorder: None,
            synthetic: VecDeque::new(),
            enters: 0,
        })
    }

    pub fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Queues `op` for the next [`enter`](Self::enter). A full queue is submitted first.
    pub fn push(&mut self, op: Op, user_data: u64) {
        let verdict = self.faults.as_mut().map_or(Verdict::Pass(op), |plan| plan.judge(op));
        match verdict {
            Verdict::Pass(op) => self.push_now(op, user_data),
            Verdict::Fail(errno) => {
                self.begin_record(op, user_data);
                self.synthetic.push_back(Completion { user_data, result: -errno, flags: 0 });
            }
            Verdict::Hold => self.held.push((op, user_data)),
        }
    }

    /// Replaces the fault plan, and queues the operations that the previous one has held back.
    pub fn replace_faults(&mut self, plan: Option<FaultPlan>) -> Option<FaultPlan> {
        for (op, user_data) in std::mem::take(&mut self.held) {
            self.push_now(op, user_data);
        }
        std::mem::replace(&mut self.faults, plan)
    }

    fn begin_record(&self, op: Op, user_data: u64) {
        if let Some(recorder) = &self.recorder {
            recorder.begin(op, user_data);
        }
    }

    fn push_now(&mut self, op: Op, user_data: u64) {
        self.begin_record(op, user_data);
        if let Op::Ftruncate { fd, len } = op
            && !self.ftruncate_supported
        {
            // SAFETY: a system call on a descriptor number; no memory is involved.
            let rc = unsafe { libc::ftruncate(fd, len as i64) };
            let result = if rc == 0 { 0 } else { -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) };
            self.synthetic.push_back(Completion { user_data, result, flags: 0 });
            return;
        }
        let entry = entry(op).user_data(user_data);
        loop {
            // SAFETY: the entry's pointers stay valid until its last completion (OP-1).
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            if let Err(error) = self.enter_raw(false, Wait::No) {
                panic!("io_uring_enter rejects submissions: {error}");
            }
        }
    }

    /// Whether [`enter`](Self::enter) has work: entries to submit, or completions that the kernel delivers only on
    /// enter.
    pub fn needs_enter(&mut self) -> bool {
        let sq = self.uring.submission();
        !sq.is_empty() || sq.taskrun() || sq.cq_overflow()
    }

    /// Whether completions are available, now or after an `enter`. Two loads: cheap enough to spin on.
    pub fn has_completions(&mut self) -> bool {
        if !self.synthetic.is_empty() {
            return true;
        }
        let (_, sq, cq) = self.uring.split();
        !cq.is_empty() || sq.taskrun() || sq.cq_overflow()
    }

    /// Submits the queued operations, runs the kernel's deferred work for this ring, and waits as `wait` specifies.
    pub fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let wait = if self.synthetic.is_empty() { wait } else { Wait::No };
        self.enter_raw(true, wait)
    }

    fn enter_raw(&mut self, reap: bool, wait: Wait) -> io::Result<()> {
        const GETEVENTS: u32 = 1;
        const EXT_ARG: u32 = 1 << 3;
        const REGISTERED_RING: u32 = 1 << 4;

        #[repr(C)]
        struct Timespec {
            sec: i64,
            nsec: i64,
        }
        #[repr(C)]
        struct GeteventsArg {
            sigmask: u64,
            sigmask_bytes: u32,
            min_wait_us: u32,
            timespec: u64,
        }
        const _: () = assert!(size_of::<GeteventsArg>() == 24);

        let to_submit = self.uring.submission().len() as u32;
        let timespec = match wait {
            Wait::For(d) => Some(Timespec { sec: d.as_secs() as i64, nsec: d.subsec_nanos().into() }),
            Wait::No | Wait::Forever => None,
        };
        let arg = GeteventsArg {
            sigmask: 0,
            sigmask_bytes: 0,
            min_wait_us: 0,
            timespec: timespec.as_ref().map_or(0, |t| std::ptr::from_ref(t) as u64),
        };
        let min_complete = u32::from(wait != Wait::No);
        let (fd, registered) = match self.registered {
            Some(index) => (index as i32, REGISTERED_RING),
            None => (self.uring.as_raw_fd(), 0),
        };
        let flags = registered | if reap { GETEVENTS | EXT_ARG } else { 0 };
        let (arg_ptr, arg_bytes) =
            if reap { (std::ptr::from_ref(&arg), size_of::<GeteventsArg>()) } else { (std::ptr::null(), 0) };
        self.enters += 1;
        // SAFETY: `arg` and `timespec` outlive the call and have the kernel's layout (checked above). The pointers of
        // the submitted entries are valid (OP-1). This thread is the ring's only issuer: `Runtime` is thread-local.
        let rc =
            unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, to_submit, min_complete, flags, arg_ptr, arg_bytes) };
        if rc >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Timeout; signal; completions must be reaped or memory freed first. The event loop tries again.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }

    /// Moves all available completions to `out`.
    pub fn reap(&mut self, out: &mut Vec<Completion>) {
        let from = out.len();
        out.extend(self.synthetic.drain(..));
        out.extend(self.uring.completion().map(|cqe| Completion {
            user_data: cqe.user_data(),
            result: cqe.result(),
            flags: cqe.flags(),
        }));
        if let Some(recorder) = &self.recorder {
            out[from..].iter().for_each(|completion| recorder.end(*completion));
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The registration holds a reference to the ring, and with it to every pending operation.
        if let Some(index) = self.registered.take() {
            unregister_ring_fd(self.uring.as_raw_fd(), index);
        }
    }
}

fn entry(op: Op) -> squeue::Entry {
    let at_cwd = types::Fd(libc::AT_FDCWD);
    let dsync = |sync: bool| if sync { libc::RWF_DSYNC } else { 0 };
    match op {
        Op::Read { fd, ptr, len, pos } => opcode::Read::new(types::Fd(fd), ptr, len).offset(pos).build(),
        Op::Write { fd, ptr, len, pos, sync } => {
            opcode::Write::new(types::Fd(fd), ptr, len).offset(pos).rw_flags(dsync(sync)).build()
        }
        Op::Writev { fd, iov, count, pos, sync } => {
            opcode::Writev::new(types::Fd(fd), iov, count).offset(pos).rw_flags(dsync(sync)).build()
        }
        Op::Fsync { fd, data_only } => {
            let flags = if data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
            opcode::Fsync::new(types::Fd(fd)).flags(flags).build()
        }
        Op::Fallocate { fd, pos, len } => opcode::Fallocate::new(types::Fd(fd), len).offset(pos).build(),
        Op::Ftruncate { fd, len } => opcode::Ftruncate::new(types::Fd(fd), len).build(),
        Op::OpenAt { path, flags, mode } => {
            opcode::OpenAt::new(at_cwd, path).flags(flags | libc::O_CLOEXEC).mode(mode).build()
        }
        Op::UnlinkAt { path, dir } => {
            opcode::UnlinkAt::new(at_cwd, path).flags(if dir { libc::AT_REMOVEDIR } else { 0 }).build()
        }
        Op::RenameAt { from, to } => opcode::RenameAt::new(at_cwd, from, at_cwd, to).build(),
        Op::LinkAt { from, to } => opcode::LinkAt::new(at_cwd, from, at_cwd, to).build(),
        Op::MkdirAt { path, mode } => opcode::MkDirAt::new(at_cwd, path).mode(mode).build(),
        // The last close of an unlinked file frees its blocks, which may take long: a kernel worker does it.
        Op::Close { fd } => opcode::Close::new(types::Fd(fd)).build().flags(squeue::Flags::ASYNC),
        Op::Recv { fd, ptr, len, all } => {
            opcode::Recv::new(types::Fd(fd), ptr, len).flags(if all { libc::MSG_WAITALL } else { 0 }).build()
        }
        Op::RecvProvided { fd, group, poll_first } => opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), 0)
            .ioprio(if poll_first { IORING_RECVSEND_POLL_FIRST } else { 0 })
            .buf_group(group)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT),
        Op::Send { fd, ptr, len, all } => opcode::Send::new(types::Fd(fd), ptr, len).flags(send_flags(all)).build(),
        Op::SendMsg { fd, msg, all } => opcode::SendMsg::new(types::Fd(fd), msg).flags(send_flags(all) as u32).build(),
        Op::PollOut { fd } => opcode::PollAdd::new(types::Fd(fd), libc::POLLOUT as u32).build(),
        Op::AcceptMulti { fd } => opcode::AcceptMulti::new(types::Fd(fd)).flags(libc::SOCK_CLOEXEC).build(),
        Op::Connect { fd, addr, len } => opcode::Connect::new(types::Fd(fd), addr, len).build(),
        // A completion is posted on failure only.
        Op::MsgRing { ring, user_data } => {
            opcode::MsgRingData::new(types::Fd(ring), 0, user_data, None).build().flags(squeue::Flags::SKIP_SUCCESS)
        }
        Op::Cancel { user_data } => opcode::AsyncCancel::new(user_data).build().flags(squeue::Flags::SKIP_SUCCESS),
        Op::CancelAll => opcode::AsyncCancel2::new(types::CancelBuilder::any()).build(),
    }
}

/// `all`: send all bytes, and wait for room in the socket. Otherwise send the bytes that fit now.
fn send_flags(all: bool) -> i32 {
    libc::MSG_NOSIGNAL | if all { libc::MSG_WAITALL } else { libc::MSG_DONTWAIT }
}

/// Poll for readability before the first receive attempt: the socket is expected to be empty.
const IORING_RECVSEND_POLL_FIRST: u16 = 1;

#[repr(C)]
struct RsrcUpdate {
    offset: u32,
    resv: u32,
    data: u64,
}

fn register_ring_fd(fd: RawFd) -> Option<u32> {
    const IORING_REGISTER_RING_FDS: u32 = 20;
    let mut update = RsrcUpdate { offset: u32::MAX, resv: 0, data: fd as u64 };
    // SAFETY: `update` is the one element that the kernel reads and writes (io_uring_rsrc_update). It outlives the
    // call.
    let rc = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, IORING_REGISTER_RING_FDS, &raw mut update, 1) };
    (rc == 1).then_some(update.offset)
}

fn unregister_ring_fd(fd: RawFd, index: u32) {
    const IORING_UNREGISTER_RING_FDS: u32 = 21;
    let mut update = RsrcUpdate { offset: index, resv: 0, data: 0 };
    // SAFETY: as in `register_ring_fd`.
    unsafe { libc::syscall(libc::SYS_io_uring_register, fd, IORING_UNREGISTER_RING_FDS, &raw mut update, 1) };
}
