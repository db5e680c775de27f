//! Operations in flight: each has a slot, and the slot owns what the kernel works on.
//!
//! OP-1: from submission to the last completion a slot owns the operation's buffers, paths, addresses and descriptor, at a
//! fixed address. Dropping the future only orphans the slot; the completion frees it. (This is what makes RING-1 hold.)
//! OP-2: a completion finds the slot that submitted it: the user data carries the slot's generation.
//! Slots are reused with their iovec storage, so that an operation allocates nothing once the shard is warm.

use std::collections::VecDeque;
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::buf::{AlignedBuf, Slices};
use super::reactor::Runtime;
use super::ring::{Completion, Op};

/// A descriptor that stays open as long as an operation may name it.
pub(super) struct Fd {
    raw: RawFd,
    /// Close on the ring's workers: the last close of a removed file may take long.
    offload_close: bool,
}

impl Fd {
    pub fn of_file(fd: OwnedFd) -> Rc<Fd> {
        Rc::new(Fd { raw: fd.into_raw_fd(), offload_close: true })
    }

    pub fn of_socket(fd: OwnedFd) -> Rc<Fd> {
        Rc::new(Fd { raw: fd.into_raw_fd(), offload_close: false })
    }

    pub fn borrow(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: the descriptor is open until `self` drops.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.raw) }
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.raw
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        if self.offload_close && Runtime::try_with(|rt| rt.close_later(self.raw)) == Some(true) {
            return;
        }
        // SAFETY: `self` owned the descriptor, nobody uses its number any more.
        drop(unsafe { OwnedFd::from_raw_fd(self.raw) });
    }
}

/// What an operation owns besides its descriptor.
#[derive(Default)]
pub(super) enum Payload {
    #[default]
    None,
    Buf(AlignedBuf),
    Slices(Slices),
    Bytes(Vec<u8>),
    Path(CString),
    Paths(CString, CString),
    Addr(socket2::SockAddr),
}

/// What an orphan's result means to the system: it must not leak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Leftover {
    #[default]
    Nothing,
    /// The result is a descriptor.
    Descriptor,
    /// The completion carries a buffer of the pool.
    Buffer,
}

/// How an operation behaves, beyond the [`Op`] itself.
#[derive(Clone, Copy, Default)]
pub(super) struct Manner {
    pub leftover: Leftover,
    /// Dropping the future asks the kernel to stop. Useful where waiting is unbounded; file I/O cannot be stopped anyway.
    pub cancel_on_drop: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    InFlight,
    Done,
    Orphaned,
}

pub(super) struct Slot {
    generation: u32,
    state: State,
    manner: Manner,
    result: i32,
    flags: u32,
    waker: Option<Waker>,
    fd: Option<Rc<Fd>>,
    /// Completions of a multishot operation not yet taken.
    results: VecDeque<Completion>,
    pub payload: Payload,
    pub iov: Vec<libc::iovec>,
    pub msg: libc::msghdr,
    pub word: u64,
}

#[derive(Default)]
pub(super) struct Slots {
    // Boxed: the kernel holds pointers into a slot (OP-1), which must not move when the vector grows.
    #[expect(clippy::vec_box, reason = "OP-1: fixed addresses")]
    all: Vec<Box<Slot>>,
    free: Vec<u32>,
    /// Slots the kernel still has something of.
    pub in_flight: usize,
}

/// Completions that mean nothing: closes, failed cancels.
pub(super) const USER_DATA_IGNORED: u64 = u64::MAX;
const GENERATION_MASK: u32 = 0x00ff_ffff;

impl Slots {
    fn claim(&mut self) -> u32 {
        if let Some(index) = self.free.pop() {
            return index;
        }
        // SAFETY: msghdr is plain old data; all zeroes is its empty value.
        let msg = unsafe { std::mem::zeroed() };
        self.all.push(Box::new(Slot {
            generation: 0,
            state: State::Free,
            manner: Manner::default(),
            result: 0,
            flags: 0,
            waker: None,
            fd: None,
            results: VecDeque::new(),
            payload: Payload::None,
            iov: Vec::new(),
            msg,
            word: 0,
        }));
        (self.all.len() - 1) as u32
    }

    fn release(&mut self, index: u32) -> Remains {
        let slot = &mut self.all[index as usize];
        slot.state = State::Free;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.iov.clear();
        self.free.push(index);
        Remains { fd: slot.fd.take(), payload: std::mem::take(&mut slot.payload), waker: slot.waker.take() }
    }

    /// Books a completion. What is to be woken and dropped comes back, to be done when the slots are no longer borrowed.
    fn complete(&mut self, c: Completion) -> (Option<Waker>, Option<Remains>, Option<(Leftover, Completion)>) {
        let index = (c.user_data & 0xffff_ffff) as u32;
        let generation = (c.user_data >> 32) as u32 & GENERATION_MASK;
        let slot = &mut self.all[index as usize];
        assert_eq!(slot.generation, generation, "OP-2: a completion finds the slot that submitted it");
        assert!(matches!(slot.state, State::InFlight | State::Orphaned), "OP-2: {c:?} found a slot {:?}", slot.state);
        let last = !c.more();
        if last {
            self.in_flight -= 1;
        }
        if slot.state == State::Orphaned {
            let leftover = Some((slot.manner.leftover, c));
            let remains = last.then(|| self.release(index));
            return (None, remains, leftover);
        }
        if last && slot.results.is_empty() {
            (slot.result, slot.flags) = (c.result, c.flags);
        }
        slot.results.push_back(c);
        if last {
            slot.state = State::Done;
        }
        (slot.waker.take(), None, None)
    }
}

/// What a finished slot let go of; dropped outside of the slots' borrow, because dropping may submit again.
struct Remains {
    fd: Option<Rc<Fd>>,
    payload: Payload,
    waker: Option<Waker>,
}

/// What came of an operation, with the buffers it borrowed.
pub(super) struct Outcome {
    pub result: i32,
    pub flags: u32,
    pub payload: Payload,
}

impl Outcome {
    pub fn io(&self) -> io::Result<u32> {
        if self.result < 0 { Err(io::Error::from_raw_os_error(-self.result)) } else { Ok(self.result as u32) }
    }
}

/// A submitted operation: a future of its [`Outcome`]. Dropping it orphans the operation (OP-1).
pub(super) struct Submitted {
    index: u32,
    generation: u32,
    runtime: u16,
    taken: bool,
}

/// Queues an operation on the current shard's ring. `prepare` sees the slot at its fixed address, payload inside.
pub(super) fn submit(
    fd: Option<&Rc<Fd>>,
    payload: Payload,
    manner: Manner,
    prepare: impl FnOnce(&mut Slot) -> Op,
) -> Submitted {
    Runtime::with(|rt| {
        let (op, user_data, submitted) = {
            let slots = &mut *rt.slots.borrow_mut();
            let index = slots.claim();
            slots.in_flight += 1;
            let slot = &mut slots.all[index as usize];
            assert_eq!(slot.state, State::Free);
            slot.state = State::InFlight;
            slot.manner = manner;
            slot.results.clear();
            slot.fd = fd.cloned();
            slot.payload = payload;
            let op = prepare(slot);
            let submitted = Submitted { index, generation: slot.generation, runtime: rt.id, taken: false };
            (op, submitted.user_data(), submitted)
        };
        rt.push(op, user_data);
        submitted
    })
}

impl Submitted {
    fn user_data(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        assert!(!self.taken, "an operation's outcome is taken once");
        let (outcome, remains) = Runtime::with(|rt| {
            assert_eq!(rt.id, self.runtime, "an operation is awaited on the shard that submitted it");
            let slots = &mut *rt.slots.borrow_mut();
            let slot = &mut slots.all[self.index as usize];
            assert_eq!(slot.generation, self.generation, "OP-2");
            if slot.state != State::Done {
                set_waker(&mut slot.waker, cx);
                return None;
            }
            let (result, flags) = (slot.result, slot.flags);
            let mut remains = slots.release(self.index);
            let payload = std::mem::take(&mut remains.payload);
            Some((Outcome { result, flags, payload }, remains))
        })
        .map_or((None, None), |(outcome, remains)| (Some(outcome), Some(remains)));
        drop(remains);
        match outcome {
            None => Poll::Pending,
            Some(outcome) => {
                self.taken = true;
                Poll::Ready(outcome)
            }
        }
    }

    /// The next result of a multishot operation, or `None` when it has ended.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<i32>> {
        Runtime::with(|rt| {
            assert_eq!(rt.id, self.runtime, "an operation is awaited on the shard that submitted it");
            let slots = &mut *rt.slots.borrow_mut();
            let slot = &mut slots.all[self.index as usize];
            assert_eq!(slot.generation, self.generation, "OP-2");
            match slot.results.pop_front() {
                Some(c) => Poll::Ready(Some(c.result)),
                None if slot.state == State::Done => Poll::Ready(None),
                None => {
                    set_waker(&mut slot.waker, cx);
                    Poll::Pending
                }
            }
        })
    }

    /// Asks the kernel to stop; the outcome still comes, as `ECANCELED` or as whatever happened before.
    pub fn cancel(&self) {
        Runtime::with(|rt| rt.push(Op::Cancel { user_data: self.user_data() }, USER_DATA_IGNORED));
    }
}

fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

impl Future for Submitted {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.poll_outcome(cx)
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        Runtime::try_with(|rt| {
            // A value that outlived its runtime: its slots are gone, or leaked on purpose.
            if rt.id != self.runtime {
                return;
            }
            let mut cancel = false;
            let mut results = VecDeque::new();
            let (leftover, remains) = {
                let slots = &mut *rt.slots.borrow_mut();
                let slot = &mut slots.all[self.index as usize];
                assert_eq!(slot.generation, self.generation, "OP-2");
                let leftover = slot.manner.leftover;
                // Results that nobody took: descriptors and buffers among them must not leak.
                std::mem::swap(&mut results, &mut slot.results);
                if slot.state == State::Done {
                    (leftover, Some(slots.release(self.index)))
                } else {
                    slot.state = State::Orphaned;
                    cancel = slot.manner.cancel_on_drop;
                    (leftover, slot.waker.take().map(|w| Remains { fd: None, payload: Payload::None, waker: Some(w) }))
                }
            };
            for c in results {
                rt.discard(leftover, c);
            }
            drop(remains);
            if cancel {
                rt.push(Op::Cancel { user_data: self.user_data() }, USER_DATA_IGNORED);
            }
        });
    }
}

impl Runtime {
    /// Books one completion and wakes whoever waits for it.
    pub(super) fn complete(&self, c: Completion) {
        let (waker, remains, leftover) = self.slots.borrow_mut().complete(c);
        if let Some((leftover, c)) = leftover {
            self.discard(leftover, c);
        }
        if let Some(Remains { fd, payload, waker }) = remains {
            drop((fd, payload, waker));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn discard(&self, leftover: Leftover, c: Completion) {
        match leftover {
            Leftover::Nothing => {}
            Leftover::Descriptor if c.result >= 0 => {
                // SAFETY: the kernel just gave us this descriptor, and nobody else has seen its number.
                drop(unsafe { OwnedFd::from_raw_fd(c.result) });
            }
            Leftover::Descriptor => {}
            Leftover::Buffer => {
                if let Some(id) = io_uring::cqueue::buffer_select(c.flags) {
                    drop(self.pool.received(id, c.result.max(0) as usize));
                }
            }
        }
    }
}
