//! `partition.metadata`: whose directory this is. Kafka's own file, so that its tools know the topic's id; they pass over our
//! line. It tells a directory of this cluster's, left by a crash in the middle of a deletion, from one that somebody copied
//! here, and a topic's directory from that of another which had the name before.

use std::path::Path;

use crate::disk::StorageError;
use crate::disk::layout::replace_file;
use crate::model::TopicId;
use crate::runtime::dir;

pub const NAME: &str = "partition.metadata";

/// What the file says, as far as it does.
pub struct Described {
    pub topic: Option<TopicId>,
    pub cluster_id: Option<String>,
}

/// `None` when there is no such file.
pub fn read(directory: &Path) -> Option<Described> {
    let text = dir::read_small(directory.join(NAME)).ok()?;
    let text = String::from_utf8_lossy(&text);
    let value = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
    Some(Described {
        topic: value("topic_id:").and_then(|id| TopicId::from_base64(&id)),
        cluster_id: value("cluster_id:"),
    })
}

pub async fn store(directory: &Path, topic: TopicId, cluster_id: &str) -> Result<(), StorageError> {
    let text = format!("version: 0\ntopic_id: {topic}\ncluster_id: {cluster_id}\n");
    replace_file(&directory.join(NAME), text.into_bytes()).await
}
