//! The directory of a log, and the permission to use names in it.
//!
//! A deleted topic's directory is renamed, and a new topic of the same name gets a new directory at the old path. A
//! task of the deleted log that opened a file by its name then would get a file of the new topic, or none. So
//! each task holds [`Names`] while it uses a name, and the directory is renamed only when no task holds them (LOG-5).

use std::cell::Cell;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::segment::file_path;
use crate::model::Offset;
use crate::runtime::sync::Notify;

/// The directory of one log, which the log shares with its segments.
pub struct LogDirectory {
    path: PathBuf,
    users: Cell<usize>,
    is_closed: Cell<bool>,
    unused: Notify,
}

/// The permission to use names in a log's directory, until it drops. Dereferences to the directory's path.
pub struct Names {
    directory: Rc<LogDirectory>,
}

impl LogDirectory {
    /// The directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Rc<LogDirectory> {
        Rc::new(LogDirectory {
            path: path.into(),
            users: Cell::new(0),
            is_closed: Cell::new(false),
            unused: Notify::new(),
        })
    }

    /// The path, for messages, and for tasks that hold the log's permit to change its files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The permission to use names in the directory. `None` once the log is deleted.
    pub fn names(self: &Rc<Self>) -> Option<Names> {
        if self.is_closed.get() {
            return None;
        }
        self.users.set(self.users.get() + 1);
        Some(Names { directory: self.clone() })
    }

    /// Gives no more permissions: the log is deleted.
    pub fn close(&self) {
        self.is_closed.set(true);
    }

    /// Waits until no task uses a name in the closed directory. Another log may have the path then.
    pub async fn wait_unused(&self) {
        assert!(self.is_closed.get(), "LOG-5: {} is released and still in use", self.path.display());
        while self.users.get() > 0 {
            self.unused.notified().await;
        }
    }
}

impl Names {
    /// The path of a segment's file.
    pub fn file(&self, base_offset: Offset, extension: &str) -> PathBuf {
        file_path(self, base_offset, extension)
    }
}

impl Deref for Names {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.directory.path
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let users = self.directory.users.get();
        assert!(users > 0, "LOG-5: each permission returns once");
        self.directory.users.set(users - 1);
        if users == 1 {
            self.directory.unused.notify_all();
        }
    }
}
