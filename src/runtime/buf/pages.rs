//! Pages from the system, and a thread that makes some ready before they are asked for.
//!
//! The first touch of a huge page costs what the kernel takes to clear it, and below a hypervisor what that takes to find
//! memory of its own: 3.5 ms for 2 MiB on the machine where this was noticed. On a shard's thread that is a stall for all of
//! its partitions, five times a second at 10 MB/s of new data. So a thread beside it, which runs when the shard's core has
//! nothing else to do, keeps a few mappings touched ahead. A shard that takes them faster touches its own.

use std::ptr::NonNull;
use std::thread::{self, Thread};

use crate::runtime::cpu;

/// A huge page: what an arena's chunk is, and what a mapping is aligned to.
pub(super) const HUGE_PAGE_BYTES: usize = 2 << 20;
const PAGE_BYTES: usize = 4 << 10;

/// Zeroed memory of the process, aligned to 2 MiB; given back to the system with the value.
pub(super) struct Pages {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pages belong to this value alone, and memory is the same for all threads.
unsafe impl Send for Pages {}

impl Pages {
    /// In huge pages where the system gives them.
    pub fn map(bytes: usize) -> Option<Pages> {
        let padded = bytes.checked_add(HUGE_PAGE_BYTES)?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
        let raw = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                padded,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if raw == libc::MAP_FAILED {
            return None;
        }
        let start = (raw as usize).next_multiple_of(HUGE_PAGE_BYTES);
        let head = start - raw as usize;
        let tail = padded - head - bytes;
        // SAFETY: both trimmed ranges lie in the mapping just made and outside of [start, start + bytes), which alone is used.
        // madvise changes how the range is backed, not its contents; its failure (no huge pages) is harmless.
        unsafe {
            if head > 0 {
                libc::munmap(raw, head);
            }
            if tail > 0 {
                libc::munmap((start + bytes) as *mut _, tail);
            }
            libc::madvise(start as *mut _, bytes, libc::MADV_HUGEPAGE);
        }
        Some(Pages { base: NonNull::new(start as *mut u8)?, bytes })
    }

    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets another owner manage the pages; [`from_raw`](Self::from_raw) takes them back.
    pub fn into_raw(self) -> NonNull<u8> {
        let base = self.base;
        std::mem::forget(self);
        base
    }

    /// # Safety
    /// `base` must come from [`into_raw`](Self::into_raw) of pages of so many bytes, once, and nothing may use them any more.
    pub unsafe fn from_raw(base: NonNull<u8>, bytes: usize) -> Pages {
        Pages { base, bytes }
    }

    fn touch(&mut self) {
        for at in (0..self.bytes).step_by(PAGE_BYTES) {
            // SAFETY: within the mapping, which `self` alone owns. Volatile, for nobody reads what is written.
            unsafe { self.base.as_ptr().add(at).write_volatile(0) };
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, made by `map`.
        let rc = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        assert_eq!(rc, 0, "munmap failed: {}", std::io::Error::last_os_error());
    }
}

/// Huge pages that were touched ahead. The thread behind it ends with the value.
pub(super) struct Ready {
    pages: rtrb::Consumer<Pages>,
    toucher: Thread,
}

impl Ready {
    /// Keeps `count` of them ready. `None` when the system gives no thread: then there are none.
    pub fn start(count: usize) -> Option<Ready> {
        let (producer, pages) = rtrb::RingBuffer::new(count);
        // Born on the shard's core, so the pages are of that core's memory.
        let thread = thread::Builder::new().name("page toucher".into()).spawn(move || keep_ready(producer)).ok()?;
        Some(Ready { pages, toucher: thread.thread().clone() })
    }

    pub fn take(&mut self) -> Option<Pages> {
        let pages = self.pages.pop().ok();
        self.toucher.unpark();
        pages
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.toucher.unpark();
    }
}

fn keep_ready(mut ready: rtrb::Producer<Pages>) {
    cpu::run_when_idle();
    while !ready.is_abandoned() {
        if ready.is_full() {
            thread::park();
            continue;
        }
        let Some(mut pages) = Pages::map(HUGE_PAGE_BYTES) else { return };
        pages.touch();
        let _ = ready.push(pages);
    }
}
