//! Reading: bytes in memory, and pages read back from the file.

use std::rc::Rc;

use super::Segment;
use crate::disk::{StorageError, block_ceil, block_floor};
use crate::model::Position;
use crate::runtime::buf::{AlignedBuf, Slice};
use crate::runtime::{self, Class};

/// Bytes of one cold read, at a multiple of itself. A large fetch and read-ahead have several in flight: a device needs
/// at least 128 KiB at depth 8.
pub const PAGE_BYTES: u64 = 256 << 10;
/// Pages read ahead of a sequential reader.
const READ_AHEAD_PAGES: u64 = 6;

/// A part of the file, read back.
pub(super) enum Page {
    Loading,
    Loaded(Slice),
}

fn page_start(position: u64) -> u64 {
    position - position % PAGE_BYTES
}

impl Segment {
    /// Adds the bytes from `from` up to `to` that are in memory without a gap, in as few slices as possible. Returns
    /// the position where they end.
    pub fn cached(&self, from: Position, to: Position, into: &mut Vec<Slice>) -> Position {
        Position(self.cached_bytes(from.0, to.0, into))
    }

    fn cached_bytes(&self, from: u64, to: u64, into: &mut Vec<Slice>) -> u64 {
        let content = self.content.borrow();
        assert!(from <= to && to <= content.size, "a read of {from}..{to} in a segment of {} bytes", content.size);
        let mut at = from;
        let first = content.chunks.partition_point(|chunk| chunk.end() <= from);
        let resident_from = content.chunks.front().map_or(u64::MAX, |chunk| chunk.start);
        while at < to.min(resident_from) {
            let start = page_start(at);
            match self.pages.borrow().get(&start) {
                Some(Page::Loaded(page)) if start + page.len() as u64 > at => {
                    let end = (start + page.len() as u64).min(to).min(resident_from);
                    into.push(page.slice((at - start) as usize..(end - start) as usize));
                    at = end;
                }
                _ => return at,
            }
        }
        for chunk in content.chunks.iter().skip(first) {
            if at >= to {
                break;
            }
            let end = chunk.end().min(to);
            if end > at {
                into.push(chunk.slice(at, end));
                at = end;
            }
        }
        assert!((from..=to).contains(&at), "a read of {from}..{to} ended at {at}");
        at
    }

    /// All bytes of `from..to`, held in memory at once: for recovery and look-ups, not for bytes that are sent.
    pub async fn slices(self: &Rc<Self>, from: Position, to: Position) -> Result<Vec<Slice>, StorageError> {
        self.require_holdable(to - from)?;
        let mut slices = Vec::new();
        let mut at = from;
        loop {
            at = self.cached(at, to, &mut slices);
            if at == to {
                return Ok(slices);
            }
            let mut page = self.load(at, to - at).await?;
            if page.len() as u64 > to - at {
                page = page.slice(0..(to - at) as usize);
            }
            at += page.len() as u64;
            slices.push(page);
        }
    }

    /// Loads `want` bytes from `position` on into memory, with several reads at once. Reads ahead if the page before is
    /// in memory, as for a sequential reader.
    ///
    /// Returns the bytes from `position` to the end of its page, which the caller holds even if the page is evicted at
    /// once. Empty if the bytes came into memory by an append meanwhile.
    pub async fn load(self: &Rc<Self>, position: Position, want: u64) -> Result<Slice, StorageError> {
        let position = position.0;
        let first = page_start(position);
        let pages = (position + want.max(1)).div_ceil(PAGE_BYTES) - first / PAGE_BYTES;
        let _permit = self.memory.loads.acquire(pages * PAGE_BYTES).await;
        let (written, resident_from) = {
            let content = self.content.borrow();
            (content.written, content.chunks.front().map_or(u64::MAX, |chunk| chunk.start))
        };
        if position >= resident_from {
            return Ok(Slice::default());
        }
        if position >= written {
            assert!(
                self.is_removed(),
                "SEG-1: byte {position} is neither in memory nor among the {written} in the file"
            );
            return Err(self.removed_error());
        }
        let end = written.min(resident_from);
        let last_wanted = (position + want.max(1)).min(end);
        let is_sequential =
            first == 0 || matches!(self.pages.borrow().get(&(first - PAGE_BYTES)), Some(Page::Loaded(_)));
        // Read ahead only while no reader waits for load permits.
        let is_quiet = self.memory.loads.available() * 2 >= self.memory.loads.total();
        let ahead = if is_sequential && is_quiet { READ_AHEAD_PAGES * PAGE_BYTES } else { 0 };
        let mut demanded = Vec::new();
        for start in (first..(last_wanted + ahead).min(end)).step_by(PAGE_BYTES as usize) {
            let is_demanded = start < last_wanted;
            let need = (end - start).min(PAGE_BYTES);
            match self.pages.borrow().get(&start) {
                Some(Page::Loading) => {
                    if is_demanded {
                        demanded.push((start, None));
                    }
                    continue;
                }
                Some(Page::Loaded(page)) if page.len() as u64 >= need => continue,
                _ => {}
            }
            self.pages.borrow_mut().insert(start, Page::Loading);
            let segment = self.clone();
            let class = if is_demanded { Class::Foreground } else { Class::Background };
            let read = runtime::spawn(class, "segment read", async move { segment.load_page(start).await });
            if is_demanded {
                demanded.push((start, Some(read)));
            }
        }
        let mut held = None;
        for (start, read) in demanded {
            match read {
                Some(read) => {
                    let page = read.await?;
                    held = held.or(Some(page).filter(|_| start == first));
                }
                None => {
                    while matches!(self.pages.borrow().get(&start), Some(Page::Loading)) {
                        self.changed.notified().await;
                    }
                }
            }
        }
        let held = held.or_else(|| match self.pages.borrow().get(&first) {
            Some(Page::Loaded(page)) => Some(page.clone()),
            _ => None,
        });
        Ok(held
            .map_or_else(Slice::default, |page| page.slice(((position - first) as usize).min(page.len())..page.len())))
    }

    async fn load_page(self: Rc<Self>, start: u64) -> Result<Slice, StorageError> {
        let bytes = self.written().saturating_sub(start).min(PAGE_BYTES) as usize;
        let outcome = match self.read_file(start, bytes).await {
            Ok(page) if page.len() < bytes => {
                let why = format!("it has {} bytes at {start}, not the {bytes} that were written", page.len());
                Err(StorageError::format("a segment", self.log_path(), why))
            }
            outcome => outcome,
        };
        match &outcome {
            Ok(page) if !self.is_removed() => {
                self.pages.borrow_mut().insert(start, Page::Loaded(page.clone()));
                self.memory.admit_page(&self, start, block_ceil(bytes));
            }
            _ => drop(self.pages.borrow_mut().remove(&start)),
        }
        self.changed.notify_all();
        outcome
    }

    pub(super) fn removed_error(&self) -> StorageError {
        StorageError::Refused(format!("{} was removed while it was read", self.log_path().display()))
    }

    /// Reads bytes of a finished segment from the file, at a block's start, past the memory that readers share. Short
    /// only at the file's end.
    pub(in crate::log) async fn read_direct(&self, position: u64, bytes: usize) -> Result<Slice, StorageError> {
        assert!(!self.is_dirty(), "{}: a direct read of a segment that is not finished", self.log_path().display());
        assert_eq!(block_floor(position), position, "a direct read begins at a block");
        self.require_holdable(bytes as u64)?;
        self.read_file(position, bytes).await
    }

    /// Refuses a length that never fits into memory, instead of waiting for ever. Only a damaged length is so large.
    fn require_holdable(&self, bytes: u64) -> Result<(), StorageError> {
        let most = self.memory.chunk_bytes_max();
        if bytes <= most as u64 {
            return Ok(());
        }
        let why = format!("one batch needs {bytes} bytes, more than memory has room for ({most})");
        Err(StorageError::format("a segment", self.log_path(), why))
    }

    /// One direct read of the file. May be short at its end.
    pub(super) async fn read_file(&self, position: u64, bytes: usize) -> Result<Slice, StorageError> {
        let file = self.file().await?;
        let length = block_ceil(bytes);
        let buf = self.memory.alloc(AlignedBuf::alloc_wait(length), || self.is_removed()).await;
        let buf = buf.ok_or_else(|| self.removed_error())?;
        file.read(buf, position, bytes).await
    }
}
