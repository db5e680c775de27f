//! Partitions that the shard owns and cannot serve, because their directories could not be created: a full disk, or a
//! failing one. The creation is retried. Meanwhile clients get KAFKA_STORAGE_ERROR, as from an offline partition in
//! Kafka.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Shard;
use crate::config::TopicConfig;
use crate::metadata::{Image, Topic};
use crate::model::{ErrorCode, TopicPartition};
use crate::partition::append::AppendRefusal;
use crate::runtime;

/// The pause before the first retry. It doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The offline partitions of a shard or of a node, each with the error of its creation.
pub type OfflinePartitions = BTreeMap<TopicPartition, Arc<str>>;

impl Shard {
    /// The offline partitions of this shard.
    pub fn offline(&self) -> OfflinePartitions {
        self.offline.borrow().clone()
    }

    /// The number of offline partitions of this shard.
    pub fn offline_count(&self) -> usize {
        self.offline.borrow().len()
    }

    /// The error of a request for a partition that this shard does not serve.
    pub fn error_without(&self, id: TopicPartition) -> ErrorCode {
        let is_offline = self.offline.borrow().contains_key(&id);
        if is_offline { ErrorCode::KafkaStorageError } else { ErrorCode::NotLeaderOrFollower }
    }

    /// The refusal of an append to a partition that this shard does not serve.
    pub(super) fn refusal_without(&self, id: TopicPartition) -> AppendRefusal {
        match self.offline.borrow().get(&id) {
            Some(error) => {
                AppendRefusal::new(ErrorCode::KafkaStorageError, format!("The partition is offline: {error}"))
            }
            None => ErrorCode::NotLeaderOrFollower.into(),
        }
    }

    /// Creates a partition of a new image. If that fails, the partition is offline, and the retries start.
    pub(super) async fn create_or_defer(
        self: &Rc<Self>,
        id: TopicPartition,
        topic: &Topic,
        config: &Rc<TopicConfig>,
        image: &Image,
    ) {
        if let Err(error) = self.create_partition(id, topic, config, image).await {
            let first = self.offline.borrow_mut().insert(id, error.to_string().into()).is_none();
            if first {
                tracing::error!(
                    "{}-{} is offline because it could not be created, which is retried: {error}",
                    topic.name,
                    id.partition
                );
            }
            self.offline_moved.notify_all();
        }
    }

    /// The partition was deleted.
    pub(super) fn forget_offline(&self, id: TopicPartition) {
        if self.offline.borrow_mut().remove(&id).is_some() {
            self.offline_moved.notify_all();
        }
    }

    /// Retries the creation of offline partitions while the shard runs.
    pub(super) async fn run_retries(self: Rc<Self>) {
        let mut pause = RETRY_PAUSE;
        while !self.stopping.get() {
            if self.offline.borrow().is_empty() {
                self.offline_moved.notified().await;
                pause = RETRY_PAUSE;
                continue;
            }
            runtime::sleep(pause).await;
            let has_created = self.retry_offline().await;
            pause = if has_created { RETRY_PAUSE } else { RETRY_PAUSE_MAX.min(pause * 2) };
        }
    }

    /// Tries once to create each offline partition. Returns true if one was created.
    pub(super) async fn retry_offline(self: &Rc<Self>) -> bool {
        let _turn = self.applying.acquire(1).await;
        let image = self.image();
        let mut has_created = false;
        for id in self.offline().into_keys() {
            if self.stopping.get() {
                break;
            }
            let topic = image.topic_by_id(id.topic).expect("a deletion makes its partitions no longer offline");
            match self.create_partition(id, topic, &self.config_of(topic), &image).await {
                Ok(()) => {
                    tracing::info!("{}-{} is online: a retry created it", topic.name, id.partition);
                    self.forget_offline(id);
                    has_created = true;
                }
                Err(error) => {
                    tracing::debug!("{}-{} stays offline: {error}", topic.name, id.partition);
                    self.offline.borrow_mut().insert(id, error.to_string().into());
                }
            }
        }
        has_created
    }
}
