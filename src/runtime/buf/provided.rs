//! The pool of receive buffers: a waiting connection holds none; the kernel picks one when bytes arrive.
//!
//! POOL-1: a buffer belongs either to the kernel (in the ring) or to one [`Received`], never to both.
//!
//! A dropped [`Received`] returns its buffer to the ring. A receive that finds the ring empty waits for a returned
//! buffer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, Waker};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::pages::Pages;

pub(in crate::runtime) struct Pool {
    /// Both mappings outlive the ring (the runtime drops it first) and every `Received` (it holds the pool).
    entries: Pages,
    buffers: Pages,
    buffer_bytes: u32,
    count: u16,
    tail: Cell<u16>,
    /// The buffers in the ring. A buffer that the kernel picks is subtracted with its completion.
    available: Cell<u16>,
    waiters: RefCell<VecDeque<Waker>>,
}

impl Pool {
    pub const GROUP: u16 = 0;

    /// Registers the pool with the ring. `count` is rounded up to a power of two.
    pub fn new(uring: &IoUring, count: u16, buffer_bytes: u32) -> io::Result<Rc<Pool>> {
        let count = count.clamp(1, 1 << 15).next_power_of_two();
        let buffer_bytes = buffer_bytes.max(64).next_multiple_of(64);
        let entries_bytes = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(4096);
        let buffers_bytes = usize::from(count) * buffer_bytes as usize;
        let out_of_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
        let pool = Pool {
            entries: Pages::map(entries_bytes).ok_or_else(out_of_memory)?,
            buffers: Pages::map(buffers_bytes).ok_or_else(out_of_memory)?,
            buffer_bytes,
            count,
            tail: Cell::new(0),
            available: Cell::new(0),
            waiters: RefCell::default(),
        };
        // SAFETY: the memory has `count` entries, is page-aligned, and stays mapped longer than the ring: the runtime
        // drops its ring before its pool.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(pool.entries().as_ptr() as u64, count, Pool::GROUP, 0)?;
        }
        for id in 0..count {
            pool.put(id);
        }
        Ok(Rc::new(pool))
    }

    fn entries(&self) -> NonNull<BufRingEntry> {
        self.entries.base().cast()
    }

    fn put(&self, id: u16) {
        assert!(id < self.count && self.available.get() < self.count, "POOL-1: buffer {id} returns once");
        let tail = self.tail.get();
        // SAFETY: the masked index is within the ring; the kernel ignores the entry until the tail moves past it. The
        // buffer's address is within the mapping. The tail word is shared with the kernel, hence the atomic store.
        unsafe {
            let entry = &mut *self.entries().as_ptr().add(usize::from(tail & (self.count - 1)));
            entry.set_addr(self.buffers.base().as_ptr().add(usize::from(id) * self.buffer_bytes as usize) as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
            let shared_tail = BufRingEntry::tail(self.entries().as_ptr()).cast::<AtomicU16>();
            (*shared_tail).store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
        self.available.set(self.available.get() + 1);
    }

    /// Takes buffer `id`, which the kernel picked and wrote `len` bytes to.
    pub fn received(self: &Rc<Pool>, id: u16, len: usize) -> Received {
        assert!(id < self.count && len <= self.buffer_bytes as usize, "POOL-1: {len} bytes in buffer {id}");
        self.available.set(self.available.get().checked_sub(1).expect("POOL-1: a buffer is picked once"));
        Received { pool: Some(self.clone()), id, start: 0, len }
    }

    /// Ready if a buffer is in the ring. Picks whose completions were not processed yet still count as in the ring.
    pub fn poll_available(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.available.get() > 0 {
            return Poll::Ready(());
        }
        let mut waiters = self.waiters.borrow_mut();
        if !waiters.iter().any(|w| w.will_wake(cx.waker())) {
            waiters.push_back(cx.waker().clone());
        }
        Poll::Pending
    }

    fn put_back(&self, id: u16) {
        self.put(id);
        // Wakes all of them: a dropped waiter must not lose the wake-up. Waiters are few, and exist only when the pool
        // is empty.
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        waiters.into_iter().for_each(Waker::wake);
    }
}

/// Received bytes in a buffer of the shard's pool. Drop it soon: all connections share the pool. Empty means end of
/// stream.
pub struct Received {
    pool: Option<Rc<Pool>>,
    id: u16,
    start: usize,
    len: usize,
}

impl Received {
    pub(in crate::runtime) fn end_of_stream() -> Received {
        Received { pool: None, id: 0, start: 0, len: 0 }
    }

    /// Removes the first `bytes`, after the caller has used them.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len, "{bytes} of {} bytes", self.len);
        self.start += bytes;
        self.len -= bytes;
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.pool {
            None => &[],
            // SAFETY: the kernel wrote `start + len` bytes to buffer `id`, which this value alone owns (POOL-1).
            Some(pool) => unsafe {
                let at = usize::from(self.id) * pool.buffer_bytes as usize + self.start;
                std::slice::from_raw_parts(pool.buffers.base().as_ptr().add(at), self.len)
            },
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.put_back(self.id);
        }
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Received({} bytes)", self.len)
    }
}
