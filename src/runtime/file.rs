//! Files: reads and writes at positions, with the flush as part of the write.
//!
//! FILE-1: a write that reports success is whole; one that asked for `DataSync` is on stable storage with it. An error is final
//! and says nothing about which bytes arrived.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use super::buf::{AlignedBuf, BLOCK_BYTES_MIN, Slice, Slices};
use super::op::{self, Fd, Leftover, Manner, Payload};
use super::ring::Op;

/// The most buffers one system call takes.
pub(super) const IOV_MAX: usize = 1024;
/// The most bytes one system call moves (MAX_RW_COUNT), in whole pages.
const CALL_BYTES_MAX: usize = 0x7fff_f000;

/// How to open a file; as `std::fs::OpenOptions`, as a value.
#[derive(Clone, Copy, Default, Debug)]
pub struct Open {
    pub read: bool,
    pub write: bool,
    pub create: bool,
    /// Fails when the file is there already.
    pub create_new: bool,
    pub truncate: bool,
    /// Past the page cache, where the file system can; see [`File::is_direct`].
    pub direct: bool,
    pub append: bool,
}

/// What has become of the bytes when a write is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The system has them: they survive the process, not the machine.
    Cached,
    /// Stable storage has them (RWF_DSYNC).
    DataSync,
}

/// An open file. Cloning counts a reference; the last one closes.
#[derive(Clone)]
pub struct File {
    fd: Rc<Fd>,
    direct: bool,
}

impl File {
    pub async fn open(path: impl AsRef<Path>, open: Open) -> io::Result<File> {
        let path = c_path(path.as_ref())?;
        let mut flags = match (open.read, open.write || open.append) {
            (true, true) => libc::O_RDWR,
            (false, true) => libc::O_WRONLY,
            (true, false) => libc::O_RDONLY,
            (false, false) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither read nor write asked")),
        };
        for (wanted, flag) in [
            (open.create, libc::O_CREAT),
            (open.create_new, libc::O_CREAT | libc::O_EXCL),
            (open.truncate, libc::O_TRUNC),
            (open.append, libc::O_APPEND),
        ] {
            flags |= if wanted { flag } else { 0 };
        }
        if open.direct {
            match open_at(path.clone(), flags | libc::O_DIRECT).await {
                // The file system has no O_DIRECT. Buffered I/O is slower, not less durable: flushes are flushes.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                opened => return Ok(File { fd: opened?, direct: true }),
            }
        }
        Ok(File { fd: open_at(path, flags).await?, direct: false })
    }

    /// Whether I/O goes past the page cache: positions, lengths and memory must then be multiples of 4 KiB.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// One read into `buf[at..at + len]`, which may be short. The buffer comes back in every case.
    pub async fn read_at(
        &self,
        mut buf: AlignedBuf,
        at: usize,
        len: usize,
        pos: u64,
    ) -> (io::Result<usize>, AlignedBuf) {
        assert!(at <= buf.capacity() && len <= buf.capacity() - at, "{len} bytes at {at} of {}", buf.capacity());
        let len = len.min(CALL_BYTES_MAX) as u32;
        // SAFETY: the offset is within the buffer (asserted).
        let ptr = unsafe { buf.as_mut_ptr().add(at) };
        let outcome = op::submit(Some(&self.fd), Payload::Buf(buf), Manner::default(), |_| Op::Read {
            fd: self.fd.as_raw_fd(),
            ptr,
            len,
            pos,
        })
        .await;
        let result = outcome.io().map(|n| n as usize);
        let Payload::Buf(buf) = outcome.payload else { unreachable!("OP-1: the slot keeps the payload") };
        (result, buf)
    }

    /// `len` bytes from `pos` on, fewer only at the end of the file. For small reads; copies when the file is direct.
    pub async fn read_vec(&self, len: usize, pos: u64) -> io::Result<Vec<u8>> {
        if self.direct {
            return self.read_vec_direct(len, pos).await;
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len)?;
        bytes.resize(len, 0);
        let mut filled = 0;
        while filled < len {
            let want = (len - filled).min(CALL_BYTES_MAX) as u32;
            // SAFETY: `filled < len`, the vector's length.
            let ptr = unsafe { bytes.as_mut_ptr().add(filled) };
            let at = pos + filled as u64;
            let outcome = op::submit(Some(&self.fd), Payload::Bytes(bytes), Manner::default(), |_| Op::Read {
                fd: self.fd.as_raw_fd(),
                ptr,
                len: want,
                pos: at,
            })
            .await;
            let n = outcome.io()? as usize;
            let Payload::Bytes(back) = outcome.payload else { unreachable!("OP-1: the slot keeps the payload") };
            bytes = back;
            if n == 0 {
                break;
            }
            filled += n;
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    async fn read_vec_direct(&self, len: usize, pos: u64) -> io::Result<Vec<u8>> {
        let page = BLOCK_BYTES_MIN as u64;
        let start = pos / page * page;
        let skip = (pos - start) as usize;
        let span = skip
            .checked_add(len)
            .and_then(|n| n.checked_next_multiple_of(BLOCK_BYTES_MIN))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut buf = AlignedBuf::alloc(span)?;
        let mut filled = 0;
        while filled < span {
            let (n, back) = self.read_at(buf, filled, span - filled, start + filled as u64).await;
            buf = back;
            let n = n?;
            filled += n;
            // A read that ends within a page is the end of the file.
            if n == 0 || !n.is_multiple_of(BLOCK_BYTES_MIN) {
                break;
            }
        }
        Ok(buf[skip.min(filled)..(skip + len).min(filled)].to_vec())
    }

    /// Writes all of it (padding included, see `AppendBuf::aligned`), several buffers as one vectored write.
    pub async fn write_at(&self, bufs: impl Into<Slices>, pos: u64, durability: Durability) -> io::Result<()> {
        let sync = durability == Durability::DataSync;
        let mut bufs = bufs.into();
        let total = bufs.padded_bytes();
        let mut done = 0;
        while done < total {
            let at = pos + done as u64;
            let skip = done;
            let outcome = op::submit(Some(&self.fd), Payload::Slices(bufs), Manner::default(), |slot| {
                let Payload::Slices(bufs) = &slot.payload else { unreachable!("just put there") };
                let fd = self.fd.as_raw_fd();
                fill_iov(bufs.as_slice(), skip, Slice::padded_len, &mut slot.iov);
                match slot.iov.as_slice() {
                    [one] => {
                        Op::Write { fd, ptr: one.iov_base.cast_const().cast(), len: one.iov_len as u32, pos: at, sync }
                    }
                    many => Op::Writev { fd, iov: many.as_ptr(), count: many.len() as u32, pos: at, sync },
                }
            })
            .await;
            let n = outcome.io()? as usize;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += n;
            let Payload::Slices(back) = outcome.payload else { unreachable!("OP-1: the slot keeps the payload") };
            bufs = back;
        }
        Ok(())
    }

    /// Flushes the data, and what is needed to find it again (fdatasync).
    pub async fn sync_data(&self) -> io::Result<()> {
        self.sync(true).await
    }

    /// Flushes data and metadata (fsync).
    pub async fn sync_all(&self) -> io::Result<()> {
        self.sync(false).await
    }

    async fn sync(&self, data_only: bool) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        let op = Op::Fsync { fd, data_only };
        op::submit(Some(&self.fd), Payload::None, Manner::default(), |_| op).await.io().map(drop)
    }

    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        let op = Op::Ftruncate { fd: self.fd.as_raw_fd(), len };
        op::submit(Some(&self.fd), Payload::None, Manner::default(), |_| op).await.io().map(drop)
    }

    /// Reserves space, and makes the file at least `pos + len` long.
    pub async fn allocate(&self, pos: u64, len: u64) -> io::Result<()> {
        let op = Op::Fallocate { fd: self.fd.as_raw_fd(), pos, len };
        op::submit(Some(&self.fd), Payload::None, Manner::default(), |_| op).await.io().map(drop)
    }

    pub async fn len(&self) -> io::Result<u64> {
        // SAFETY: stat is plain old data; the kernel fills it.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `stat` lives across the call. The inode is in memory: fstat of an open file does not wait for the disk.
        if unsafe { libc::fstat(self.fd.as_raw_fd(), &mut stat) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stat.st_size as u64)
    }
}

/// The iovecs of what remains of `slices` after `skip` bytes, as many as one call takes.
pub(super) fn fill_iov(slices: &[Slice], mut skip: usize, len: impl Fn(&Slice) -> usize, iov: &mut Vec<libc::iovec>) {
    iov.clear();
    let mut room = CALL_BYTES_MAX;
    for slice in slices {
        let len = len(slice);
        if skip >= len {
            skip -= len;
            continue;
        }
        if iov.len() == IOV_MAX || room == 0 {
            break;
        }
        let take = (len - skip).min(room);
        // SAFETY: `skip` is less than the slice's length.
        let base = unsafe { slice.as_ptr().add(skip) };
        iov.push(libc::iovec { iov_base: base.cast_mut().cast(), iov_len: take });
        room -= take;
        skip = 0;
    }
}

pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}

pub(super) async fn open_at(path: CString, flags: i32) -> io::Result<Rc<Fd>> {
    let manner = Manner { leftover: Leftover::Descriptor, ..Manner::default() };
    let outcome = op::submit(None, Payload::Path(path), manner, |slot| {
        let Payload::Path(path) = &slot.payload else { unreachable!("just put there") };
        Op::OpenAt { path: path.as_ptr(), flags, mode: 0o644 }
    })
    .await;
    let fd = outcome.io()? as i32;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(Fd::of_file(unsafe { OwnedFd::from_raw_fd(fd) }))
}
