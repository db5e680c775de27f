//! Removal: first the names of a segment's files go, then its disk space.

use std::rc::Rc;
use std::time::Duration;

use super::file::SegmentFile;
use super::{Segment, SegmentState};
use crate::disk::StorageError;
use crate::runtime::{self, Class, dir};

/// The space of a removed file is freed in steps of this size. Freeing it at once blocks every flush: a journal flush
/// took 190 ms while ext4 freed 1.3 GB.
const RELEASE_BYTES: u64 = 1 << 20;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

impl Segment {
    /// Stops all writes of the segment and releases its memory. Calling it again changes nothing.
    pub fn discard(&self) {
        if !self.is_removed() {
            let was_sealed = self.is_sealed();
            self.content.borrow_mut().state.advance(SegmentState::Removed { was_sealed });
        }
        self.content.borrow_mut().chunks.clear();
        self.pages.borrow_mut().clear();
        // Ends reads of this segment that wait for memory.
        self.memory.freed.notify_all();
    }

    /// Takes the segment out of use: renames its files to `.deleted` and, `delay` later, removes them.
    pub async fn remove(self: Rc<Self>, delay: Duration) -> Result<(), StorageError> {
        self.discard();
        // The topic was deleted: its whole directory is removed.
        let Some(names) = self.directory.names() else { return Ok(()) };
        let mut renamed = Vec::new();
        for extension in ["log", "index", "timeindex", "txnindex", "snapshot"] {
            let from = names.file(self.base_offset, extension);
            let to = from.with_extension(format!("{extension}.deleted"));
            match dir::rename(&from, &to).await {
                Ok(()) => renamed.push(to),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::io("rename segment", from)(error)),
            }
        }
        // Sync before any byte is freed: after a power failure the old name must not lead to an empty file.
        dir::sync(&*names).await.map_err(StorageError::flush("flush directory", &*names))?;
        drop(names);
        runtime::spawn(Class::Background, "segment remove", async move {
            runtime::sleep(delay).await;
            let Some(names) = self.directory.names() else { return };
            for path in renamed {
                if path.to_string_lossy().ends_with(".log.deleted") {
                    // Hold the file open, so that the removal of its name does not free its space.
                    let file = SegmentFile::open_removed(&path).await;
                    *self.file.borrow_mut() = file;
                }
                if let Err(error) = dir::remove_file(&path).await {
                    tracing::warn!("could not remove {}: {error}", path.display());
                }
            }
            drop(names);
            self.release_space().await;
        });
        Ok(())
    }

    /// Frees the disk space of a segment whose file has no name any more, in steps, as long as no reader holds the
    /// segment.
    pub(in crate::log) async fn release_space(self: Rc<Self>) {
        let Some(file) = self.file.borrow().clone() else { return };
        let mut bytes = self.written();
        while bytes > 0 && Rc::strong_count(&self) == 1 {
            bytes = bytes.saturating_sub(RELEASE_BYTES);
            if file.truncate(bytes).await.is_err() {
                return;
            }
            runtime::sleep(RELEASE_PAUSE).await;
        }
    }
}
