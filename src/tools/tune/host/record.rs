//! The old values of changed settings, until they are restored.
//!
//! The file is replaced as a whole before each write of a setting (TUNE-1). A process that is killed half-way leaves a
//! record of each setting that it may have written.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::runtime::dir::{self, DirLock};
use crate::tools::Failure;
use crate::tools::tune::machine::Roots;
use crate::tools::tune::store::{cannot_write, replace_file};

/// The directory of the record.
const DIRECTORY: &str = "/var/lib/tidemill/tune";
/// Its name.
const FILE: &str = "replaced.toml";
/// Changes with each start of the machine, as the settings do.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The record, locked against a second process.
pub struct Record {
    path: PathBuf,
    content: Content,
    _lock: DirLock,
}

#[derive(Clone, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// The start of the machine in which the values were replaced.
    boot_id: String,
    #[serde(default)]
    replaced: Vec<Replaced>,
}

/// A setting that was, or is about to be, written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Replaced {
    path: String,
    old: String,
    new: String,
}

impl Record {
    /// Whether a setting was changed on this host.
    pub fn exists(roots: &Roots) -> bool {
        roots.exists(format!("{DIRECTORY}/{FILE}"))
    }

    /// Opens the record and locks it. Fails if another process has it, or without the right to write.
    pub fn open(roots: &Roots) -> Result<Record, Failure> {
        let directory = roots.path(DIRECTORY);
        let path = directory.join(FILE);
        fs::create_dir_all(&directory).map_err(|error| without_right(&directory, &error))?;
        let lock = dir::lock(&directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Failure::with_hint(
                "another `tidemill tune apply` or `undo` runs on this machine",
                "wait until it has ended; nothing was changed",
            ),
            _ => without_right(&directory, &error),
        })?;
        let boot_id = roots.read(BOOT_ID).unwrap_or_default();
        let content = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                let why = error.message().trim().to_owned();
                Failure::with_hint(
                    format!("{}: {why}", path.display()),
                    "the file names the settings that were changed, and their old values: restore them by hand",
                )
            })?,
            Err(_) => Content { boot_id: boot_id.clone(), replaced: Vec::new() },
        };
        // A restart of the machine has restored all settings.
        let content = if content.boot_id == boot_id { content } else { Content { boot_id, replaced: Vec::new() } };
        Ok(Record { path, content, _lock: lock })
    }

    /// Writes a setting, and records its old value before.
    pub fn write(&mut self, roots: &Roots, path: &str, value: &str) -> Result<(), Failure> {
        // A second change of a setting keeps the first old value.
        if !self.content.replaced.iter().any(|replaced| replaced.path == path) {
            let old = current(roots, path)?;
            self.content.replaced.push(Replaced { path: path.into(), old, new: value.into() });
            self.store()?;
        }
        let is_recorded = self.content.replaced.iter().any(|replaced| replaced.path == path);
        assert!(is_recorded, "TUNE-1: {path} is recorded before it is written");
        write_setting(roots, path, value)
    }

    /// Restores one setting, and forgets it.
    pub fn restore(&mut self, roots: &Roots, path: &str) -> Result<(), Failure> {
        let Some(at) = self.content.replaced.iter().position(|replaced| replaced.path == path) else { return Ok(()) };
        write_setting(roots, path, &self.content.replaced[at].old)?;
        self.content.replaced.remove(at);
        self.store()
    }

    /// Restores all settings, the latest first. Returns their paths and values. A setting that cannot be restored stays
    /// in the record.
    pub fn undo(mut self, roots: &Roots) -> Result<Vec<(String, String)>, Failure> {
        let mut restored = Vec::new();
        let mut failure = None;
        for replaced in self.content.replaced.clone().into_iter().rev() {
            match self.restore(roots, &replaced.path) {
                Ok(()) => restored.push((replaced.path, replaced.old)),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        failure.map_or(Ok(restored), Err)
    }

    fn store(&self) -> Result<(), Failure> {
        if self.content.replaced.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot_write(&self.path, &error)),
                _ => Ok(()),
            };
        }
        let text = toml::to_string(&self.content).map_err(|error| Failure::new(error.to_string()))?;
        replace_file(&self.path, text.as_bytes()).map_err(|error| cannot_write(&self.path, &error))
    }
}

/// The chosen value of a setting: of `[a] b`, `a`.
pub fn current(roots: &Roots, path: &str) -> Result<String, Failure> {
    let text =
        fs::read_to_string(roots.path(path)).map_err(|error| Failure::new(format!("cannot read {path}: {error}")))?;
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(chosen, _)| chosen);
    Ok(chosen.unwrap_or(&text).trim().to_owned())
}

fn write_setting(roots: &Roots, path: &str, value: &str) -> Result<(), Failure> {
    assert!(!path.ends_with("write_cache"), "queue/write_cache is never written");
    fs::write(roots.path(path), value).map_err(|error| Failure::new(format!("cannot write {value} to {path}: {error}")))
}

fn without_right(directory: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::with_hint(
        format!("cannot write the record of old values to {}: {error}", directory.display()),
        "run the command with sudo; nothing was changed",
    )
}
