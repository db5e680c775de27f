//! The data directory.
//!
//! ```text
//! <data>/meta.properties                      cluster, node, and the current layout's number and shards
//! <data>/.lock                                held by the running process
//! <data>/metadata/                            the metadata log (see controller)
//! <data>/<topic>-<partition>/                 one partition's segments, Kafka's own files
//! <data>/layout-<n>/shard-<s>/checkpoint      one shard's checkpoint
//! <journal.dir>/layout-<n>/shard-<s>/         one shard's journal files (journal.dir is <data> unless set)
//! ```
//!
//! Changing the number of shards makes a new layout beside the old one and then moves `meta.properties` over to it
//! in one rename, so that a crash leaves one or the other.

use std::path::{Path, PathBuf};

use crate::disk::StorageError;
use crate::runtime::dir;
use crate::runtime::file::{Durability, File, Open};

/// What `meta.properties` says, in Kafka's form of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    pub cluster_id: String,
    pub node_id: i32,
    /// Which `layout-<n>` is current, and for how many shards it was made.
    pub layout: u64,
    pub shards: u16,
}

/// Paths below one data directory.
#[derive(Clone, Debug)]
pub struct DataDirectory {
    pub root: PathBuf,
    pub journal_root: PathBuf,
}

impl DataDirectory {
    pub fn new(root: impl Into<PathBuf>, journal_dir: Option<PathBuf>) -> DataDirectory {
        let root = root.into();
        DataDirectory { journal_root: journal_dir.unwrap_or_else(|| root.clone()), root }
    }

    pub fn meta_path(&self) -> PathBuf {
        self.root.join("meta.properties")
    }

    pub fn metadata_directory(&self) -> PathBuf {
        self.root.join("metadata")
    }

    pub fn layout_directory(&self, layout: u64) -> PathBuf {
        self.root.join(format!("layout-{layout}"))
    }

    pub fn shard_directory(&self, layout: u64, shard: u16) -> PathBuf {
        self.layout_directory(layout).join(format!("shard-{shard}"))
    }

    pub fn checkpoint_path(&self, layout: u64, shard: u16) -> PathBuf {
        self.shard_directory(layout, shard).join("checkpoint")
    }

    /// The journals of one layout; they may lie on another disk than its checkpoints.
    pub fn journal_layout_directory(&self, layout: u64) -> PathBuf {
        self.journal_root.join(format!("layout-{layout}"))
    }

    pub fn journal_directory(&self, layout: u64, shard: u16) -> PathBuf {
        self.journal_layout_directory(layout).join(format!("shard-{shard}")).join("journal")
    }

    /// fsync(2): a new directory is there after a power failure only when the one that names it was flushed. Flushes what
    /// leads to the shards' directories of one layout.
    pub async fn sync_names(&self, layout: u64) -> Result<(), StorageError> {
        let below = [self.layout_directory(layout), self.journal_layout_directory(layout)];
        for directory in below.iter().chain([&self.root, &self.journal_root]) {
            dir::sync(directory).await.map_err(StorageError::io("flush directory", directory))?;
        }
        Ok(())
    }

    /// One partition's segments, by Kafka's naming.
    pub fn partition_directory(&self, topic: &str, partition: i32) -> PathBuf {
        self.root.join(format!("{topic}-{partition}"))
    }
}

impl Meta {
    pub fn parse(text: &str) -> Result<Meta, String> {
        let value = |key: &str| {
            let found = text.lines().filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim() == key);
            found.map(|(_, value)| value.trim().to_owned()).ok_or_else(|| format!("it has no {key}"))
        };
        let number = |key: &str| {
            let text = value(key)?;
            text.parse::<u64>().map_err(|_| format!("{key} is {text:?}, not a number"))
        };
        if value("version")? != "1" {
            return Err(format!("it is of version {}, this build reads 1", value("version")?));
        }
        let small = |key: &str, most: u64| {
            let number = number(key)?;
            if number <= most { Ok(number) } else { Err(format!("{key} is {number}, more than {most}")) }
        };
        Ok(Meta {
            cluster_id: value("cluster.id")?,
            node_id: small("node.id", i32::MAX as u64)? as i32,
            layout: number("tidemill.layout")?,
            shards: small("tidemill.shards", 1000)? as u16,
        })
    }

    pub fn render(&self) -> String {
        format!(
            "version=1\ncluster.id={}\nnode.id={}\ntidemill.layout={}\ntidemill.shards={}\n",
            self.cluster_id, self.node_id, self.layout, self.shards
        )
    }

    /// Reads `meta.properties`; `None` in a fresh directory.
    pub fn load(data: &DataDirectory) -> Result<Option<Meta>, StorageError> {
        let path = data.meta_path();
        match dir::read_small(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
            Ok(text) => Meta::parse(&text).map(Some).map_err(|why| StorageError::format("meta.properties", &path, why)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io("read", path)(error)),
        }
    }

    /// Replaces `meta.properties`; when it returns, a restart finds this one.
    pub async fn store(&self, data: &DataDirectory) -> Result<(), StorageError> {
        replace_file(&data.meta_path(), self.render().into_bytes()).await
    }
}

/// Replaces a small file whole: written beside, flushed, renamed, directory flushed.
pub async fn replace_file(path: &Path, bytes: Vec<u8>) -> Result<(), StorageError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let open = Open { write: true, create: true, truncate: true, ..Open::default() };
    let file = File::open(&fresh, open).await.map_err(StorageError::io("create", &fresh))?;
    file.write_at(bytes, 0, Durability::Cached).await.map_err(StorageError::io("write", &fresh))?;
    file.sync_all().await.map_err(StorageError::io("flush", &fresh))?;
    dir::rename(&fresh, path).await.map_err(StorageError::io("rename", path))?;
    let directory = path.parent().expect("a file lies in a directory");
    dir::sync(directory).await.map_err(StorageError::io("flush directory", directory))
}
