//! Checks that the data directory stores bytes durably: writes one file with the flags that the journal uses.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{Finding, Level, ProbeRefusal};
use crate::runtime::buf::AlignedBuf;

const NAME: &str = "data directory";
const WHY: &str = "Tidemill acknowledges a record only after it is on stable storage, which is this directory";
const PROBE_BYTES: usize = 4096;

/// The capabilities of the file system.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// Bytes survive a crash of the machine.
    pub stable: bool,
    /// The file system supports O_DIRECT.
    pub direct: bool,
    /// Its device (stat(2)).
    pub device: u64,
}

/// Checks the directory, and creates it if it is missing.
pub fn probe(dir: &Path, findings: &mut Vec<Finding>) -> Result<Disk, ProbeRefusal> {
    let refuse =
        |found: String, remedy: &str| ProbeRefusal { name: NAME, found, why: WHY.into(), remedy: remedy.into() };
    std::fs::create_dir_all(dir).map_err(|error| {
        refuse(
            format!("{} cannot be created: {error}", dir.display()),
            "create it and give it to the user Tidemill runs as",
        )
    })?;
    let kind = FileSystem::of(dir).map_err(|error| {
        refuse(format!("{} cannot be inspected: {error}", dir.display()), "check the mount and its permissions")
    })?;
    let device =
        std::fs::metadata(dir).map_err(|error| refuse(format!("{}: {error}", dir.display()), "check it"))?.dev();
    let path = dir.join(format!(".probe-{}", std::process::id()));
    let tried = try_file(&path);
    let removed = std::fs::remove_file(&path);
    let at = format!("{} ({kind})", dir.display());
    let direct = tried.map_err(|error| match error {
        FileFailure::Create(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => refuse(
            format!("no file can be created in {at}: {error}"),
            "choose a directory on a writable file system, or mount this one for writing",
        ),
        FileFailure::Create(error) => refuse(
            format!("no file can be created in {at}: {error}"),
            "give the directory to the user Tidemill runs as",
        ),
        FileFailure::Flush(error) => refuse(
            format!("{at} does not flush written bytes (a write with RWF_DSYNC: {error})"),
            "choose a directory on a local disk, with ext4 or XFS",
        ),
        FileFailure::Altered => refuse(format!("{at} returns other bytes than were written"), "replace the disk"),
    })?;
    removed.map_err(|error| refuse(format!("no file can be removed from {at}: {error}"), "check its permissions"))?;

    if kind.is_memory() {
        findings.push(Finding {
            level: Level::Unsafe,
            name: NAME,
            found: format!(
                "{at} is memory, not stable storage: acknowledged records are lost when the machine restarts"
            ),
            consequence:
                "use it for tests only: flushes have no effect in memory; choose a directory on a disk for data".into(),
        });
    } else if !direct {
        findings.push(Finding::degraded(
            NAME,
            format!("{at} has no O_DIRECT"),
            "writes use the page cache and are flushed with RWF_DSYNC: as durable, but slower, and the cache takes \
             memory; ext4 and XFS have O_DIRECT",
        ));
    } else {
        findings.push(Finding::fine(NAME, format!("{at}, O_DIRECT")));
    }
    if let Some(caveat) = kind.caveat() {
        findings.push(Finding::degraded("file system", kind.to_string(), caveat));
    }
    Ok(Disk { stable: !kind.is_memory(), direct, device })
}

enum FileFailure {
    Create(io::Error),
    Flush(io::Error),
    Altered,
}

/// Writes and reads one page with the flush that the journal uses. Returns whether O_DIRECT works.
fn try_file(path: &Path) -> Result<bool, FileFailure> {
    let open =
        |flags: i32| File::options().read(true).write(true).create(true).truncate(true).custom_flags(flags).open(path);
    match open(libc::O_DIRECT) {
        Ok(file) => match write_and_read(&file) {
            Ok(()) => return Ok(true),
            // The file system accepts the flag but not the write, or needs larger blocks: tries without O_DIRECT.
            Err(FileFailure::Flush(error)) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(failure) => return Err(failure),
        },
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => return Err(FileFailure::Create(error)),
    }
    write_and_read(&open(0).map_err(FileFailure::Create)?).map(|()| false)
}

fn write_and_read(file: &File) -> Result<(), FileFailure> {
    let out_of_memory = |e: crate::runtime::OverBudget| FileFailure::Flush(e.into());
    let mut page = AlignedBuf::alloc(PROBE_BYTES).map_err(out_of_memory)?;
    let mut expected = [0; PROBE_BYTES];
    crate::runtime::random_bytes(&mut expected);
    page[..PROBE_BYTES].copy_from_slice(&expected);
    let iov = libc::iovec { iov_base: page.as_mut_ptr().cast(), iov_len: PROBE_BYTES };
    // SAFETY: `iov` describes memory of `page`, which outlives the call and has at least PROBE_BYTES.
    let written = unsafe { libc::pwritev2(file.as_raw_fd(), &iov, 1, 0, libc::RWF_DSYNC) };
    if written != PROBE_BYTES as isize {
        return Err(FileFailure::Flush(if written < 0 {
            io::Error::last_os_error()
        } else {
            io::ErrorKind::WriteZero.into()
        }));
    }
    page.fill(0);
    // SAFETY: as above; the kernel writes to `page`, which has no other reference.
    let read = unsafe { libc::preadv(file.as_raw_fd(), &iov, 1, 0) };
    if read < 0 {
        return Err(FileFailure::Flush(io::Error::last_os_error()));
    }
    if read != PROBE_BYTES as isize || page[..PROBE_BYTES] != expected {
        return Err(FileFailure::Altered);
    }
    Ok(())
}

/// A file system, by its magic number (statfs(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileSystem(i64);

impl FileSystem {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    const NAMES: [(i64, &str); 14] = [
        (0xef53, "ext4"),
        (0x5846_5342, "XFS"),
        (0x9123_683e, "btrfs"),
        (0x2fc1_2fc1, "ZFS"),
        (0xf2f5_2010, "F2FS"),
        (0xca45_1a4e, "bcachefs"),
        (FileSystem::TMPFS, "tmpfs"),
        (FileSystem::RAMFS, "ramfs"),
        (0x794c_7630, "overlayfs"),
        (0x6969, "NFS"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9p"),
        (0xfe53_4d42, "SMB"),
        (0xff53_4d42, "CIFS"),
    ];

    fn of(dir: &Path) -> io::Result<FileSystem> {
        let path = CString::new(dir.as_os_str().as_bytes())?;
        // SAFETY: statfs is plain old data; the kernel fills it.
        let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: `path` and `stat` outlive the call.
        match unsafe { libc::statfs(path.as_ptr(), &mut stat) } {
            0 => Ok(FileSystem(stat.f_type)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn is_memory(self) -> bool {
        matches!(self.0, FileSystem::TMPFS | FileSystem::RAMFS)
    }

    /// A known disadvantage of a file system that works.
    fn caveat(self) -> Option<&'static str> {
        match self.to_string().as_str() {
            "btrfs" | "ZFS" | "bcachefs" => {
                Some("it copies on write: each flush of the journal moves its blocks; ext4 and XFS are faster")
            }
            "overlayfs" => {
                Some("the writable layer of a container is removed with the container: mount a volume for the data")
            }
            "NFS" | "FUSE" | "9p" | "SMB" | "CIFS" => {
                Some("as durable as its server; a flush takes a round trip, and errors differ from those of a disk")
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match FileSystem::NAMES.iter().find(|(magic, _)| *magic == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "file system type {:#x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_leaves_no_file_in_the_directory() {
        let dir = std::env::current_exe().unwrap().parent().unwrap().join(format!("probe-{}", std::process::id()));
        let mut findings = Vec::new();
        let disk = probe(&dir, &mut findings).unwrap();
        assert_eq!(disk.stable, !FileSystem::of(&dir).unwrap().is_memory());
        assert!(findings[0].found.contains(dir.to_str().unwrap()));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_refused_with_a_remedy() {
        for path in ["/proc/self/status/data", "/dev/null", "/proc/tidemill"] {
            let refusal = probe(Path::new(path), &mut Vec::new()).unwrap_err();
            assert!(refusal.found.contains(path) && !refusal.remedy.is_empty(), "{refusal}");
        }
    }
}
