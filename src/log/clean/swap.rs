//! The swap: compacted segments replace the ones they were written from, all or none, even if a step fails.
//!
//! The checkpoint decides: storing a checkpoint that names the new segments as swaps makes them the log. Before it is
//! stored, a restart finds the old segments untouched and removes the swaps. Afterwards a restart puts the swaps in
//! their places, if the process did not get to it. So the log is always one or the other, and the checkpoint, which
//! vouches for every byte of every sealed segment, is never wrong. [`super::names`] lists the temporary names.
//!
//! A swapped file keeps both names until the directory is synced. A rename is atomic for readers, but not across a
//! power loss, which may drop the old name before the new one is on the device. A second swap waits until a checkpoint
//! without the first is stored (LOG-4). On a full disk no checkpoint can be stored; then a swap that no stored
//! checkpoint may name is withdrawn.
//!
//! Readers keep an old segment and its open file alive: they never look up a name that may mean another file by now.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::names::{CLEANED, EXTENSIONS, SWAP, is_temporary, parse, temporary};
use super::write::Written;
use crate::disk::StorageError;
use crate::disk::checkpoint::SealedSegment;
use crate::log::segment::file::length_of;
use crate::log::segment::{Segment, file_path};
use crate::log::{CheckpointedLog, Log};
use crate::model::Offset;
use crate::runtime::{self, Class, dir};

/// Segments that wait for the checkpoint that names them.
pub(in crate::log) struct Swap {
    old: Vec<Rc<Segment>>,
    new: Vec<Rc<Segment>>,
    /// The end of the compacted part of the log after the swap.
    cleaned_to: Offset,
    /// A checkpoint that names the swap may be on stable storage.
    may_be_named: bool,
}

impl Swap {
    /// The compacted segments.
    pub fn segments(&self) -> &[Rc<Segment>] {
        &self.new
    }

    /// Whether the swap replaces the segment that begins at this offset.
    fn replaces(&self, base_offset: Offset) -> bool {
        self.old.iter().any(|segment| segment.base_offset == base_offset)
    }
}

impl Log {
    /// Renames written segments to `.swap` and stages them for the next checkpoint. They replace `old`, which are
    /// neighbours.
    pub(super) async fn stage_swap(
        &self,
        old: Vec<Rc<Segment>>,
        written: Vec<Written>,
        cleaned_to: Offset,
    ) -> Result<(), StorageError> {
        assert!(self.swap.borrow().is_none(), "LOG-4: a swap is staged while another one waits");
        assert!(!self.swap_is_named.get(), "LOG-4: a swap is staged while a stored checkpoint names another one");
        assert!(!old.is_empty() && !written.is_empty(), "{} segments replace {}", written.len(), old.len());
        assert_eq!(old[0].base_offset, written[0].base_offset, "the new segments begin where the old ones do");
        for segment in &written {
            for extension in EXTENSIONS {
                let from = temporary(self.directory(), segment.base_offset, extension, CLEANED);
                if extension == "txnindex" && segment.aborted.is_empty() {
                    continue;
                }
                let to = temporary(self.directory(), segment.base_offset, extension, SWAP);
                dir::rename(&from, to).await.map_err(StorageError::io("rename segment", from))?;
            }
        }
        dir::sync(self.directory()).await.map_err(StorageError::flush("flush directory", self.directory()))?;
        let end = old.last().expect("something is replaced").end_offset();
        let ends = written.iter().skip(1).map(|next| next.base_offset).chain([end]);
        let new = written.iter().zip(ends).map(|(segment, end)| {
            let (base, bytes, times, memory) = (segment.base_offset, segment.bytes, segment.times, self.memory.clone());
            let new = Segment::existing(&self.directory, base, bytes, end, times, None, true, memory);
            new.set_aborted(segment.aborted.clone(), segment.aborted.len());
            new
        });
        let new = new.collect();
        *self.swap.borrow_mut() = Some(Swap { old, new, cleaned_to, may_be_named: false });
        Ok(())
    }

    /// Whether compacted segments wait for a checkpoint.
    pub fn has_swap(&self) -> bool {
        self.swap.borrow().is_some()
    }

    /// The segments before the active one, as the next checkpoint names them: a staged swap stands in for the segments
    /// that it replaces.
    pub fn sealed(&self) -> Vec<SealedSegment> {
        let state = |segment: &Rc<Segment>, is_swap| SealedSegment {
            base_offset: segment.base_offset,
            bytes: segment.size(),
            max_timestamp: segment.times().max_timestamp,
            offset_of_max: segment.times().offset_of_max,
            aborted: segment.aborted_count() as u32,
            is_swap,
        };
        let segments = self.segments.borrow();
        let swap = self.swap.borrow();
        let stays = |segment: &&Rc<Segment>| swap.as_ref().is_none_or(|swap| !swap.replaces(segment.base_offset));
        let mut sealed: Vec<_> =
            segments.iter().take(segments.len() - 1).filter(stays).map(|segment| state(segment, false)).collect();
        sealed.extend(swap.iter().flat_map(|swap| &swap.new).map(|segment| state(segment, true)));
        sealed.sort_unstable_by_key(|segment| segment.base_offset);
        let ascends = |two: &[SealedSegment]| two[0].base_offset < two[1].base_offset;
        debug_assert!(sealed.windows(2).all(ascends), "LOG-1: a checkpoint names {sealed:?}");
        sealed
    }

    /// The end of the compacted part, as the next checkpoint stores it.
    pub fn cleaned_to(&self) -> Offset {
        self.swap.borrow().as_ref().map_or(self.cleaned_to.get(), |swap| swap.cleaned_to)
    }

    /// Notes that a checkpoint with this state of the log is about to be stored: from here on a restart may need its
    /// swaps. Another checkpoint may have finished them since the state was captured.
    pub fn checkpoint_started(&self, started: CheckpointedLog) {
        if started.names_swap
            && let Some(swap) = self.swap.borrow_mut().as_mut()
        {
            swap.may_be_named = true;
        }
    }

    /// Withdraws a swap on a full disk, unless a stored checkpoint may name it: its files only take space that the
    /// checkpoint needs. The log stays as it was. Must not run while a checkpoint is written, which may name the swap.
    pub async fn withdraw_swap(&self) {
        let can_go = || self.swap.borrow().as_ref().is_some_and(|swap| !swap.may_be_named);
        if !can_go() {
            return;
        }
        let _files = self.lock_files().await;
        if self.is_discarded() || !can_go() {
            return;
        }
        self.swap.take();
        self.swap_was_withdrawn.set(true);
        self.abandon_cleaning().await;
    }

    /// Whether a swap was withdrawn since the round began.
    pub fn swap_was_withdrawn(&self) -> bool {
        self.swap_was_withdrawn.get()
    }

    /// Gives staged segments their final names. A checkpoint that names them is on stable storage.
    pub async fn finish_swap(&self) -> Result<(), StorageError> {
        let _files = self.lock_files().await;
        if self.is_discarded() {
            return Ok(());
        }
        // The swap stays staged until all is done: after a failure, the next checkpoint tries again.
        let new: Vec<Rc<Segment>> = match &*self.swap.borrow() {
            Some(swap) => swap.new.clone(),
            None => return Ok(()),
        };
        for segment in &new {
            for extension in EXTENSIONS {
                let from = temporary(self.directory(), segment.base_offset, extension, SWAP);
                let to = file_path(self.directory(), segment.base_offset, extension);
                if dir::exists(&from) {
                    put_in_place(&from, &to).await?;
                } else if extension == "txnindex" && dir::exists(&to) {
                    dir::remove_file(&to).await.map_err(StorageError::io("remove index", to))?;
                }
            }
        }
        // Sync before the next checkpoint, which no longer names swaps: a restart must not take the old files for the
        // segments.
        dir::sync(self.directory()).await.map_err(StorageError::flush("flush directory", self.directory()))?;
        for segment in &new {
            for extension in EXTENSIONS {
                remove_if_there(&temporary(self.directory(), segment.base_offset, extension, SWAP)).await;
            }
        }
        let Swap { old, new, cleaned_to, .. } =
            self.swap.borrow_mut().take().expect("only this task, with the files locked, takes it");
        {
            let mut segments = self.segments.borrow_mut();
            let from = segments.partition_point(|segment| segment.base_offset < old[0].base_offset);
            let replaced: Vec<_> = segments.drain(from..from + old.len()).collect();
            assert!(
                replaced.iter().zip(&old).all(|(a, b)| Rc::ptr_eq(a, b)),
                "only this task, with the files locked, replaces segments"
            );
            for (at, segment) in new.iter().enumerate() {
                segments.insert(from + at, segment.clone());
            }
            let next = &segments[from + new.len()];
            let end = new.last().map_or(next.base_offset, |last| last.end_offset());
            assert!(end <= next.base_offset, "LOG-1: the swap ends at {end}, in the segment from {}", next.base_offset);
        }
        assert!(cleaned_to <= self.end_offset(), "the log is compacted up to {cleaned_to}, behind its end");
        self.cleaned_to.set(cleaned_to);
        let bases = old.iter().map(|segment| segment.base_offset);
        for base in bases.filter(|base| new.iter().all(|segment| segment.base_offset != *base)) {
            for extension in EXTENSIONS {
                remove_if_there(&file_path(self.directory(), base, extension)).await;
            }
        }
        self.keep_replaced(old);
        Ok(())
    }

    /// Keeps replaced segments for readers on other cores, which refer to them by number, as long as removed segments.
    fn keep_replaced(&self, old: Vec<Rc<Segment>>) {
        let delay = Duration::from_millis(self.config().file_delete_delay_ms);
        let kept = Rc::downgrade(&self.replaced);
        let numbers: Vec<u64> = old.iter().map(|segment| segment.number).collect();
        self.replaced.borrow_mut().extend(old);
        runtime::spawn(Class::Background, "replaced segments", async move {
            runtime::sleep(delay).await;
            for number in numbers {
                let Some(replaced) = kept.upgrade() else { return };
                let at = replaced.borrow().iter().position(|segment| segment.number == number);
                let segment = at.map(|at| replaced.borrow_mut().swap_remove(at));
                if let Some(segment) = segment {
                    segment.release_space().await;
                }
            }
        });
    }

    /// Unpins the old segments and removes the files of a failed compaction.
    pub(super) async fn abandon_cleaning(&self) {
        self.sealed_segments().iter().for_each(|segment| segment.unpin());
        if self.is_discarded() {
            return;
        }
        let Ok(names) = dir::list(self.directory()) else { return };
        for name in names.iter().filter(|name| is_temporary(name)) {
            remove_if_there(&self.directory().join(name)).await;
        }
    }
}

/// Links the whole file `from` to the name `to` as well, and replaces a file of that name.
async fn put_in_place(from: &Path, to: &Path) -> Result<(), StorageError> {
    if dir::exists(to) {
        dir::remove_file(to).await.map_err(StorageError::io("remove segment", to))?;
    }
    match dir::link(from, to).await {
        // link(2): this file system has no hard links.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => dir::rename(from, to).await,
        linked => linked,
    }
    .map_err(StorageError::io("link segment", to))
}

/// Removes a file, if it exists. After a failure, the next restart removes it.
async fn remove_if_there(path: &Path) {
    if dir::exists(path)
        && let Err(error) = dir::remove_file(path).await
    {
        tracing::warn!("could not remove {}: {error}", path.display());
    }
}

/// Prepares a directory before its log is opened: completes the swaps for which `named` returns a length, and removes
/// all other files of compactions.
///
/// # Errors
/// If a named swap has fewer bytes than `named` returns, or a file cannot be renamed or removed.
pub(in crate::log) async fn recover_swaps(
    directory: &Path,
    named: impl Fn(Offset) -> Option<u64>,
) -> Result<(), StorageError> {
    let names = dir::list(directory).map_err(StorageError::io("list directory", directory))?;
    let mut swaps = Vec::new();
    for name in names {
        let path = directory.join(&name);
        let swap = parse(&name, SWAP).and_then(|(base, place)| Some((named(base)?, place)));
        if let Some((bytes, place)) = swap {
            let found = if place.ends_with(".log") { length_of(&path).await? } else { bytes };
            if found < bytes {
                let why = format!("it has {found} bytes and had {bytes} when it was flushed");
                return Err(StorageError::format("a compacted segment", path, why));
            }
            put_in_place(&path, &directory.join(place)).await?;
            swaps.push(path);
        } else if is_temporary(&name) {
            dir::remove_file(&path).await.map_err(StorageError::io("remove leftover", &path))?;
        }
    }
    if !swaps.is_empty() {
        // As in `finish_swap`.
        dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
    }
    for path in swaps {
        remove_if_there(&path).await;
    }
    Ok(())
}
