//! Files: reads and writes at positions, with the flush as part of the write.
//!
//! FILE-1: a write that succeeds has written all of its bytes; with `DataSync` they are on stable storage.
//!
//! An error is final, and does not indicate which bytes were written.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use super::buf::{AlignedBuf, BLOCK_BYTES_MIN, Slice, Slices};
use super::op::{self, Fd, OnDrop, Payload, ResultResource};
use super::reactor::Runtime;
use super::ring::Op;

/// The maximum number of buffers per system call.
pub(super) const IOV_MAX: usize = 1024;
/// The maximum number of bytes per system call (MAX_RW_COUNT), in whole pages.
const CALL_BYTES_MAX: usize = 0x7fff_f000;

/// The options to open a file with: `std::fs::OpenOptions` as a value.
#[derive(Clone, Copy, Default, Debug)]
pub struct Open {
    /// Allows reads.
    pub read: bool,
    /// Allows writes.
    pub write: bool,
    /// Creates the file if it does not exist.
    pub create: bool,
    /// Fails if the file exists.
    pub create_new: bool,
    /// Truncates the file to zero bytes.
    pub truncate: bool,
    /// Bypasses the page cache, if the file system supports it; see [`File::is_direct`].
    pub direct: bool,
    /// Appends all writes to the end of the file.
    pub append: bool,
}

/// The durability of the bytes when a write completes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// In the page cache: the bytes survive a crash of the process, not of the machine.
    Cached,
    /// On stable storage (RWF_DSYNC).
    DataSync,
}

/// An open file. A clone increments a reference count; the last drop closes the file.
#[derive(Clone)]
pub struct File {
    fd: Rc<Fd>,
    direct: bool,
}

impl File {
    /// Opens `path`. Falls back to buffered I/O if `direct` is requested and the file system has no O_DIRECT, or failed
    /// the probe's direct write.
    pub async fn open(path: impl AsRef<Path>, open: Open) -> io::Result<File> {
        let path = c_path(path.as_ref())?;
        let mut flags = match (open.read, open.write || open.append) {
            (true, true) => libc::O_RDWR,
            (false, true) => libc::O_WRONLY,
            (true, false) => libc::O_RDONLY,
            (false, false) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither read nor write requested"));
            }
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
                // The file system has no O_DIRECT. Buffered I/O is slower, but as durable: a flush is a flush.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                opened => {
                    let mut file = File { fd: opened?, direct: true };
                    if Runtime::with(|rt| !rt.buffered_devices.is_empty()) {
                        file.end_direct_on_buffered_devices()?;
                    }
                    return Ok(file);
                }
            }
        }
        Ok(File { fd: open_at(path, flags).await?, direct: false })
    }

    /// Ends direct I/O if the probe has found that the file system accepts O_DIRECT in an open and not in a write.
    fn end_direct_on_buffered_devices(&mut self) -> io::Result<()> {
        let device = self.stat()?.st_dev;
        if Runtime::with(|rt| rt.buffered_devices.contains(&device)) {
            let fd = self.fd.as_raw_fd();
            // SAFETY: system calls on an open descriptor; no memory is involved.
            let rc = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::fcntl(fd, libc::F_GETFL) & !libc::O_DIRECT) };
            if rc != 0 {
                return Err(io::Error::last_os_error());
            }
            self.direct = false;
        }
        Ok(())
    }

    /// Whether I/O bypasses the page cache: positions, lengths and memory must then be multiples of 4 KiB.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// One read into `buf[at..at + len]`, which may be short. Always returns the buffer.
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
        let outcome = op::submit(Some(&self.fd), Payload::Buf(buf), OnDrop::default(), |_| Op::Read {
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

    /// Reads `len` bytes from `pos`, fewer only at the end of the file. For small reads; copies if the file is direct.
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
            let outcome = op::submit(Some(&self.fd), Payload::Bytes(bytes), OnDrop::default(), |_| Op::Read {
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
            // A read that ends within a page has reached the end of the file.
            if n == 0 || !n.is_multiple_of(BLOCK_BYTES_MIN) {
                break;
            }
        }
        Ok(buf[skip.min(filled)..(skip + len).min(filled)].to_vec())
    }

    /// Writes all bytes, including the padding of `AppendBuf::aligned`. Several buffers are one vectored write.
    pub async fn write_at(&self, bufs: impl Into<Slices>, pos: u64, durability: Durability) -> io::Result<()> {
        let sync = durability == Durability::DataSync;
        let mut bufs = bufs.into();
        let total = bufs.padded_bytes();
        let mut done = 0;
        while done < total {
            let at = pos + done as u64;
            let skip = done;
            let outcome = op::submit(Some(&self.fd), Payload::Slices(bufs), OnDrop::default(), |slot| {
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
            assert!(done <= total, "FILE-1: {done} bytes were written of {total}");
            let Payload::Slices(back) = outcome.payload else { unreachable!("OP-1: the slot keeps the payload") };
            bufs = back;
        }
        Ok(())
    }

    /// Flushes the data, and the metadata that reading it requires (fdatasync).
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
        op::submit(Some(&self.fd), Payload::None, OnDrop::default(), |_| op).await.io().map(drop)
    }

    /// Truncates or extends the file to `len` bytes.
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        let op = Op::Ftruncate { fd: self.fd.as_raw_fd(), len };
        op::submit(Some(&self.fd), Payload::None, OnDrop::default(), |_| op).await.io().map(drop)
    }

    /// Reserves space, and extends the file to at least `pos + len` bytes.
    pub async fn allocate(&self, pos: u64, len: u64) -> io::Result<()> {
        let op = Op::Fallocate { fd: self.fd.as_raw_fd(), pos, len };
        op::submit(Some(&self.fd), Payload::None, OnDrop::default(), |_| op).await.io().map(drop)
    }

    /// The size of the file in bytes.
    pub async fn len(&self) -> io::Result<u64> {
        Ok(self.stat()?.st_size as u64)
    }

    fn stat(&self) -> io::Result<libc::stat> {
        // SAFETY: stat is plain old data; the kernel fills it.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `stat` outlives the call. The inode is in memory: fstat of an open file does not wait for the disk.
        if unsafe { libc::fstat(self.fd.as_raw_fd(), &mut stat) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stat)
    }
}

/// Fills `iov` with the bytes of `slices` after the first `skip`, as many as one system call accepts.
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
    let on_drop = OnDrop { release: ResultResource::Descriptor, ..OnDrop::default() };
    let outcome = op::submit(None, Payload::Path(path), on_drop, |slot| {
        let Payload::Path(path) = &slot.payload else { unreachable!("just put there") };
        Op::OpenAt { path: path.as_ptr(), flags, mode: 0o644 }
    })
    .await;
    let fd = outcome.io()? as i32;
    // SAFETY: the kernel just opened this descriptor; no other code owns it.
    Ok(Fd::of_file(unsafe { OwnedFd::from_raw_fd(fd) }))
}
