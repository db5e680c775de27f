//! Writes a profile: the new file replaces the old one in one step, or the old one stays.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::tools::Failure;

/// Writes the profile as `<directory>/<name>`, and returns the path.
pub fn write_profile(directory: &Path, name: &str, profile: &impl Serialize) -> Result<PathBuf, Failure> {
    let text = toml::to_string(profile).map_err(|error| Failure::new(format!("cannot encode {name}: {error}")))?;
    let path = directory.join(name);
    let header = "# Measured by `tidemill tune`. `tidemill serve` reads it and derives settings (tuning/README.md).\n";
    fs::create_dir_all(directory)
        .and_then(|()| replace_file(&path, format!("{header}{text}").as_bytes()))
        .map_err(|error| cannot_write(&path, &error))?;
    Ok(path)
}

/// Writes a file under a temporary name, flushes it, and renames it. Removes the temporary file after a failure.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    replaced?;
    File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}

/// The failure of a write, with the next step.
pub fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("cannot write {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            failure.hinted("the disk is full: free some space, and run the command again; nothing was changed")
        }
        io::ErrorKind::PermissionDenied => {
            failure.hinted("run the command as the user that the node runs as, or name another directory")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let tests = std::env::current_exe().expect("a path");
        let directory = tests.parent().expect("a directory").join(format!("store-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("created");
        let path = directory.join("disk.toml");
        replace_file(&path, b"one").expect("written");
        replace_file(&path, b"two").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        // A directory in place of the file cannot be replaced.
        let blocked = directory.join("core.toml");
        fs::create_dir_all(blocked.join("x")).expect("created");
        assert!(replace_file(&blocked, b"one").is_err());
        let mut names: Vec<_> =
            fs::read_dir(&directory).expect("listed").map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["core.toml", "disk.toml"]);
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_full_disk_is_named() {
        let error = io::Error::from_raw_os_error(libc::ENOSPC);
        assert!(cannot_write(Path::new("p/disk.toml"), &error).to_string().contains("the disk is full"));
    }
}
