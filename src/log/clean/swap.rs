//! Compacted segments take the place of those that they were made from: all of them or none, whatever happens.
//!
//! ```text
//! <base>.log.cleaned   being written; of no use to a restart
//! <base>.log.swap      whole and flushed, its name too; of use if the checkpoint says so
//! <base>.log           in its place
//! ```
//! The checkpoint decides: the one that names the new segments, as swaps, makes them the log. Before it is stored a
//! restart finds the old segments untouched, and removes the swaps; afterwards it puts them in their places, if that was
//! not done yet. So there is no moment at which the log is neither, and the checkpoint, which vouches for every byte of
//! every sealed segment, is never wrong.
//!
//! In its place a segment has both names until that is flushed: a rename is one step for who looks, not for every disk
//! that loses power, which may have let go of the one name and not have taken the other yet. A second swap waits until a
//! checkpoint without the first is stored (LOG-4). On a full disk, where no checkpoint can be had, a swap that no stored one may
//! name makes way.
//!
//! Who reads an old segment meanwhile holds it, and its open file: a name that means another file now is not looked up.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::names::{CLEANED, EXTENSIONS, SWAP, is_temporary, parse, temporary};
use super::write::Written;
use crate::disk::StorageError;
use crate::disk::checkpoint::{PartitionState, SealedSegment};
use crate::log::Log;
use crate::log::segment::file::length_of;
use crate::log::segment::{Segment, file_path};
use crate::model::Offset;
use crate::runtime::{self, Class, dir};

/// Segments that wait for the checkpoint that names them.
pub(in crate::log) struct Swap {
    old: Vec<Rc<Segment>>,
    new: Vec<Rc<Segment>>,
    /// Up to where the log is compacted then.
    cleaned_to: Offset,
    /// A checkpoint that names it may be on stable storage.
    may_be_named: bool,
}

impl Swap {
    /// Whether the segment that begins there makes way.
    fn replaces(&self, base_offset: Offset) -> bool {
        self.old.iter().any(|segment| segment.base_offset == base_offset)
    }
}

impl Log {
    /// Puts segments that are written in line for the next checkpoint, in place of `old`, which are neighbours.
    pub(super) async fn offer(
        &self,
        old: Vec<Rc<Segment>>,
        written: Vec<Written>,
        cleaned_to: Offset,
    ) -> Result<(), StorageError> {
        assert!(self.swap.borrow().is_none() && !self.swap_is_named.get(), "LOG-4: one swap at a time");
        for segment in &written {
            for extension in EXTENSIONS {
                let from = temporary(&self.directory, segment.base_offset, extension, CLEANED);
                if extension == "txnindex" && segment.aborted.is_empty() {
                    continue;
                }
                let to = temporary(&self.directory, segment.base_offset, extension, SWAP);
                dir::rename(&from, to).await.map_err(StorageError::io("rename segment", from))?;
            }
        }
        dir::sync(&self.directory).await.map_err(StorageError::flush("flush directory", &self.directory))?;
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

    /// The segments before the active one, as a checkpoint names them: with those that wait for it.
    pub fn sealed(&self) -> Vec<SealedSegment> {
        let state = |segment: &Rc<Segment>, is_swap| SealedSegment {
            base_offset: segment.base_offset,
            bytes: segment.size(),
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
        sealed
    }

    /// Up to where the log is compacted, as a checkpoint says it.
    pub fn cleaned_to(&self) -> Offset {
        self.swap.borrow().as_ref().map_or(self.cleaned_to.get(), |swap| swap.cleaned_to)
    }

    /// A checkpoint with this state of the log is about to be stored: from here on a restart may want what it names.
    pub fn checkpoint_started(&self, state: &PartitionState) {
        if state.sealed.iter().any(|segment| segment.is_swap) {
            self.swap.borrow_mut().as_mut().expect("it waits for a checkpoint").may_be_named = true;
        }
    }

    /// No checkpoint can be had for want of space, and the waiting segments take some: unless a stored one may name them, they
    /// go, and the log is as it was. Not while a checkpoint is made, which may have noted them.
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

    /// Whether segments of the round waited in vain.
    pub fn swap_was_withdrawn(&self) -> bool {
        self.swap_was_withdrawn.get()
    }

    /// A checkpoint that names the waiting segments is on stable storage: they take their places.
    pub async fn finish_swap(&self) -> Result<(), StorageError> {
        let _files = self.lock_files().await;
        if self.is_discarded() {
            return Ok(());
        }
        // It stays in line until all is done: a failure here is tried again after the next checkpoint.
        let new: Vec<Rc<Segment>> = match &*self.swap.borrow() {
            Some(swap) => swap.new.clone(),
            None => return Ok(()),
        };
        for segment in &new {
            for extension in EXTENSIONS {
                let from = temporary(&self.directory, segment.base_offset, extension, SWAP);
                let to = file_path(&self.directory, segment.base_offset, extension);
                if dir::exists(&from) {
                    put_in_place(&from, &to).await?;
                } else if extension == "txnindex" && dir::exists(&to) {
                    dir::remove_file(&to).await.map_err(StorageError::io("remove index", to))?;
                }
            }
        }
        // Before a checkpoint that no longer calls them swaps: a restart would take the old files for the segments.
        dir::sync(&self.directory).await.map_err(StorageError::flush("flush directory", &self.directory))?;
        for segment in &new {
            for extension in EXTENSIONS {
                remove_if_there(&temporary(&self.directory, segment.base_offset, extension, SWAP)).await;
            }
        }
        let Swap { old, new, cleaned_to, .. } = self.swap.borrow_mut().take().expect("nobody else takes it");
        {
            let mut segments = self.segments.borrow_mut();
            let from = segments.partition_point(|segment| segment.base_offset < old[0].base_offset);
            let replaced: Vec<_> = segments.drain(from..from + old.len()).collect();
            assert!(
                replaced.iter().zip(&old).all(|(a, b)| Rc::ptr_eq(a, b)),
                "nobody else replaces segments meanwhile"
            );
            for (at, segment) in new.iter().enumerate() {
                segments.insert(from + at, segment.clone());
            }
        }
        self.cleaned_to.set(cleaned_to);
        let bases = old.iter().map(|segment| segment.base_offset);
        for base in bases.filter(|base| new.iter().all(|segment| segment.base_offset != *base)) {
            for extension in EXTENSIONS {
                remove_if_there(&file_path(&self.directory, base, extension)).await;
            }
        }
        self.keep_replaced(old);
        Ok(())
    }

    /// Readers on other cores have asked for stretches of these by name; they get as long as for a removed segment.
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

    /// Lets go of the old segments, and takes away what a compaction that failed has left.
    pub(super) async fn abandon_cleaning(&self) {
        self.sealed_segments().iter().for_each(|segment| segment.unpin());
        if self.is_discarded() {
            return;
        }
        let Ok(names) = dir::list(&self.directory) else { return };
        for name in names.iter().filter(|name| is_temporary(name)) {
            remove_if_there(&self.directory.join(name)).await;
        }
    }
}

/// Gives what is whole at `from` the name `to` as well, whatever that was before.
async fn put_in_place(from: &Path, to: &Path) -> Result<(), StorageError> {
    if dir::exists(to) {
        dir::remove_file(to).await.map_err(StorageError::io("remove segment", to))?;
    }
    match dir::link(from, to).await {
        // link(2): the file system has no second names.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => dir::rename(from, to).await,
        linked => linked,
    }
    .map_err(StorageError::io("link segment", to))
}

/// What stays, a restart removes.
async fn remove_if_there(path: &Path) {
    if dir::exists(path)
        && let Err(error) = dir::remove_file(path).await
    {
        tracing::warn!("could not remove {}: {error}", path.display());
    }
}

/// Before a log is opened: swaps that `named` knows, with their bytes at least, go to their places; what else there is of
/// compactions goes.
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
