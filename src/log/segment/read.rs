//! From memory or from the file to readers.

use std::rc::Rc;

use super::Segment;
use crate::disk::{StorageError, block_ceil, block_floor};
use crate::runtime::buf::{AlignedBuf, Slice};
use crate::runtime::{self, Class};

/// What one cold read takes from the file, at a multiple of itself. Several are in flight for a large fetch, and
/// more ahead of a reader who goes on: the device wants at least 128 KiB at depth 8.
pub const PAGE_BYTES: u64 = 256 << 10;
/// Pages read ahead of a sequential reader.
const READ_AHEAD_PAGES: u64 = 6;

/// What of the file was read back.
pub(super) enum Page {
    Loading,
    Here(Slice),
}

fn page_start(position: u64) -> u64 {
    position - position % PAGE_BYTES
}

impl Segment {
    /// The bytes from `from` on up to `to`, as far as they are in memory without a gap, as the fewest slices. Answers
    /// how far that is.
    pub fn cached(&self, from: u64, to: u64, into: &mut Vec<Slice>) -> u64 {
        let state = self.state.borrow();
        assert!(to <= state.size, "reads end where the segment does");
        let mut at = from;
        let first = state.chunks.partition_point(|chunk| chunk.end() <= from);
        let resident_from = state.chunks.front().map_or(u64::MAX, |chunk| chunk.start);
        while at < to.min(resident_from) {
            let start = page_start(at);
            match self.pages.borrow().get(&start) {
                Some(Page::Here(page)) if start + page.len() as u64 > at => {
                    let end = (start + page.len() as u64).min(to).min(resident_from);
                    into.push(page.slice((at - start) as usize..(end - start) as usize));
                    at = end;
                }
                _ => return at,
            }
        }
        for chunk in state.chunks.iter().skip(first) {
            if at >= to {
                break;
            }
            let end = chunk.end().min(to);
            if end > at {
                into.push(chunk.slice(at, end));
                at = end;
            }
        }
        at
    }

    /// All of the bytes `from..to`, held in memory at once: for recovery and look-ups, not for what is sent.
    pub async fn slices(self: &Rc<Self>, from: u64, to: u64) -> Result<Vec<Slice>, StorageError> {
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

    /// Brings `want` bytes from `position` on into memory, several reads at once, and reads ahead of a reader who
    /// came from the page before. Answers the bytes from `position` to the end of its page: who holds them has them,
    /// however soon the page has to make way. Empty when they came into memory by another way meanwhile.
    pub async fn load(self: &Rc<Self>, position: u64, want: u64) -> Result<Slice, StorageError> {
        let first = page_start(position);
        let pages = (position + want.max(1)).div_ceil(PAGE_BYTES) - first / PAGE_BYTES;
        let _permit = self.memory.loads.acquire(pages * PAGE_BYTES).await;
        let (written, resident_from) = {
            let state = self.state.borrow();
            (state.written, state.chunks.front().map_or(u64::MAX, |chunk| chunk.start))
        };
        if position >= resident_from {
            return Ok(Slice::default());
        }
        if position >= written {
            assert!(self.removed.get(), "what is not in memory is in the file");
            return Err(self.was_removed());
        }
        let end = written.min(resident_from);
        let last_wanted = (position + want.max(1)).min(end);
        let is_sequential = first == 0 || matches!(self.pages.borrow().get(&(first - PAGE_BYTES)), Some(Page::Here(_)));
        // Only as long as nobody has to wait for what others are about to need.
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
                Some(Page::Here(page)) if page.len() as u64 >= need => continue,
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
            Some(Page::Here(page)) => Some(page.clone()),
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
            Ok(page) if !self.removed.get() => {
                self.pages.borrow_mut().insert(start, Page::Here(page.clone()));
                self.memory.admit_page(&self, start, block_ceil(bytes));
            }
            _ => drop(self.pages.borrow_mut().remove(&start)),
        }
        self.changed.notify_all();
        outcome
    }

    pub(super) fn was_removed(&self) -> StorageError {
        StorageError::Refused(format!("{} was removed while it was read", self.log_path().display()))
    }

    /// Bytes of a finished segment from the file, at a block's start, past the memory that readers share. Short only where
    /// the file is.
    pub(in crate::log) async fn read_direct(&self, position: u64, bytes: usize) -> Result<Slice, StorageError> {
        assert!(!self.is_dirty() && block_floor(position) == position, "byte {position} of {:?}", self.log_path());
        self.require_holdable(bytes as u64)?;
        self.read_file(position, bytes).await
    }

    /// Who waits for more than there can be waits for ever: only a length that is damaged asks for so much.
    fn require_holdable(&self, bytes: u64) -> Result<(), StorageError> {
        let most = self.memory.chunk_bytes_max();
        if bytes <= most as u64 {
            return Ok(());
        }
        let why = format!("{bytes} bytes are asked for as one batch, more than memory has room for ({most})");
        Err(StorageError::format("a segment", self.log_path(), why))
    }

    /// One direct read of the file. May be short at its end.
    pub(super) async fn read_file(&self, position: u64, bytes: usize) -> Result<Slice, StorageError> {
        let file = self.file().await?;
        let length = block_ceil(bytes);
        let buf = self.memory.alloc(AlignedBuf::alloc_wait(length), || self.removed.get()).await;
        let buf = buf.ok_or_else(|| self.was_removed())?;
        let (read, buf) = file.read_at(buf, 0, length, position).await;
        let read = read.map_err(StorageError::io("read segment", self.log_path()))?;
        Ok(buf.freeze().slice(0..read.min(bytes)))
    }
}
