//! Wakers that are a number: runtime, slot and generation. To clone, wake or drop one needs no allocation and no
//! reference count.
//!
//! WAKER-1: a task is woken only on the thread of its runtime.
//!
//! Threads wake each other through a mailbox or an injector.

use std::cell::Cell;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::super::reactor::Runtime;
use super::TaskId;

const _: () = assert!(usize::BITS == 64, "a waker packs 64 bits");

thread_local! {
    /// The thread's last runtime, running or ended.
    static LAST_RUNTIME: Cell<Option<u16>> = const { Cell::new(None) };
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(|data| RawWaker::new(data, &VTABLE), wake, wake, |_| {});

/// Bits: runtime 16, generation 24, index 24.
pub fn waker(runtime: u16, id: TaskId) -> Waker {
    let packed = u64::from(runtime) << 48 | u64::from(id.generation) << 24 | u64::from(id.index);
    let raw = RawWaker::new(std::ptr::without_provenance(packed as usize), &VTABLE);
    // SAFETY: the functions of the table never dereference the data pointer, which is a number, and never free it.
    // `wake` checks the thread, so that `Send + Sync` of `Waker` are sound (WAKER-1).
    unsafe { Waker::from_raw(raw) }
}

fn wake(data: *const ()) {
    let packed = data.addr() as u64;
    let runtime = (packed >> 48) as u16;
    let id = TaskId { index: (packed & 0xff_ffff) as u32, generation: (packed >> 24 & 0xff_ffff) as u32 };
    let here = Runtime::try_with(|rt| {
        if rt.id == runtime {
            rt.tasks.wake(id);
        }
        rt.id
    });
    // A value that outlived its runtime may still wake a task of it. That runtime was this thread's last.
    let here = here.or_else(|| LAST_RUNTIME.get());
    assert_eq!(here, Some(runtime), "WAKER-1: a task is woken on its own shard");
}

/// Marks a runtime as the thread's last one.
pub struct Waking;

impl Waking {
    pub fn begin(runtime: u16) -> Waking {
        LAST_RUNTIME.set(Some(runtime));
        Waking
    }
}
