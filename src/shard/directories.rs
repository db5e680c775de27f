//! Removes the directories of deleted partitions, and puts those aside whose topic is unknown.
//!
//! Invariant
//! - SHARD-4: a partition's directory is removed only if the metadata log has deleted its topic.

use super::partition_metadata::{self, DirectoryOwner};
use crate::disk::StorageError;
use crate::disk::layout::DataDirectory;
use crate::metadata::Image;
use crate::model::TopicPartition;
use crate::runtime::{self, Class, dir};

/// The suffix of a directory that is being removed, as in Kafka.
const DELETED: &str = "-delete";
/// The suffix of a directory that was put aside, as in Kafka. No start reads such a directory.
const STRAY: &str = "-stray";

/// Clears the directory of the partition `id` if it belongs to another topic of this cluster, which had the name
/// before. A directory of another cluster is an error. Returns the owner of a directory that stays.
pub async fn clear_other_topic(
    data: &DataDirectory,
    topic: &str,
    id: TopicPartition,
    image: &Image,
) -> Result<Option<DirectoryOwner>, StorageError> {
    let directory = data.partition_directory(topic, id.partition);
    let Some(owner) = partition_metadata::read(&directory) else { return Ok(None) };
    let Some(other) = owner.topic.filter(|other| *other != id.topic) else { return Ok(Some(owner)) };
    if owner.cluster_id.as_deref() != Some(&image.cluster_id) {
        let why =
            format!("it belongs to topic id {other} of another cluster, but {topic} has id {}: move it away", id.topic);
        return Err(StorageError::format("a partition's directory", directory, why));
    }
    clear(data, topic, TopicPartition { topic: other, ..id }, image).await?;
    Ok(None)
}

/// Clears the directory of a topic of this cluster that the image does not contain. If the metadata log has deleted the
/// topic, a crash interrupted the removal, and the directory is removed. Otherwise the log has lost the topic, or its
/// tombstone is too old, and the directory is put aside.
pub async fn clear(data: &DataDirectory, topic: &str, id: TopicPartition, image: &Image) -> Result<(), StorageError> {
    if image.deleted_topics.contains(id.topic) {
        return remove(data, topic, id, image).await;
    }
    let from = data.partition_directory(topic, id.partition);
    let to = data.root.join(name_of(topic, id, STRAY));
    dir::rename(&from, &to).await.map_err(StorageError::io("put aside", &from))?;
    dir::sync(&data.root).await.map_err(StorageError::io("flush directory", &data.root))?;
    tracing::error!(
        "{} belongs to topic id {}, which the metadata log neither contains nor has deleted lately: its records are \
         kept in {}. To import them as a topic, stop the node, give the directory its old name, and remove the line \
         cluster_id from its {}",
        from.display(),
        id.topic,
        to.display(),
        partition_metadata::NAME
    );
    Ok(())
}

/// Renames a deleted partition's directory, as Kafka does, and removes it in the background. A new topic can use the
/// name at once.
pub async fn remove(data: &DataDirectory, topic: &str, id: TopicPartition, image: &Image) -> Result<(), StorageError> {
    assert!(image.deleted_topics.contains(id.topic), "SHARD-4: topic {} has a tombstone", id.topic);
    let from = data.partition_directory(topic, id.partition);
    let to = data.root.join(name_of(topic, id, DELETED));
    // The directory may belong to another topic by now.
    let owner = partition_metadata::read(&from).and_then(|owner| owner.topic);
    if !dir::exists(&from) || owner.is_some_and(|owner| owner != id.topic) {
        return Ok(());
    }
    dir::rename(&from, &to).await.map_err(StorageError::io("rename deleted partition", &from))?;
    let root = data.root.clone();
    runtime::spawn(Class::Background, "topic delete", async move {
        // Sync the rename first: a power failure must not leave the old name with only some of the files.
        let removed = match dir::sync(root).await {
            Ok(()) => dir::remove_all(&to).await,
            failed => failed,
        };
        if let Err(error) = removed {
            tracing::warn!("cannot remove {}: {error}", to.display());
        }
    });
    Ok(())
}

/// Whether [`remove`] gave a directory this name.
pub fn is_deleted(name: &str) -> bool {
    let hex = name.strip_suffix(DELETED).and_then(|name| name.rsplit_once('.')).map_or("", |(_, hex)| hex);
    hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Kafka's `UnifiedLog.logDeleteDirName` and `logStrayDirName`. A long topic name is cut, so that the result fits a
/// file name.
fn name_of(topic: &str, id: TopicPartition, suffix: &str) -> String {
    const NAME_BYTES_MAX: usize = 255;
    let hex: String = id.topic.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let rest = format!("-{}.{hex}{suffix}", id.partition);
    // Topic names are ASCII.
    let topic = &topic[..topic.len().min(NAME_BYTES_MAX - rest.len())];
    let name = format!("{topic}{rest}");
    assert!(name.len() <= NAME_BYTES_MAX, "the name fits a file system");
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TopicId;

    #[test]
    fn the_names_of_deleted_partitions_fit_a_file_name_and_are_recognized() {
        for topic in ["t", &"t".repeat(249)] {
            let id = TopicPartition { topic: TopicId([0xab; 16]), partition: i32::MAX };
            let name = name_of(topic, id, DELETED);
            assert!(is_deleted(&name) && name.len() <= 255, "{name}");
            assert!(!is_deleted(&name_of(topic, id, STRAY)));
        }
        for name in ["backup-delete", "t-0", "t-0.00-delete", "-delete", ""] {
            assert!(!is_deleted(name), "{name}");
        }
    }
}
