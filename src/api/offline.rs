//! The offline partitions of the node, which every shard knows: Metadata shows them without a leader, and the response
//! to CreateTopics names them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::server::Server;
use crate::metadata::Topic;
use crate::model::{PartitionIndex, ShardId, TopicPartition};
use crate::router::message::ShardRequest;
use crate::runtime::{self, Class};
use crate::shard::offline::OfflinePartitions;

/// The offline partitions of each shard that has any.
#[derive(Clone, Default)]
pub(in crate::api) struct Offline {
    shards: RefCell<BTreeMap<ShardId, OfflinePartitions>>,
}

impl Offline {
    /// Replaces the offline partitions of a shard. Returns false if they are the same as before.
    pub fn replace(&self, shard: ShardId, partitions: OfflinePartitions) -> bool {
        let mut shards = self.shards.borrow_mut();
        let before = shards.remove(&shard).unwrap_or_default();
        let has_changed = before != partitions;
        if !partitions.is_empty() {
            shards.insert(shard, partitions);
        }
        has_changed
    }

    pub fn contains(&self, id: TopicPartition) -> bool {
        self.shards.borrow().values().any(|partitions| partitions.contains_key(&id))
    }

    /// Describes the offline partitions of a topic from `first` on. `None` if there are none.
    pub fn describe(&self, topic: &Topic, first: PartitionIndex) -> Option<String> {
        let shards = self.shards.borrow();
        let all = shards.values().flatten().filter(|(id, _)| id.topic == topic.id && id.partition >= first);
        let mut all: Vec<_> = all.map(|(id, error)| (id.partition, error)).collect();
        all.sort_unstable();
        let (partition, error) = all.first()?;
        let (count, name) = (all.len(), &topic.name);
        Some(format!(
            "Topic '{name}' exists, but {count} of its {} partitions are offline. The broker keeps trying to create \
             them. The error of partition {partition}: {error}",
            topic.partitions.len()
        ))
    }
}

impl Server {
    /// Announces the offline partitions of this shard to the other shards, if they have changed.
    pub(in crate::api) async fn announce_offline(&self) {
        let partitions = self.shard.offline();
        if !self.offline.replace(self.shard.id, partitions.clone()) {
            return;
        }
        let ask = |shard| self.router.call(shard, ShardRequest::Offline(partitions.clone()));
        let calls: Vec<_> = self.other_shards().map(ask).collect();
        for call in calls {
            call.reply().await;
        }
    }
}

/// Starts the task that announces the partitions which a retry has created, and loads their coordinators.
pub(in crate::api) fn start(server: &Rc<Server>) {
    let server = server.clone();
    runtime::spawn(Class::Foreground, "offline partitions", async move {
        loop {
            let moved = server.shard.offline_moved.notified();
            server.announce_offline().await;
            server.transactions.open_new();
            server.groups.open_new();
            moved.await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::apply::tests::{create, image_with_nodes};

    #[test]
    fn the_partitions_of_all_shards_are_described_by_topic() {
        let image = create(&image_with_nodes(1), "t", 4);
        let topic = image.topic("t").unwrap();
        let offline = Offline::default();
        let id = |partition| TopicPartition { topic: topic.id, partition };
        let set = |partitions: &[i32]| partitions.iter().map(|p| (id(*p), format!("error {p}").into())).collect();
        assert_eq!(offline.describe(topic, 0), None);
        assert!(offline.replace(ShardId(1), set(&[3])) && offline.replace(ShardId(0), set(&[2])));
        assert!(!offline.replace(ShardId(0), set(&[2])), "nothing has changed");
        assert!(offline.contains(id(2)) && offline.contains(id(3)) && !offline.contains(id(0)));
        let described = offline.describe(topic, 0).unwrap();
        assert!(described.contains("2 of its 4 partitions") && described.contains("partition 2: error 2"));
        assert!(offline.describe(topic, 3).unwrap().contains("partition 3: error 3"));
        assert!(offline.replace(ShardId(0), set(&[])) && offline.replace(ShardId(1), set(&[])));
        assert_eq!(offline.describe(topic, 0), None);
    }
}
