//! Leases: the kernel grants one only on a file that no process has open for writing.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Whether a process has the file open for writing. A write in flight keeps the file open after its process has ended.
/// Blocks the thread for one directory lookup: for start-up.
///
/// # Errors
/// `Unsupported` if the file system has no leases of its own, or the file belongs to another user.
pub fn is_open_for_writing(path: impl AsRef<Path>) -> io::Result<bool> {
    // asm-generic/fcntl.h; libc has no constant.
    const F_SETSIG: libc::c_int = 10;
    /// NFS, and two of SMB (statfs(2)).
    const REMOTE: [i64; 3] = [0x6969, 0xff53_4d42, 0xfe53_4d42];
    let file = std::fs::File::open(path)?;
    // SAFETY: a system call on an open descriptor; no memory is involved.
    let fcntl = |command, argument: libc::c_int| match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // An open of the file meanwhile breaks the lease with SIGIO, which ends a process; SIGURG is ignored.
    fcntl(F_SETSIG, libc::SIGURG)?;
    // fcntl(2): a read lease is granted only if no process has the file open for writing.
    match fcntl(libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => fcntl(libc::F_SETLEASE, libc::F_UNLCK).map(|()| false),
        Err(error) => match error.raw_os_error() {
            // These need a lease of their server first, and refuse with the same error.
            Some(libc::EAGAIN) if REMOTE.contains(&file_system_of(&file)?) => Err(io::ErrorKind::Unsupported.into()),
            Some(libc::EAGAIN) => Ok(true),
            Some(libc::EINVAL | libc::EACCES) => Err(io::ErrorKind::Unsupported.into()),
            _ => Err(error),
        },
    }
}

/// The magic number of an open file's file system.
fn file_system_of(file: &std::fs::File) -> io::Result<i64> {
    // SAFETY: statfs is plain old data; the kernel fills it.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` outlives the call.
    match unsafe { libc::fstatfs(file.as_raw_fd(), &mut stat) } {
        0 => Ok(stat.f_type),
        _ => Err(io::Error::last_os_error()),
    }
}
