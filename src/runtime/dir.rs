//! Directories and names. A change of a name is durable only after [`sync`] of its directory.

use std::ffi::CString;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file::{c_path, open_at};
use super::op::{self, OnDrop, Payload};
use super::ring::Op;
use std::os::fd::AsRawFd;

/// The capacity of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Volume {
    /// The size of the volume.
    pub total_bytes: u64,
    /// Free bytes that are not reserved for the superuser.
    pub usable_bytes: u64,
    /// The bytes of files, and of the file system itself.
    pub used_bytes: u64,
}

impl Volume {
    /// The used share of the space that an ordinary user can have, as df(1) prints it.
    pub fn used_percent(&self) -> f64 {
        100.0 * self.used_bytes as f64 / (self.used_bytes + self.usable_bytes).max(1) as f64
    }
}

/// The volume of `path` (statvfs(3)).
pub fn volume(path: impl AsRef<Path>) -> io::Result<Volume> {
    let path = c_path(path.as_ref())?;
    // SAFETY: statvfs is plain old data; the call fills it.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` and `stat` outlive the call.
    match unsafe { libc::statvfs(path.as_ptr(), &mut stat) } {
        0 => Ok(Volume {
            total_bytes: stat.f_blocks * stat.f_frsize,
            usable_bytes: stat.f_bavail * stat.f_frsize,
            used_bytes: stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize,
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Creates the directory and its missing ancestors.
pub async fn create_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if ancestor.as_os_str().is_empty() || exists(ancestor) {
            break;
        }
        missing.push(ancestor);
    }
    for dir in missing.into_iter().rev() {
        let made = with_path(c_path(dir)?, |path| Op::MkdirAt { path, mode: 0o755 }).await;
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    if path.is_dir() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::NotADirectory)) }
}

/// Removes a file.
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(c_path(path.as_ref())?, |path| Op::UnlinkAt { path, dir: false }).await
}

/// Removes a directory and its contents.
pub async fn remove_all(path: impl AsRef<Path>) -> io::Result<()> {
    // Depth first, without recursion: a directory is visited again after its contents are removed.
    let mut stack: Vec<(PathBuf, bool)> = vec![(path.as_ref().to_owned(), false)];
    while let Some((dir, emptied)) = stack.pop() {
        if emptied {
            with_path(c_path(&dir)?, |path| Op::UnlinkAt { path, dir: true }).await?;
            continue;
        }
        stack.push((dir.clone(), true));
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                stack.push((entry.path(), false));
            } else {
                remove_file(entry.path()).await?;
            }
        }
    }
    Ok(())
}

/// Renames `from` to `to`, and replaces `to` if it exists.
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let paths = Payload::Paths(c_path(from.as_ref())?, c_path(to.as_ref())?);
    op::submit(None, paths, OnDrop::default(), |slot| {
        let Payload::Paths(from, to) = &slot.payload else { unreachable!("just put there") };
        Op::RenameAt { from: from.as_ptr(), to: to.as_ptr() }
    })
    .await
    .io()
    .map(drop)
}

/// Gives the file `from` a second name `to`, which must not exist.
pub async fn link(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let paths = Payload::Paths(c_path(from.as_ref())?, c_path(to.as_ref())?);
    op::submit(None, paths, OnDrop::default(), |slot| {
        let Payload::Paths(from, to) = &slot.payload else { unreachable!("just put there") };
        Op::LinkAt { from: from.as_ptr(), to: to.as_ptr() }
    })
    .await
    .io()
    .map(drop)
}

/// Makes the names in a directory durable (fsync of the directory).
pub async fn sync(path: impl AsRef<Path>) -> io::Result<()> {
    let fd = open_at(c_path(path.as_ref())?, libc::O_RDONLY | libc::O_DIRECTORY).await?;
    let op = Op::Fsync { fd: fd.as_raw_fd(), data_only: false };
    op::submit(Some(&fd), Payload::None, OnDrop::default(), |_| op).await.io().map(drop)
}

/// The names in a directory, unordered. Blocks the thread: for start-up and background tasks.
pub fn list(path: impl AsRef<Path>) -> io::Result<Vec<String>> {
    std::fs::read_dir(path)?
        .map(|entry| {
            entry?.file_name().into_string().map_err(|name| {
                io::Error::new(io::ErrorKind::InvalidData, format!("the file name {name:?} is not UTF-8"))
            })
        })
        .collect()
}

/// Reads a small file. Blocks the thread: for start-up, and for indexes that are not in memory.
pub fn read_small(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Whether the path exists. Blocks the thread for one directory lookup.
pub fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}

/// The time of the last write to a file, in milliseconds since 1970. Blocks the thread for one directory lookup.
pub fn modified_ms(path: impl AsRef<Path>) -> io::Result<i64> {
    let metadata = path.as_ref().metadata()?;
    Ok(metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000)
}

/// The exclusive lock of a directory, until dropped.
#[derive(Debug)]
pub struct DirLock {
    _file: std::fs::File,
}

/// Locks the file `.lock` of a directory, as Kafka does. `WouldBlock` if another process holds the lock.
pub fn lock(dir: impl AsRef<Path>) -> io::Result<DirLock> {
    let path = dir.as_ref().join(".lock");
    let file = std::fs::File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

async fn with_path(path: CString, op: impl FnOnce(*const libc::c_char) -> Op) -> io::Result<()> {
    op::submit(None, Payload::Path(path), OnDrop::default(), |slot| {
        let Payload::Path(path) = &slot.payload else { unreachable!("just put there") };
        op(path.as_ptr())
    })
    .await
    .io()
    .map(drop)
}
