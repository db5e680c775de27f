//! From ordinary threads (signals, the edge) into a shard: a locked queue and an eventfd that the shard's ring reads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::op::{self, Fd, Manner, Payload, Submitted};
use super::ring::Op;

struct Queue<T> {
    messages: Mutex<VecDeque<T>>,
    event: OwnedFd,
    receiver_gone: AtomicBool,
}

/// The sending side, for any thread.
pub struct Injector<T: Send>(Arc<Queue<T>>);

/// The receiving side, for the shard it is moved to.
pub struct InjectorReceiver<T: Send>(Arc<Queue<T>>);

/// # Panics
/// When the process is out of descriptors.
pub fn injector<T: Send>() -> (Injector<T>, InjectorReceiver<T>) {
    // SAFETY: no memory is involved; the result is checked. Blocking on purpose: the ring polls it, and would report EAGAIN
    // for a non-blocking one.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    assert!(fd >= 0, "eventfd failed: {}", io::Error::last_os_error());
    // SAFETY: a fresh descriptor that nobody else owns.
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
    /// Gives the message back when the receiver is gone.
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
            // SAFETY: the pointer and length describe `one`. The write cannot block: the counter is far below its maximum.
            let n = unsafe { libc::write(self.0.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            assert_eq!(n, 8, "writing to an eventfd failed: {}", io::Error::last_os_error());
        }
        Ok(())
    }
}

impl<T: Send> InjectorReceiver<T> {
    pub fn try_recv(&self) -> Option<T> {
        self.0.messages.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The next message; waits for one, also when all injectors are gone.
    pub async fn recv(&self) -> T {
        loop {
            if let Some(message) = self.try_recv() {
                return message;
            }
            // The counter keeps what was written before the read is there; a read that was dropped (and consumed the count)
            // does no harm, because the queue is looked at first.
            let _ = self.read_event().await;
        }
    }

    fn read_event(&self) -> Submitted {
        let event = self.0.event.try_clone().expect("an eventfd can be duplicated");
        let fd = Fd::of_socket(event);
        let manner = Manner { cancel_on_drop: true, ..Manner::default() };
        op::submit(Some(&fd), Payload::None, manner, |slot| Op::Read {
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
