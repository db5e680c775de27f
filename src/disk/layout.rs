//! The data directory.
//!
//! ```text
//! <data>/meta.properties                      cluster, node, and the current layout's number and shards
//! <data>/.lock                                held by the running process
//! <data>/metadata/                            the metadata log (see controller)
//! <data>/<topic>-<partition>/                 one partition's segments, Kafka's own files
//! <data>/layouts/<n>/shard-<s>/checkpoint     one shard's checkpoint
//! <journal.dir>/layouts/<n>/shard-<s>/        one shard's journal files (journal.dir is <data> unless set)
//! <journal.dir>/owner.properties              whose journals these are, unless it is <data>
//! ```
//!
//! Every partition's directory has a dash and a number at its end, so no topic's name leads to one of the others.
//!
//! Changing the number of shards makes a new layout beside the old one and then moves `meta.properties` over to it
//! in one rename, so that a crash leaves one or the other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::disk::StorageError;
use crate::runtime::dir;
use crate::runtime::file::{Durability, File, Open};

/// What `meta.properties` says, in Kafka's form of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    pub cluster_id: String,
    pub node_id: i32,
    /// Which `layouts/<n>` is current, and for how many shards it was made.
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
        layout_below(&self.root, layout)
    }

    pub fn shard_directory(&self, layout: u64, shard: u16) -> PathBuf {
        self.layout_directory(layout).join(format!("shard-{shard}"))
    }

    pub fn checkpoint_path(&self, layout: u64, shard: u16) -> PathBuf {
        self.shard_directory(layout, shard).join("checkpoint")
    }

    /// The journals of one layout; they may lie on another disk than its checkpoints.
    pub fn journal_layout_directory(&self, layout: u64) -> PathBuf {
        layout_below(&self.journal_root, layout)
    }

    /// The numbers of the layouts that there are, in either place.
    pub fn layouts(&self) -> Result<BTreeSet<u64>, StorageError> {
        let mut found = BTreeSet::new();
        for root in [&self.root, &self.journal_root] {
            let directory = root.join(LAYOUTS);
            match dir::list(&directory) {
                Ok(names) => found.extend(names.iter().filter_map(|name| name.parse::<u64>().ok())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::io("list", directory)(error)),
            }
        }
        Ok(found)
    }

    /// Whether any shard has begun to write there.
    pub fn has_shards(&self, layout: u64) -> bool {
        let both = [self.layout_directory(layout), self.journal_layout_directory(layout)];
        both.iter().any(|directory| dir::list(directory).is_ok_and(|names| !names.is_empty()))
    }

    /// Claims `journal.dir` for a node, or says whose it is: one node must not take another's journals for what it has left
    /// itself.
    pub async fn claim_journals(&self, cluster_id: &str, node_id: i32) -> Result<(), StorageError> {
        if self.journal_root == self.root {
            return Ok(());
        }
        let path = self.journal_root.join("owner.properties");
        let own = format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\n");
        match dir::read_small(&path) {
            Ok(found) if found == own.as_bytes() => Ok(()),
            Ok(found) => {
                let told = String::from_utf8_lossy(&found).trim().replace('\n', ", ");
                let why = format!(
                    "it says {told}, and this is node {node_id} of cluster {cluster_id}: give each node a journal.dir of its own"
                );
                Err(StorageError::format("a journal.dir", path, why))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => replace_file(&path, own.into_bytes()).await,
            Err(error) => Err(StorageError::io("read", path)(error)),
        }
    }

    pub fn journal_directory(&self, layout: u64, shard: u16) -> PathBuf {
        self.journal_layout_directory(layout).join(format!("shard-{shard}")).join("journal")
    }

    /// fsync(2): a new directory is there after a power failure only when the one that names it was flushed. Flushes what
    /// leads to the shards' directories of one layout.
    pub async fn sync_names(&self, layout: u64) -> Result<(), StorageError> {
        let below = [self.layout_directory(layout), self.journal_layout_directory(layout)];
        let all = [self.root.join(LAYOUTS), self.journal_root.join(LAYOUTS)];
        for directory in below.iter().chain(&all).chain([&self.root, &self.journal_root]) {
            dir::sync(directory).await.map_err(StorageError::io("flush directory", directory))?;
        }
        Ok(())
    }

    /// One partition's segments, by Kafka's naming.
    pub fn partition_directory(&self, topic: &str, partition: i32) -> PathBuf {
        self.root.join(format!("{topic}-{partition}"))
    }
}

const LAYOUTS: &str = "layouts";

fn layout_below(root: &Path, layout: u64) -> PathBuf {
    root.join(LAYOUTS).join(layout.to_string())
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
