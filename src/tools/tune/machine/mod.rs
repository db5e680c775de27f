//! Reads the machine from `/proc` and `/sys`.
//!
//! All reads go through [`Roots`], so that a test can read a made-up machine.

mod block;
mod cpu;
mod interrupts;

use std::path::{Path, PathBuf};

pub use block::{Device, disk_fingerprint, mount_point};
pub use cpu::{CpuTicks, core_fingerprint, cpu_ticks, numa_node, quota_cores, steal_ticks};
pub use interrupts::interrupts;

/// The directory below which `/proc` and `/sys` are: `/`, except in tests.
#[derive(Clone, Debug)]
pub struct Roots {
    base: PathBuf,
}

impl Roots {
    /// `/`, or a made-up machine.
    pub fn new(base: Option<PathBuf>) -> Roots {
        Roots { base: base.unwrap_or_else(|| PathBuf::from("/")) }
    }

    /// The place of an absolute path.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.base.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// The text of a file without surrounding blanks; `None` if it cannot be read or is empty.
    pub fn read(&self, absolute: impl AsRef<Path>) -> Option<String> {
        let text = std::fs::read_to_string(self.path(absolute)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Whether the path exists.
    pub fn exists(&self, absolute: impl AsRef<Path>) -> bool {
        self.path(absolute).exists()
    }

    /// The names in a directory, sorted.
    pub fn list(&self, absolute: impl AsRef<Path>) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(absolute)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// A machine of files, removed when dropped.
    pub struct MadeUp {
        roots: Roots,
        base: PathBuf,
        data: PathBuf,
    }

    impl MadeUp {
        /// A machine without any file.
        pub fn new(name: &str) -> MadeUp {
            let tests = std::env::current_exe().expect("a path");
            let base = tests.parent().expect("a directory").join(format!("machine-of-{name}-{}", std::process::id()));
            std::fs::create_dir_all(base.join("data")).expect("created");
            let base = std::fs::canonicalize(base).expect("it exists");
            MadeUp { roots: Roots::new(Some(base.clone())), data: base.join("data"), base }
        }

        /// A machine whose directory is on a partition of a disk, with XFS.
        pub fn with_disk(name: &str, disk: &str) -> MadeUp {
            let machine = MadeUp::new(name);
            let device = machine.directory().metadata().expect("it exists").dev();
            let partition = format!("/sys/block/{disk}/{disk}p1");
            machine.file(&format!("{partition}/partition"), "1");
            machine.file("/sys/dev/block/README", "");
            let link = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
            std::os::unix::fs::symlink(machine.roots.path(partition), machine.roots.path(link)).expect("linked");
            let mounts = "1 0 8:1 / / rw,relatime - xfs /dev/x rw,discard\n2 1 0:1 / /proc rw - proc proc rw\n";
            machine.file("/proc/self/mountinfo", mounts);
            machine
        }

        /// The files of the machine.
        pub fn roots(&self) -> &Roots {
            &self.roots
        }

        /// A data directory.
        pub fn directory(&self) -> &Path {
            &self.data
        }

        /// Writes a file, and creates its directory.
        pub fn file(&self, absolute: &str, text: &str) {
            let path = self.roots.path(absolute);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("created");
            std::fs::write(path, text).expect("written");
        }
    }

    impl Drop for MadeUp {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.base);
        }
    }
}
