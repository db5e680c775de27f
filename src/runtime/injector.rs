//! Messages from ordinary threads (signal handling) to a shard: a locked queue, and an eventfd that the shard's ring
//! reads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::op::{self, Fd, OnDrop, Payload, Submitted};
use super::ring::Op;

struct Queue<T> {
    messages: Mutex<VecDeque<T>>,
    event: OwnedFd,
    receiver_gone: AtomicBool,
}

/// The sending half, for any thread.
pub struct Injector<T: Send>(Arc<Queue<T>>);

/// The receiving half, for the shard that it is moved to.
pub struct InjectorReceiver<T: Send>(Arc<Queue<T>>);

/// Makes a queue from ordinary threads to one shard.
///
/// # Panics
/// If the process is out of descriptors.
pub fn injector<T: Send>() -> (Injector<T>, InjectorReceiver<T>) {
    // The eventfd is blocking on purpose: the ring would report EAGAIN for a non-blocking one.
    // SAFETY: no memory is involved; the result is checked.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    assert!(fd >= 0, "eventfd failed: {}", io::Error::last_os_error());
    // SAFETY: a new descriptor that no other code owns.
    let event = unsafe { OwnedFd::from_raw_fd(fd) };
    let queue = Arc::new(Queue { messages: Mutex::default(), event, receiver_gone: AtomicBool::new(false) });
    (Injector(queue.clone()), InjectorReceiver(queue))
}

impl<T: Send> Clone for Injector<T> {
    fn clone(&self) -> Self {
        Injector(self.0.clone())
    }
}

impl<T: Send> Injector<T> {
    /// Queues the message, or returns it if the receiver is gone.
    pub fn send(&self, message: T) -> Result<(), T> {
        if self.0.receiver_gone.load(Ordering::Acquire) {
            return Err(message);
        }
        let first = {
            let mut messages = self.0.messages.lock().unwrap_or_else(PoisonError::into_inner);
            messages.push_back(message);
            messages.len() == 1
        };
        if first {
            let one = 1_u64.to_ne_bytes();
            // SAFETY: the pointer and length describe `one`. The write cannot block: the counter is far below its
            // maximum.
            let n = unsafe { libc::write(self.0.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            assert_eq!(n, 8, "writing to an eventfd failed: {}", io::Error::last_os_error());
        }
        Ok(())
    }
}

impl<T: Send> InjectorReceiver<T> {
    /// The next message, if one is queued.
    pub fn try_recv(&self) -> Option<T> {
        self.0.messages.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Waits for the next message, even if all injectors are gone.
    pub async fn recv(&self) -> T {
        loop {
            if let Some(message) = self.try_recv() {
                return message;
            }
            // The eventfd counts writes that precede the read. A dropped read may have consumed the count; this is
            // harmless, because the queue is checked first.
            let _ = self.read_event().await;
        }
    }

    fn read_event(&self) -> Submitted {
        let event = self.0.event.try_clone().expect("an eventfd can be duplicated");
        let fd = Fd::of_socket(event);
        let on_drop = OnDrop { cancel: true, ..OnDrop::default() };
        op::submit(Some(&fd), Payload::None, on_drop, |slot| Op::Read {
            fd: fd.as_raw_fd(),
            ptr: (&raw mut slot.word).cast(),
            len: 8,
            pos: 0,
        })
    }
}

impl<T: Send> Drop for InjectorReceiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.store(true, Ordering::Release);
    }
}
