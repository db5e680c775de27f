//! Operations in flight: each has a slot, and the slot owns the memory that the kernel works on.
//!
//! OP-1: from submission to the last completion, a slot owns the operation's buffers, paths, addresses and descriptor.
//! OP-2: a completion finds the slot that submitted it: the user data carries the slot's generation.
//!
//! A slot has a fixed address, so that the pointers in a submitted [`Op`] stay valid. Dropping the future orphans the
//! slot; the last completion releases it. Slots are reused with their iovec storage: a warm shard does not allocate per
//! operation.

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

/// A descriptor that stays open as long as an operation may use it.
pub(super) struct Fd {
    raw: RawFd,
    /// The ring's workers close it: the last close of a removed file may take long.
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
        // SAFETY: `self` owned the descriptor, and no operation uses its number any more.
        drop(unsafe { OwnedFd::from_raw_fd(self.raw) });
    }
}

/// The data that an operation owns, besides its descriptor.
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

/// The resource that a completion carries. It is released when no future takes the result, so that it does not leak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum ResultResource {
    #[default]
    None,
    /// The result is a descriptor.
    Descriptor,
    /// The completion carries a buffer of the pool.
    Buffer,
}

/// The handling of an operation whose future is dropped.
#[derive(Clone, Copy, Default)]
pub(super) struct OnDrop {
    pub release: ResultResource,
    /// Ask the kernel to cancel the operation. For unbounded waits; the kernel cannot cancel file I/O.
    pub cancel: bool,
}

/// ```text
/// Free -> InFlight -> Done -> Free         the future takes the result, or is dropped after the last completion
///         InFlight -> Orphaned -> Free     the future is dropped first
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SlotState {
    Free,
    /// The kernel works on the operation.
    InFlight,
    /// The last completion is here; the future has not taken it.
    Done,
    /// The kernel works on the operation, but its future is gone.
    Orphaned,
}

pub(super) struct Slot {
    generation: u32,
    state: SlotState,
    on_drop: OnDrop,
    result: i32,
    flags: u32,
    waker: Option<Waker>,
    fd: Option<Rc<Fd>>,
    /// Completions that the future has not taken.
    results: VecDeque<Completion>,
    pub payload: Payload,
    pub iov: Vec<libc::iovec>,
    pub msg: libc::msghdr,
    pub word: u64,
}

impl Slot {
    fn advance(&mut self, to: SlotState) {
        use SlotState::{Done, Free, InFlight, Orphaned};
        let is_legal =
            matches!((self.state, to), (Free, InFlight) | (InFlight, Done | Orphaned) | (Done | Orphaned, Free));
        assert!(is_legal, "OP-1: a slot goes from {:?} to {to:?}", self.state);
        self.state = to;
    }
}

#[derive(Default)]
pub(super) struct Slots {
    // Boxed: the kernel holds pointers into a slot, which must not move when the vector grows (OP-1).
    #[expect(clippy::vec_box, reason = "OP-1: fixed addresses")]
    all: Vec<Box<Slot>>,
    free: Vec<u32>,
    /// Slots whose last completion is outstanding.
    pub in_flight: usize,
}

/// User data of completions that are ignored: failed cancels and messages to other rings.
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
            state: SlotState::Free,
            on_drop: OnDrop::default(),
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

    fn release(&mut self, index: u32) -> Released {
        let slot = &mut self.all[index as usize];
        slot.advance(SlotState::Free);
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.iov.clear();
        self.free.push(index);
        Released { fd: slot.fd.take(), payload: std::mem::take(&mut slot.payload), waker: slot.waker.take() }
    }

    /// Records a completion. Returns the waker to wake and the values to drop: the caller does so after the borrow of
    /// the slots ends.
    fn complete(&mut self, c: Completion) -> (Option<Waker>, Option<Released>, Option<(ResultResource, Completion)>) {
        let index = (c.user_data & 0xffff_ffff) as u32;
        let generation = (c.user_data >> 32) as u32 & GENERATION_MASK;
        let slot = &mut self.all[index as usize];
        assert_eq!(slot.generation, generation, "OP-2: a completion finds the slot that submitted it");
        let is_in_flight = matches!(slot.state, SlotState::InFlight | SlotState::Orphaned);
        assert!(is_in_flight, "OP-2: {c:?} found a slot {:?}", slot.state);
        let last = !c.more();
        if last {
            self.in_flight -= 1;
        }
        if slot.state == SlotState::Orphaned {
            let unclaimed = Some((slot.on_drop.release, c));
            let released = last.then(|| self.release(index));
            return (None, released, unclaimed);
        }
        if last && slot.results.is_empty() {
            (slot.result, slot.flags) = (c.result, c.flags);
        }
        slot.results.push_back(c);
        if last {
            slot.advance(SlotState::Done);
        }
        (slot.waker.take(), None, None)
    }
}

/// The values of a released slot. Dropped after the borrow of the slots ends, because a drop may submit an operation.
struct Released {
    fd: Option<Rc<Fd>>,
    payload: Payload,
    waker: Option<Waker>,
}

/// The result of an operation, with the buffers that it borrowed.
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

/// Queues an operation on the current shard's ring. `prepare` gets the slot with the payload in it.
pub(super) fn submit(
    fd: Option<&Rc<Fd>>,
    payload: Payload,
    on_drop: OnDrop,
    prepare: impl FnOnce(&mut Slot) -> Op,
) -> Submitted {
    Runtime::with(|rt| {
        let (op, user_data, submitted) = {
            let slots = &mut *rt.slots.borrow_mut();
            let index = slots.claim();
            slots.in_flight += 1;
            let slot = &mut slots.all[index as usize];
            slot.advance(SlotState::InFlight);
            slot.on_drop = on_drop;
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
        let (outcome, released) = Runtime::with(|rt| {
            assert_eq!(rt.id, self.runtime, "an operation is awaited on the shard that submitted it");
            let slots = &mut *rt.slots.borrow_mut();
            let slot = &mut slots.all[self.index as usize];
            assert_eq!(slot.generation, self.generation, "OP-2: a future outlived its slot");
            if slot.state != SlotState::Done {
                set_waker(&mut slot.waker, cx);
                return None;
            }
            let (result, flags) = (slot.result, slot.flags);
            let mut released = slots.release(self.index);
            let payload = std::mem::take(&mut released.payload);
            Some((Outcome { result, flags, payload }, released))
        })
        .map_or((None, None), |(outcome, released)| (Some(outcome), Some(released)));
        drop(released);
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
            assert_eq!(slot.generation, self.generation, "OP-2: a future outlived its slot");
            match slot.results.pop_front() {
                Some(c) => Poll::Ready(Some(c.result)),
                None if slot.state == SlotState::Done => Poll::Ready(None),
                None => {
                    set_waker(&mut slot.waker, cx);
                    Poll::Pending
                }
            }
        })
    }

    /// Asks the kernel to cancel. The outcome still arrives: `ECANCELED`, or the result if the operation was faster.
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
            // The value outlived its runtime: the slots are gone, or leaked on purpose.
            if rt.id != self.runtime {
                return;
            }
            let mut cancel = false;
            let mut results = VecDeque::new();
            let (resource, released) = {
                let slots = &mut *rt.slots.borrow_mut();
                let slot = &mut slots.all[self.index as usize];
                assert_eq!(slot.generation, self.generation, "OP-2: a future outlived its slot");
                let resource = slot.on_drop.release;
                // Descriptors and buffers in results that no future took must not leak.
                std::mem::swap(&mut results, &mut slot.results);
                if slot.state == SlotState::Done {
                    (resource, Some(slots.release(self.index)))
                } else {
                    slot.advance(SlotState::Orphaned);
                    cancel = slot.on_drop.cancel;
                    (resource, slot.waker.take().map(|w| Released { fd: None, payload: Payload::None, waker: Some(w) }))
                }
            };
            for c in results {
                rt.release_result(resource, c);
            }
            drop(released);
            if cancel {
                rt.push(Op::Cancel { user_data: self.user_data() }, USER_DATA_IGNORED);
            }
        });
    }
}

impl Runtime {
    /// Records one completion and wakes the task that waits for it.
    pub(super) fn complete(&self, c: Completion) {
        let (waker, released, unclaimed) = self.slots.borrow_mut().complete(c);
        if let Some((resource, c)) = unclaimed {
            self.release_result(resource, c);
        }
        if let Some(Released { fd, payload, waker }) = released {
            drop((fd, payload, waker));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn release_result(&self, resource: ResultResource, c: Completion) {
        match resource {
            ResultResource::None => {}
            ResultResource::Descriptor if c.result >= 0 => {
                // SAFETY: the kernel just opened this descriptor, and no other code has seen its number.
                drop(unsafe { OwnedFd::from_raw_fd(c.result) });
            }
            ResultResource::Descriptor => {}
            ResultResource::Buffer => {
                if let Some(id) = io_uring::cqueue::buffer_select(c.flags) {
                    drop(self.pool.received(id, c.result.max(0) as usize));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slot in flight, and the user data of its operation.
    fn in_flight() -> (Slots, u64) {
        let mut slots = Slots { in_flight: 1, ..Slots::default() };
        let index = slots.claim();
        slots.all[index as usize].advance(SlotState::InFlight);
        (slots, u64::from(index))
    }

    // OP-1
    #[test]
    #[should_panic(expected = "OP-1")]
    fn a_slot_in_flight_is_not_released() {
        let (mut slots, index) = in_flight();
        slots.release(index as u32);
    }

    // OP-2
    #[test]
    #[should_panic(expected = "OP-2")]
    fn a_completion_of_an_earlier_operation_is_refused() {
        let (mut slots, user_data) = in_flight();
        slots.complete(Completion { user_data, result: 0, flags: 0 });
        slots.release(user_data as u32);
        slots.complete(Completion { user_data, result: 0, flags: 0 });
    }
}
