//! A step from one image to a later one, with the changes in between, so that a reader does not compare all topics.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::apply::Delta;
use super::image::{Image, Topic};
use crate::model::TopicId;

/// A later image for a reader that has the image at `from`.
#[derive(Clone, Debug)]
pub struct ImageUpdate {
    /// The index of the image to which the first delta applies.
    pub from: u64,
    /// The image after the last delta.
    pub image: Arc<Image>,
    /// The changes of each index in between, in order. Only the last of them deletes topics: a later image may have a
    /// new topic of the same name.
    pub deltas: Vec<Arc<Delta>>,
}

impl ImageUpdate {
    /// The topics of the new image that were created or changed, in their new state.
    pub fn changed_topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        let mut ids: BTreeSet<TopicId> = BTreeSet::new();
        for delta in &self.deltas {
            ids.extend(delta.topics_created.iter().map(|topic| topic.id));
            ids.extend(delta.partitions_added.iter().map(|(topic, _)| *topic));
            ids.extend(delta.leadership_changed.iter().map(|id| id.topic));
            ids.extend(&delta.configs_changed);
        }
        ids.into_iter().filter_map(|id| self.image.topic_by_id(id))
    }

    /// The deleted topics, in their last state.
    pub fn deleted_topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.deltas.iter().flat_map(|delta| &delta.topics_deleted)
    }

    /// Whether a topic was created.
    pub fn has_new_topics(&self) -> bool {
        self.deltas.iter().any(|delta| !delta.topics_created.is_empty())
    }

    /// Whether settings of brokers changed.
    pub fn changes_broker_configs(&self) -> bool {
        self.deltas.iter().any(|delta| delta.broker_configs_changed)
    }

    /// Whether topics, their partitions or nodes were added or removed.
    pub fn changes_assignments(&self) -> bool {
        self.deltas.iter().any(|delta| {
            let Delta { topics_created, topics_deleted, partitions_added, nodes_changed, .. } = &**delta;
            !topics_created.is_empty()
                || !topics_deleted.is_empty()
                || !partitions_added.is_empty()
                || !nodes_changed.is_empty()
        })
    }

    /// The update between two images, found by comparing them.
    #[cfg(test)]
    pub fn between(before: &Image, after: &Image) -> ImageUpdate {
        let mut delta = Delta::default();
        for topic in after.topics() {
            match before.topic_by_id(topic.id) {
                None => delta.topics_created.push(topic.clone()),
                Some(old) if old != topic => {
                    delta.configs_changed.push(topic.id);
                    delta.partitions_added.push((topic.id, old.partitions.len() as i32..topic.partitions.len() as i32));
                }
                Some(_) => {}
            }
        }
        delta.broker_configs_changed = before.brokers != after.brokers;
        delta.topics_deleted = before.topics().filter(|topic| after.topic_by_id(topic.id).is_none()).cloned().collect();
        ImageUpdate { from: before.index, image: Arc::new(after.clone()), deltas: vec![Arc::new(delta)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Command;
    use crate::metadata::apply::tests::{create, create_command, image_with_nodes, run};
    use crate::model::NodeId;

    /// Each command's delta names the same topics as a comparison of all of them.
    #[test]
    fn the_deltas_name_every_topic_that_differs() {
        let image = create(&create(&image_with_nodes(2), "a", 2), "b", 1);
        let id = image.topic("a").unwrap().id;
        for command in [
            create_command(&image, "c", &[&[1]]),
            Command::CreatePartitions { id, have: 2, replicas: vec![vec![NodeId(1)]] },
            Command::SetTopicConfig { id, changes: vec![("retention.ms".into(), Some("5".into()))] },
            Command::NodeStopped { node: NodeId(1), incarnation: 1 },
            Command::AllocateProducerIds { node: NodeId(1), count: 1 },
            Command::SetBrokerConfig { broker: None, changes: vec![("log.retention.ms".into(), Some("5".into()))] },
            Command::DeleteTopic { id },
        ] {
            let (after, delta) = run(&image, &command);
            let compared = ImageUpdate::between(&image, &after);
            let update = ImageUpdate { deltas: vec![Arc::new(delta)], ..compared.clone() };
            assert!(update.changed_topics().eq(compared.changed_topics()), "{command:?}");
            assert!(update.deleted_topics().eq(compared.deleted_topics()), "{command:?}");
            assert_eq!(update.has_new_topics(), compared.has_new_topics(), "{command:?}");
            assert_eq!(update.changes_broker_configs(), compared.changes_broker_configs(), "{command:?}");
        }
    }
}
