//! Applies a new metadata image: creates, updates and deletes partitions.

use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use super::partition_metadata::{self, DirectoryOwner};
use crate::config::TopicConfig;
use crate::disk::StorageError;
use crate::disk::layout::DataDirectory;
use crate::log::Log;
use crate::metadata::owner::shard_of;
use crate::metadata::{self, Image, Topic};
use crate::model::{PartitionIndex, ShardId, TopicPartition};
use crate::partition::producers::Producers;
use crate::partition::{Leadership, Partition};
use crate::runtime::dir;
use crate::runtime::{self, Class};

impl Shard {
    /// Whether this shard serves the partition on its node (SHARD-2).
    pub fn owns(&self, id: TopicPartition) -> bool {
        shard_of(id.topic, id.partition, self.shards) == self.id
    }

    /// The shard of this node that serves the partition.
    pub fn owner(&self, id: TopicPartition) -> ShardId {
        shard_of(id.topic, id.partition, self.shards)
    }

    /// The image's partitions that belong to this shard.
    pub(super) fn own_partitions(&self, topic: &Topic) -> impl Iterator<Item = TopicPartition> {
        let id = topic.id;
        let all = topic.partitions.iter().enumerate();
        let here = all.filter(|(_, partition)| partition.replicas.contains(&self.node));
        here.map(move |(index, _)| TopicPartition { topic: id, partition: index as PartitionIndex })
            .filter(|id| self.owns(*id))
    }

    /// Applies a newer image. Once it returns, the image's partitions are served, and partitions that it lacks are
    /// deleted. A failure of one partition does not stop the others; the first failure is returned.
    pub async fn apply_image(self: &Rc<Self>, image: Arc<Image>) -> Result<(), StorageError> {
        let previous = self.image();
        assert!(image.index >= previous.index, "images come in order");
        let mut outcome = Ok(());
        for topic in image.topics() {
            if previous.topic_by_id(topic.id).is_some_and(|before| Arc::ptr_eq(before, topic)) {
                continue;
            }
            for id in self.own_partitions(topic).collect::<Vec<_>>() {
                match self.partition(id) {
                    Some(partition) => self.update_partition(&partition, topic),
                    None => {
                        let created = self.create_partition(id, topic).await;
                        outcome = outcome.and(created);
                    }
                }
            }
        }
        // Requests find a topic only after its partitions are created, and no longer once they are deleted.
        *self.image.borrow_mut() = Rc::new(image.clone());
        for topic in previous.topics() {
            if image.topic_by_id(topic.id).is_none() {
                let deleted = self.delete_topic(topic).await;
                outcome = outcome.and(deleted);
            }
        }
        outcome
    }

    fn update_partition(&self, partition: &Partition, topic: &Topic) {
        let config = Rc::new(TopicConfig::resolve(&topic.overrides, &self.config));
        let state = &topic.partitions[partition.id.partition as usize];
        partition.update(leadership(state), config);
    }

    async fn create_partition(self: &Rc<Self>, id: TopicPartition, topic: &Topic) -> Result<(), StorageError> {
        let config = Rc::new(TopicConfig::resolve(&topic.overrides, &self.config));
        let directory = self.data.partition_directory(topic.name.as_str(), id.partition);
        remove_stale_directory(&self.data, topic.name.as_str(), id, &self.image().cluster_id).await?;
        let log = Log::create(&directory, config, self.memory.clone()).await?;
        partition_metadata::store(&directory, topic.id, &self.image().cluster_id).await?;
        self.add_partition(id, topic, log, Producers::default());
        Ok(())
    }

    /// Serves a partition whose log is open.
    pub(super) fn add_partition(
        &self,
        id: TopicPartition,
        topic: &Topic,
        log: Log,
        producers: Producers,
    ) -> Rc<Partition> {
        assert!(self.owns(id), "SHARD-2: a shard serves only the partitions that it owns");
        let state = &topic.partitions[id.partition as usize];
        let partition = Partition::new(id, topic.name.clone(), log, leadership(state), producers);
        let previous = self.partitions.borrow_mut().insert(id, partition.clone());
        assert!(previous.is_none(), "a partition is created once");
        partition
    }

    async fn delete_topic(self: &Rc<Self>, topic: &Topic) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for id in self.own_partitions(topic).collect::<Vec<_>>() {
            let Some(partition) = self.partitions.borrow_mut().remove(&id) else { continue };
            partition.delete();
            // LOG-5: another topic may use the names next.
            let _files = partition.release_directory().await;
            let removed = remove_directory(&self.data, topic.name.as_str(), id).await;
            outcome = outcome.and(removed);
        }
        outcome
    }
}

/// Removes a partition's directory if it belongs to another topic of this cluster. That topic had the name before, and
/// a power failure undid its deletion. A directory of another cluster is never removed. Returns the owner of a
/// directory that stays.
pub(super) async fn remove_stale_directory(
    data: &DataDirectory,
    topic: &str,
    id: TopicPartition,
    cluster_id: &str,
) -> Result<Option<DirectoryOwner>, StorageError> {
    let directory = data.partition_directory(topic, id.partition);
    let Some(owner) = partition_metadata::read(&directory) else { return Ok(None) };
    let Some(other) = owner.topic.filter(|other| *other != id.topic) else { return Ok(Some(owner)) };
    if owner.cluster_id.as_deref() != Some(cluster_id) {
        let why =
            format!("it belongs to topic id {other} of another cluster, but {topic} has id {}: move it away", id.topic);
        return Err(StorageError::format("a partition's directory", directory, why));
    }
    remove_directory(data, topic, TopicPartition { topic: other, ..id }).await?;
    Ok(None)
}

/// Renames a deleted partition's directory, as Kafka does, and removes it in the background. A new topic can use the
/// name at once.
async fn remove_directory(data: &DataDirectory, topic: &str, id: TopicPartition) -> Result<(), StorageError> {
    let from = data.partition_directory(topic, id.partition);
    let to = data.root.join(name_of_deleted(topic, id));
    // The directory may belong to another topic by now.
    let owner = partition_metadata::read(&from).and_then(|owner| owner.topic);
    if dir::exists(&from) && owner.is_none_or(|owner| owner == id.topic) {
        dir::rename(&from, &to).await.map_err(StorageError::io("rename deleted partition", &from))?;
    }
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

/// Kafka's `UnifiedLog.logDeleteDirName`. A long topic name is cut, so that the result fits a file name.
fn name_of_deleted(topic: &str, id: TopicPartition) -> String {
    const NAME_BYTES_MAX: usize = 255;
    let rest = format!("-{}.{}-delete", id.partition, hex(&id.topic.0));
    // Topic names are ASCII.
    let topic = &topic[..topic.len().min(NAME_BYTES_MAX - rest.len())];
    let name = format!("{topic}{rest}");
    assert!(name.len() <= NAME_BYTES_MAX, "the name fits a file system");
    name
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn leadership(state: &metadata::Partition) -> Leadership {
    Leadership { leader_epoch: state.leader_epoch, replicas: state.replicas.len(), in_sync_replicas: state.isr.len() }
}
