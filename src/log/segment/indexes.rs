//! The offset index and the time index of a segment: in memory, in their files, or to be made again.

use std::rc::Rc;

use super::{Segment, file_path};
use crate::disk::StorageError;
use crate::log::index::{Indexes, OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};
use crate::log::recover::{length_of, rebuild_indexes};
use crate::runtime::dir;
use crate::runtime::file::{Durability, File, Open};

impl Segment {
    /// How many entries the offset index has; a full one is a reason to roll.
    pub fn index_entries(&self) -> usize {
        self.indexes.borrow().as_ref().map_or(0, |indexes| indexes.offsets.len())
    }

    /// The size of the offset index, which is not read for that.
    pub(in crate::log) async fn index_bytes(self: &Rc<Self>) -> Result<usize, StorageError> {
        if self.indexes_in_memory().is_none()
            && let Ok(bytes) = length_of(&file_path(&self.directory, self.base_offset, "index")).await
        {
            return Ok(bytes as usize);
        }
        Ok(self.indexes().await?.offsets.len() * OFFSET_ENTRY_BYTES)
    }

    /// The indexes, read from their files (or rebuilt) when they are not in memory.
    pub async fn indexes(self: &Rc<Self>) -> Result<Rc<Indexes>, StorageError> {
        if let Some(indexes) = &*self.indexes.borrow() {
            return Ok(indexes.clone());
        }
        let indexes = match self.read_indexes().await {
            // Any segment with a batch has a time entry once it is sealed, unless its records bear no time.
            Ok(indexes) if !indexes.times.is_empty() || self.size() == 0 => indexes,
            other => {
                let why = other.err().unwrap_or_else(|| "the time index is empty".into());
                tracing::info!("rebuilding the indexes of {}: {why}", self.log_path().display());
                rebuild_indexes(self).await?
            }
        };
        Ok(self.indexes.borrow_mut().get_or_insert(Rc::new(indexes)).clone())
    }

    /// The indexes, if they are in memory.
    pub fn indexes_in_memory(&self) -> Option<Rc<Indexes>> {
        self.indexes.borrow().clone()
    }

    pub(in crate::log) fn set_indexes(&self, indexes: Indexes) {
        *self.indexes.borrow_mut() = Some(Rc::new(indexes));
    }

    /// What the index files say, if they say something sensible.
    pub(in crate::log) async fn read_indexes(&self) -> Result<Indexes, String> {
        let mut files = [Vec::new(), Vec::new()];
        for (extension, bytes) in ["index", "timeindex"].into_iter().zip(&mut files) {
            let path = file_path(&self.directory, self.base_offset, extension);
            *bytes = dir::read_small(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Indexes::parse(&files[0], &files[1], self.size().max(1)).map_err(str::to_owned)
    }

    /// Adds to the index files what they lack, so that a restart need not walk the whole segment. They are not
    /// flushed before the segment is sealed: until then a restart checks them, and walks when they do not check out.
    pub async fn store_new_index_entries(&self) -> Result<(), StorageError> {
        let Some(indexes) = self.indexes_in_memory() else { return Ok(()) };
        let stored = self.state.borrow().stored;
        let now = (indexes.offsets.len(), indexes.times.len());
        if now.0 == stored.0 || self.removed.get() {
            return Ok(());
        }
        let tail = Indexes::of(&indexes.offsets[stored.0..], &indexes.times[stored.1..]);
        self.store_index("index", (stored.0 * OFFSET_ENTRY_BYTES) as u64, tail.offsets_bytes()).await?;
        self.store_index("timeindex", (stored.1 * TIME_ENTRY_BYTES) as u64, tail.times_bytes()).await?;
        self.state.borrow_mut().stored = now;
        Ok(())
    }

    pub(super) async fn store_index(
        &self,
        extension: &'static str,
        at: u64,
        bytes: Vec<u8>,
    ) -> Result<(), StorageError> {
        let path = file_path(&self.directory, self.base_offset, extension);
        let open = Open { write: true, create: true, truncate: at == 0, ..Open::default() };
        let file = File::open(&path, open).await.map_err(StorageError::io("create index", &path))?;
        if !bytes.is_empty() {
            file.write_at(bytes, at, Durability::Cached).await.map_err(StorageError::io("write index", &path))?;
        }
        if self.is_sealed() {
            file.sync_data().await.map_err(StorageError::flush("flush index", &path))?;
        }
        Ok(())
    }
}
