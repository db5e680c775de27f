//! Chunks to segment files, in the background.
//!
//! Full chunks go as soon as they are full. When memory is short, partly filled ones go as well, so that they can be
//! given back. A full disk is waited out: the data stay in memory and in the journal.

use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use crate::runtime::{self, Class};

/// Writes at a time. Each is up to 1 MiB, direct; a device wants a few.
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
                Ok(()) => self.space_is_back(),
                Err(error) if error.is_disk_full() => {
                    self.space_is_out(&error);
                    self.memory.mark_dirty(&segment);
                    runtime::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => {
                    self.fail(&error);
                    return;
                }
            }
        }
    }

    pub(super) fn space_is_out(&self, error: &crate::disk::StorageError) {
        if !self.disk_full.replace(true) {
            tracing::error!("the disk is full; reads go on, writes are refused when memory is used up: {error}");
        }
        self.memory.freed.notify_all();
    }

    pub(super) fn space_is_back(&self) {
        if self.disk_full.replace(false) {
            tracing::info!("there is space on the disk again");
        }
    }
}
