//! Writes chunks to segment files in the background.
//!
//! A full chunk is written at once. When memory is short, partly filled chunks are written too, so that their memory
//! can be freed. On a full disk the writers retry: the data stay in memory and in the journal.

use std::rc::Rc;

use super::Shard;
use super::checkpoint::DISK_FULL_RETRY;
use crate::disk::StorageError;
use crate::runtime::{self, Class};

/// The writes in flight. Each is a direct write of up to 1 MiB; a device is busy only with several.
const WRITERS: usize = 4;

impl Shard {
    pub(super) fn start_write_back(self: &Rc<Self>) {
        for _ in 0..WRITERS {
            runtime::spawn(Class::Background, "write back", self.clone().run_write_back());
        }
    }

    async fn run_write_back(self: Rc<Self>) {
        loop {
            let Some(segment) = self.memory.take_dirty() else {
                if self.stopping.get() {
                    return;
                }
                self.memory.work.notified().await;
                continue;
            };
            match segment.write_back(self.memory.is_short()).await {
                // A segment without a full chunk writes nothing, which proves nothing.
                Ok(0) => {}
                Ok(_) => self.leave_disk_full(),
                Err(error) if error.is_disk_full() => {
                    self.enter_disk_full(&error);
                    self.memory.mark_dirty(&segment);
                    runtime::sleep(DISK_FULL_RETRY).await;
                }
                Err(error) => {
                    self.fail(error);
                    return;
                }
            }
        }
    }

    /// Notes that the disk is full, and wakes the appends that wait for memory: they must fail, not wait.
    pub(super) fn enter_disk_full(&self, error: &StorageError) {
        assert!(error.is_disk_full(), "any other failure ends the shard's writes");
        if !self.disk_full.replace(true) {
            tracing::error!("the disk is full: reads continue, and writes are rejected when memory is full: {error}");
        }
        self.memory.freed.notify_all();
    }

    /// Notes that a write succeeded.
    pub(super) fn leave_disk_full(&self) {
        if self.disk_full.replace(false) {
            tracing::info!("the disk has space again");
        }
    }
}
