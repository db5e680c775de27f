//! Pages from the system, and a thread that touches some of them ahead of use.
//!
//! At the first touch of a huge page the kernel clears it, and a hypervisor may have to find memory for it. This takes
//! 3.5 ms for 2 MiB on a virtual machine. On a shard's thread that stalls all of its partitions, five times a second at
//! 10 MB/s of new data. So a helper thread, which runs only when the core is idle, keeps a few mappings touched. A
//! shard that allocates faster than the helper touches its own pages.

use std::ptr::NonNull;
use std::thread::{self, Thread};

use crate::runtime::cpu;

/// The size of a huge page, of an arena's chunk, and of the alignment of a mapping.
pub(super) const HUGE_PAGE_BYTES: usize = 2 << 20;
const PAGE_BYTES: usize = 4 << 10;

/// Zeroed memory of the process, aligned to 2 MiB. Dropping the value returns it to the system.
pub(super) struct Pages {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: this value alone owns the pages, and a mapping is valid in every thread of the process.
unsafe impl Send for Pages {}

impl Pages {
    /// Maps `bytes`, as huge pages if the system has them. `None` if the system has no memory.
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
        // SAFETY: both trimmed ranges lie in the new mapping and outside of [start, start + bytes), the only range in
        // use. madvise changes how the kernel backs the range, not its contents; its failure (no huge pages) is
        // harmless.
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

    /// Releases the ownership of the pages; [`from_raw`](Self::from_raw) restores it.
    pub fn into_raw(self) -> NonNull<u8> {
        let base = self.base;
        std::mem::forget(self);
        base
    }

    /// # Safety `base` must be the result of [`into_raw`](Self::into_raw) of pages of `bytes`, used once, and nothing
    /// else may use the pages any more.
    pub unsafe fn from_raw(base: NonNull<u8>, bytes: usize) -> Pages {
        Pages { base, bytes }
    }

    fn touch(&mut self) {
        for at in (0..self.bytes).step_by(PAGE_BYTES) {
            // SAFETY: the address is within the mapping, which `self` alone owns. The write is volatile, because no
            // code reads it and the compiler could drop it.
            unsafe { self.base.as_ptr().add(at).write_volatile(0) };
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `map` made the mapping, and this value alone owns it.
        let rc = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        assert_eq!(rc, 0, "munmap failed: {}", std::io::Error::last_os_error());
    }
}

/// Huge pages that are touched ahead of use. Dropping the value ends the helper thread.
pub(super) struct Ready {
    pages: rtrb::Consumer<Pages>,
    toucher: Thread,
}

impl Ready {
    /// Starts a thread that keeps `count` pages ready. `None` if the system has no thread: then no page is ready.
    pub fn start(count: usize) -> Option<Ready> {
        let (producer, pages) = rtrb::RingBuffer::new(count);
        // The thread inherits the shard's core, so that the pages are in that core's memory node.
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
