//! The data directory.
//!
//! ```text
//! <data>/meta.properties                      cluster, node, and the current layout's number and shards
//! <data>/.lock                                held by the running process
//! <data>/metadata/                            the metadata log (see controller)
//! <data>/<topic>-<partition>/                 one partition's segments, Kafka's own files
//! <data>/layouts/<n>/shard-<s>/checkpoint     one shard's checkpoint
//! <journal.dir>/layouts/<n>/shard-<s>/        one shard's journal files (journal.dir is <data> unless set)
//! <journal.dir>/owner.properties              the node that owns these journals (absent if journal.dir is <data>)
//! ```
//!
//! Every partition's directory ends with a dash and a number, so no topic name collides with another directory.
//!
//! A new number of shards gets a new layout beside the old one. Then one rename replaces `meta.properties`, so that
//! after a crash the old layout or the new one is current.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::disk::StorageError;
use crate::runtime::dir;
use crate::runtime::file::{Durability, File, Open};

/// The content of `meta.properties`, in Kafka's format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// The cluster's id. A start fails if the metadata log has another one.
    pub cluster_id: String,
    /// `node.id`, at least 0.
    pub node_id: i32,
    /// The number of the current `layouts/<n>`.
    pub layout: u64,
    /// The number of shards in that layout.
    pub shards: u16,
}

/// Why a `meta.properties` file is rejected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetaError {
    /// A required key is not in the file.
    #[error("it has no {key}")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// The value of a numeric key is not an unsigned number.
    #[error("{key} is {found:?}, not a number")]
    NotANumber {
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
    },
    /// The value of a numeric key is out of range.
    #[error("{key} is {found}, more than {max}")]
    TooLarge {
        /// The key.
        key: &'static str,
        /// The value.
        found: u64,
        /// The largest legal value.
        max: u64,
    },
    /// The file has Kafka's keys and none of ours.
    #[error(
        "it belongs to Apache Kafka. Start Tidemill on a directory of its own. To import topics, stop both brokers and \
         copy the topics' directories there"
    )]
    OfKafka,
    /// Kafka's version 0 (before KRaft), or a newer one.
    #[error("it is of version {found}, this build reads 1")]
    Version {
        /// The value of `version`.
        found: String,
    },
}

/// The paths of one data directory.
#[derive(Clone, Debug)]
pub struct DataDirectory {
    /// `log.dirs`
    pub root: PathBuf,
    /// `journal.dir`, or `log.dirs` if that is not set.
    pub journal_root: PathBuf,
}

impl DataDirectory {
    /// The directory `root`, with its journals in `journal_dir` or else in `root` itself.
    pub fn new(root: impl Into<PathBuf>, journal_dir: Option<PathBuf>) -> DataDirectory {
        let root = root.into();
        DataDirectory { journal_root: journal_dir.unwrap_or_else(|| root.clone()), root }
    }

    /// `meta.properties`.
    pub fn meta_path(&self) -> PathBuf {
        self.root.join("meta.properties")
    }

    /// The directory of the metadata log.
    pub fn metadata_directory(&self) -> PathBuf {
        self.root.join("metadata")
    }

    /// The directory of one layout's checkpoints.
    pub fn layout_directory(&self, layout: u64) -> PathBuf {
        layout_below(&self.root, layout)
    }

    /// The directory of one shard's checkpoint.
    pub fn shard_directory(&self, layout: u64, shard: u16) -> PathBuf {
        self.layout_directory(layout).join(format!("shard-{shard}"))
    }

    /// One shard's checkpoint.
    pub fn checkpoint_path(&self, layout: u64, shard: u16) -> PathBuf {
        self.shard_directory(layout, shard).join("checkpoint")
    }

    /// The directory of one layout's journals. It may be on another disk than the layout's checkpoints.
    pub fn journal_layout_directory(&self, layout: u64) -> PathBuf {
        layout_below(&self.journal_root, layout)
    }

    /// The numbers of the layouts that exist below either root.
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

    /// Whether a shard has written to the layout below the data directory.
    pub fn has_checkpoints(&self, layout: u64) -> bool {
        dir::list(self.layout_directory(layout)).is_ok_and(|names| !names.is_empty())
    }

    /// Whether a shard has written to the layout below `journal.dir`.
    pub fn has_journals(&self, layout: u64) -> bool {
        dir::list(self.journal_layout_directory(layout)).is_ok_and(|names| !names.is_empty())
    }

    /// Claims `journal.dir` for a node. Fails when it belongs to another node, whose journals this node would take for
    /// its own.
    pub async fn claim_journals(&self, cluster_id: &str, node_id: i32) -> Result<(), StorageError> {
        if self.journal_root == self.root {
            return Ok(());
        }
        let path = self.journal_root.join("owner.properties");
        let own = format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\n");
        match dir::read_small(&path) {
            Ok(found) if found == own.as_bytes() => Ok(()),
            Ok(found) => {
                let owner = String::from_utf8_lossy(&found).trim().replace('\n', ", ");
                let why = format!(
                    "it belongs to {owner}, and this is node {node_id} of cluster {cluster_id}: \
                     give each node its own journal.dir"
                );
                Err(StorageError::format("a journal.dir", path, why))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => replace_file(&path, own.into_bytes()).await,
            Err(error) => Err(StorageError::io("read", path)(error)),
        }
    }

    /// The directory of one shard's journal files.
    pub fn journal_directory(&self, layout: u64, shard: u16) -> PathBuf {
        self.journal_layout_directory(layout).join(format!("shard-{shard}")).join("journal")
    }

    /// Flushes the directories above one layout's shards. A new directory survives a power failure only when its parent
    /// directory was flushed (fsync(2)).
    pub async fn sync_names(&self, layout: u64) -> Result<(), StorageError> {
        let below = [self.layout_directory(layout), self.journal_layout_directory(layout)];
        let all = [self.root.join(LAYOUTS), self.journal_root.join(LAYOUTS)];
        for directory in below.iter().chain(&all).chain([&self.root, &self.journal_root]) {
            dir::sync(directory).await.map_err(StorageError::io("flush directory", directory))?;
        }
        Ok(())
    }

    /// The directory of one partition's segments, with Kafka's name.
    pub fn partition_directory(&self, topic: &str, partition: i32) -> PathBuf {
        assert!(partition >= 0, "a partition's index is not negative");
        self.root.join(format!("{topic}-{partition}"))
    }
}

const LAYOUTS: &str = "layouts";
/// The most shards of a node: a broker id is node id x 1000 + shard.
const SHARDS_MAX: u64 = 1000;

fn layout_below(root: &Path, layout: u64) -> PathBuf {
    root.join(LAYOUTS).join(layout.to_string())
}

impl Meta {
    /// Parses the file's text.
    ///
    /// # Errors
    /// If a key is missing, not a number or too large, or if the version is unknown.
    pub fn parse(text: &str) -> Result<Meta, MetaError> {
        let value = |key: &'static str| {
            let found = text.lines().filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim() == key);
            found.map(|(_, value)| value.trim().to_owned()).ok_or(MetaError::Missing { key })
        };
        let number = |key: &'static str| {
            let found = value(key)?;
            found.parse::<u64>().map_err(|_| MetaError::NotANumber { key, found })
        };
        let version = value("version")?;
        if version != "1" {
            return Err(MetaError::Version { found: version });
        }
        if value("cluster.id").is_ok() && !text.contains("tidemill.") {
            return Err(MetaError::OfKafka);
        }
        let bounded = |key: &'static str, max: u64| match number(key)? {
            found if found <= max => Ok(found),
            found => Err(MetaError::TooLarge { key, found, max }),
        };
        Ok(Meta {
            cluster_id: value("cluster.id")?,
            node_id: bounded("node.id", i32::MAX as u64)? as i32,
            layout: number("tidemill.layout")?,
            shards: bounded("tidemill.shards", SHARDS_MAX)? as u16,
        })
    }

    /// The file's text.
    pub fn render(&self) -> String {
        assert!(
            self.node_id >= 0 && u64::from(self.shards) <= SHARDS_MAX,
            "parse() rejects what lies outside these bounds"
        );
        assert!(!self.cluster_id.contains('\n'), "a cluster id is one line");
        format!(
            "version=1\ncluster.id={}\nnode.id={}\ntidemill.layout={}\ntidemill.shards={}\n",
            self.cluster_id, self.node_id, self.layout, self.shards
        )
    }

    /// Reads `meta.properties`. `None` in a new directory.
    pub fn load(data: &DataDirectory) -> Result<Option<Meta>, StorageError> {
        let path = data.meta_path();
        match dir::read_small(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
            Ok(text) => {
                let why = match Meta::parse(&text) {
                    Ok(meta) => return Ok(Some(meta)),
                    Err(error @ (MetaError::OfKafka | MetaError::Version { .. })) => error.to_string(),
                    Err(error) => format!(
                        "{error}. Restore the file from a copy, or write it anew: version=1, cluster.id, node.id, \
                         tidemill.layout (the number in layouts/), and tidemill.shards (the number of its directories)"
                    ),
                };
                Err(StorageError::format("meta.properties", &path, why))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io("read", path)(error)),
        }
    }

    /// Replaces `meta.properties`. Once it returns, a restart finds the new file.
    pub async fn store(&self, data: &DataDirectory) -> Result<(), StorageError> {
        replace_file(&data.meta_path(), self.render().into_bytes()).await
    }
}

/// Replaces a small file atomically: writes a new file, flushes it, renames it over the old one, and flushes the
/// directory.
pub async fn replace_file(path: &Path, bytes: Vec<u8>) -> Result<(), StorageError> {
    let file = create_replacement(path).await?;
    file.write_at(bytes, 0, Durability::Cached).await.map_err(StorageError::io("write", path))?;
    put_replacement(&file, path).await
}

/// Creates the empty file that will replace the one at `path`.
pub async fn create_replacement(path: &Path) -> Result<File, StorageError> {
    let fresh = replacement_of(path);
    let open = Open { write: true, create: true, truncate: true, ..Open::default() };
    File::open(&fresh, open).await.map_err(StorageError::io("create", &fresh))
}

/// Puts a written file from [`create_replacement`] in the place of the one at `path`.
pub async fn put_replacement(file: &File, path: &Path) -> Result<(), StorageError> {
    let fresh = replacement_of(path);
    file.sync_all().await.map_err(StorageError::io("flush", &fresh))?;
    dir::rename(&fresh, path).await.map_err(StorageError::io("rename", path))?;
    let directory = path.parent().expect("a file has a directory");
    dir::sync(directory).await.map_err(StorageError::io("flush directory", directory))
}

fn replacement_of(path: &Path) -> PathBuf {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    PathBuf::from(fresh)
}
