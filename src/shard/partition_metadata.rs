//! `partition.metadata`: the topic id and the cluster id of a partition's directory.
//!
//! Kafka's own file, so that Kafka's tools find the topic id; they ignore our line with the cluster id. The file
//! distinguishes a directory of this cluster, which a crash during a deletion may leave, from a directory copied from
//! another cluster. It also distinguishes the directories of two topics that had the same name at different times.

use std::path::Path;

use crate::disk::StorageError;
use crate::disk::layout::replace_file;
use crate::model::TopicId;
use crate::runtime::dir;

/// The file's name.
pub const NAME: &str = "partition.metadata";

/// The owner of a partition's directory, as far as the file names it.
pub struct DirectoryOwner {
    /// The topic's id.
    pub topic: Option<TopicId>,
    /// The cluster of the topic; Kafka's own files lack it.
    pub cluster_id: Option<String>,
}

/// Reads the file in `directory`. `None` when it does not exist.
pub fn read(directory: &Path) -> Option<DirectoryOwner> {
    let text = dir::read_small(directory.join(NAME)).ok()?;
    let text = String::from_utf8_lossy(&text);
    let value = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
    Some(DirectoryOwner {
        topic: value("topic_id:").and_then(|id| TopicId::from_base64(&id)),
        cluster_id: value("cluster_id:"),
    })
}

/// Writes the file. Once it returns, the file survives a power failure.
pub async fn store(directory: &Path, topic: TopicId, cluster_id: &str) -> Result<(), StorageError> {
    let text = format!("version: 0\ntopic_id: {topic}\ncluster_id: {cluster_id}\n");
    replace_file(&directory.join(NAME), text.into_bytes()).await
}
