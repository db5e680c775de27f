//! A new metadata image: partitions appear, change and go.

use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use super::partition_metadata::{self, Described};
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
    /// SHARD-2: whether this shard serves the partition on its node.
    pub fn owns(&self, id: TopicPartition) -> bool {
        shard_of(id.topic, id.partition, self.shards) == self.id
    }

    /// Which shard of this node serves the partition.
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

    /// Takes a newer image: when it returns, its partitions are served and those that it lacks are gone. What cannot be carried
    /// out for one partition holds up nothing else; the first such failure is told.
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
        // Requests find a topic only when its partitions are there, and not any more when they go.
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
        make_way(&self.data, topic.name.as_str(), id, &self.image().cluster_id).await?;
        let log = Log::create(&directory, config, self.memory.clone()).await?;
        partition_metadata::store(&directory, topic.id, &self.image().cluster_id).await?;
        self.adopt(id, topic, log, Producers::default());
        Ok(())
    }

    /// Serves a partition whose log is open.
    pub(super) fn adopt(&self, id: TopicPartition, topic: &Topic, log: Log, producers: Producers) -> Rc<Partition> {
        let state = &topic.partitions[id.partition as usize];
        let partition = Partition::new(id, topic.name.clone(), log, leadership(state), producers);
        self.partitions.borrow_mut().insert(id, partition.clone());
        partition
    }

    async fn delete_topic(self: &Rc<Self>, topic: &Topic) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for id in self.own_partitions(topic).collect::<Vec<_>>() {
            let Some(partition) = self.partitions.borrow_mut().remove(&id) else { continue };
            partition.delete();
            // A compaction ends before the names that it deals in become another topic's.
            let _files = partition.lock_files().await;
            let taken = take_away(&self.data, topic.name.as_str(), id).await;
            outcome = outcome.and(taken);
        }
        outcome
    }
}

/// Takes a partition's directory away if it is another topic's: one of this cluster that had the name before, when the power
/// failed before its deletion was flushed. What is of another cluster is not ours to remove. Answers whose it is otherwise.
pub(super) async fn make_way(
    data: &DataDirectory,
    topic: &str,
    id: TopicPartition,
    cluster_id: &str,
) -> Result<Option<Described>, StorageError> {
    let directory = data.partition_directory(topic, id.partition);
    let Some(described) = partition_metadata::read(&directory) else { return Ok(None) };
    let Some(other) = described.topic.filter(|other| *other != id.topic) else { return Ok(Some(described)) };
    if described.cluster_id.as_deref() != Some(cluster_id) {
        let why = format!("it is of topic id {other} of another cluster, and {topic} is {}: move it away", id.topic);
        return Err(StorageError::format("a partition's directory", directory, why));
    }
    take_away(data, topic, TopicPartition { topic: other, ..id }).await?;
    Ok(None)
}

/// Removes a deleted partition's directory. Kafka's naming: a recreated topic can take the name at once, removal takes its time.
async fn take_away(data: &DataDirectory, topic: &str, id: TopicPartition) -> Result<(), StorageError> {
    let from = data.partition_directory(topic, id.partition);
    let to = data.root.join(name_of_deleted(topic, id));
    // The name may have another topic's files by now.
    let is_its_own =
        partition_metadata::read(&from).and_then(|described| described.topic).is_none_or(|of| of == id.topic);
    if dir::exists(&from) && is_its_own {
        dir::rename(&from, &to).await.map_err(StorageError::io("rename deleted partition", &from))?;
    }
    let root = data.root.clone();
    runtime::spawn(Class::Background, "topic delete", async move {
        // The new name first, or a power failure could leave the old one with only some of its files.
        let removed = match dir::sync(root).await {
            Ok(()) => dir::remove_all(&to).await,
            failed => failed,
        };
        if let Err(error) = removed {
            tracing::warn!("could not remove {}: {error}", to.display());
        }
    });
    Ok(())
}

/// As Kafka's `UnifiedLog.logDeleteDirName`: of a long topic name as much as a file name has room for.
fn name_of_deleted(topic: &str, id: TopicPartition) -> String {
    const NAME_BYTES_MAX: usize = 255;
    let rest = format!("-{}.{}-delete", id.partition, hex(&id.topic.0));
    // Topic names are ASCII.
    let topic = &topic[..topic.len().min(NAME_BYTES_MAX - rest.len())];
    format!("{topic}{rest}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn leadership(state: &metadata::Partition) -> Leadership {
    Leadership { leader_epoch: state.leader_epoch, replicas: state.replicas.len(), in_sync_replicas: state.isr.len() }
}
