//! Applies a new metadata image: creates, updates and deletes partitions.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::{Shard, directories, partition_metadata};
use crate::config::TopicConfig;
use crate::disk::StorageError;
use crate::log::Log;
use crate::metadata::owner::shard_of;
use crate::metadata::{self, Image, ImageUpdate, Topic};
use crate::model::{PartitionIndex, ShardId, TopicPartition};
use crate::partition::producers::Producers;
use crate::partition::{Leadership, Partition};
use crate::runtime::{self, Class};

/// The number of partitions that are created at the same time.
const CREATORS: usize = 32;

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

    /// Applies a newer image: once it returns, the shard serves its partitions of the image, and has deleted those that
    /// the image lacks. A partition that cannot be created is offline until a retry succeeds. Returns the number of
    /// topics that it examined: those that changed, or all of them if a setting of this broker changed.
    pub async fn apply_image(self: &Rc<Self>, update: &ImageUpdate) -> usize {
        let _turn = self.applying.acquire(1).await;
        let (image, previous) = (&update.image, self.image());
        assert_eq!(update.from, previous.index, "images come in order");
        let mut examined = 0;
        let config_has_changed = update.changes_broker_configs() && self.change_config(image);
        // The settings of a broker are the defaults of every topic.
        let of_all = config_has_changed.then(|| image.topics()).into_iter().flatten();
        let of_changed = (!config_has_changed).then(|| update.changed_topics()).into_iter().flatten();
        for topic in of_all.chain(of_changed) {
            examined += 1;
            let config = self.config_of(topic);
            let mut missing = Vec::new();
            for id in self.own_partitions(topic) {
                match self.partition(id) {
                    Some(partition) => {
                        let state = &topic.partitions[id.partition as usize];
                        partition.update(leadership(state), config.clone());
                    }
                    None => missing.push(id),
                }
            }
            self.create_missing(missing, topic, &config, image).await;
        }
        // Requests find a topic only after its partitions are created, and no longer once they are deleted.
        *self.image.borrow_mut() = Rc::new(image.clone());
        for topic in update.deleted_topics() {
            examined += 1;
            if let Err(error) = self.delete_topic(topic, image).await {
                tracing::error!("topic {} stays in its directory until the next start: {error}", topic.name);
            }
        }
        examined
    }

    /// Creates partitions of one topic, several at the same time, so that their flushes share commits of the file
    /// system.
    async fn create_missing(
        self: &Rc<Self>,
        missing: Vec<TopicPartition>,
        topic: &Arc<Topic>,
        config: &Rc<TopicConfig>,
        image: &Arc<Image>,
    ) {
        let creators = missing.len().min(CREATORS);
        let missing = Rc::new(RefCell::new(missing));
        let creators: Vec<_> = (0..creators)
            .map(|_| {
                let (shard, missing, config) = (self.clone(), missing.clone(), config.clone());
                let (topic, image) = (topic.clone(), image.clone());
                runtime::spawn(Class::Foreground, "create partitions", async move {
                    loop {
                        let Some(id) = missing.borrow_mut().pop() else { return };
                        shard.create_or_defer(id, &topic, &config, &image).await;
                    }
                })
            })
            .collect();
        for creator in creators {
            creator.await;
        }
    }

    /// The settings of a topic's partitions.
    pub(super) fn config_of(&self, topic: &Topic) -> Rc<TopicConfig> {
        Rc::new(TopicConfig::resolve(&topic.overrides, &self.config()))
    }

    pub(super) async fn create_partition(
        self: &Rc<Self>,
        id: TopicPartition,
        topic: &Topic,
        config: &Rc<TopicConfig>,
        image: &Image,
    ) -> Result<(), StorageError> {
        let directory = self.data.partition_directory(topic.name.as_str(), id.partition);
        directories::clear_other_topic(&self.data, topic.name.as_str(), id, image).await?;
        let log = Log::create(&directory, config.clone(), self.memory.clone()).await?;
        partition_metadata::store(&directory, topic.id, &image.cluster_id).await?;
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

    async fn delete_topic(self: &Rc<Self>, topic: &Topic, image: &Image) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for id in self.own_partitions(topic).collect::<Vec<_>>() {
            self.forget_offline(id);
            let partition = self.partitions.borrow_mut().remove(&id);
            let _files = match &partition {
                Some(partition) => {
                    partition.delete();
                    let mut deleted = self.deleted_traffic.get();
                    deleted += partition.traffic.read();
                    self.deleted_traffic.set(deleted);
                    // LOG-5: another topic may use the names next.
                    Some(partition.release_directory().await)
                }
                None => None,
            };
            let removed = directories::remove(&self.data, topic.name.as_str(), id, image).await;
            outcome = outcome.and(removed);
        }
        outcome
    }
}

fn leadership(state: &metadata::Partition) -> Leadership {
    Leadership { leader_epoch: state.leader_epoch, replicas: state.replicas.len(), in_sync_replicas: state.isr.len() }
}

#[cfg(test)]
mod tests;
