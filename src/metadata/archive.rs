//! Commands and images as bytes: the payloads of the metadata log and its snapshots.
//!
//! The format is rkyv's (little-endian, aligned, 32-bit pointers: the features in Cargo.toml). It is validated before
//! it is read. The entry around it carries the version ([`VERSION`], `controller::entry`). When a struct here or
//! [`Command`] changes shape, the version increases and the old struct stays as the reader of the old version.

use std::sync::Arc;

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::command::{ArchivedCommand, Command, Endpoint};
use super::image::{GroupOverrides, Image, Node, Partition, Topic};
use crate::config::Routing;
use crate::config::topic::Overrides;
use crate::model::{BrokerId, LeaderEpoch, NodeId, TopicId, TopicName};

/// The version of the archives below.
pub const VERSION: u8 = 4;
/// The oldest version that this build reads. Images of version 1 lack the tombstones of deleted topics, those of
/// versions 1 and 2 the settings of groups, and those of versions 1 to 3 the settings of brokers.
pub const VERSION_OLDEST: u8 = 1;

// An unintended change of shape does not compile: it would make existing logs unreadable.
const _: () = assert!(size_of::<ArchivedCommand>() == 48);
const _: () = assert!(size_of::<ArchivedImageArchive>() == 64);
const _: () = assert!(size_of::<ArchivedImageArchive3>() == 56);
const _: () = assert!(size_of::<ArchivedImageArchive2>() == 48);
const _: () = assert!(size_of::<ArchivedImageArchive1>() == 40);
const _: () = assert!(size_of::<ArchivedPartitionArchive>() == 32);

/// The bytes are not a valid archive.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a valid archive: {0}")]
pub struct Damaged(pub String);

/// The archive of commands.
pub fn encode_commands(commands: &Vec<Command>) -> AlignedVec {
    rkyv::to_bytes::<Error>(commands).expect("archiving into memory does not fail")
}

/// The commands of an archive.
pub fn decode_commands(bytes: &[u8]) -> Result<Vec<Command>, Damaged> {
    rkyv::from_bytes::<Vec<Command>, Error>(&aligned(bytes)).map_err(|error| Damaged(error.to_string()))
}

/// The archive of an image.
pub fn encode_image(image: &Image) -> AlignedVec {
    rkyv::to_bytes::<Error>(&ImageArchive::from(image)).expect("archiving into memory does not fail")
}

/// The image of an archive of this version, with META-3 checked.
pub fn decode_image(version: u8, bytes: &[u8]) -> Result<Image, Damaged> {
    assert!((VERSION_OLDEST..=VERSION).contains(&version), "the reader of the entry checks the version");
    let damaged = |error: Error| Damaged(error.to_string());
    let archive = match version {
        1 => {
            let image = rkyv::from_bytes::<ImageArchive1, Error>(&aligned(bytes)).map_err(damaged)?;
            ImageArchive { image, deleted_topics: Vec::new(), groups: Vec::new(), brokers: Vec::new() }
        }
        2 => {
            let ImageArchive2 { image, deleted_topics } =
                rkyv::from_bytes::<ImageArchive2, Error>(&aligned(bytes)).map_err(damaged)?;
            ImageArchive { image, deleted_topics, groups: Vec::new(), brokers: Vec::new() }
        }
        3 => {
            let ImageArchive3 { image, deleted_topics, groups } =
                rkyv::from_bytes::<ImageArchive3, Error>(&aligned(bytes)).map_err(damaged)?;
            ImageArchive { image, deleted_topics, groups, brokers: Vec::new() }
        }
        _ => rkyv::from_bytes::<ImageArchive, Error>(&aligned(bytes)).map_err(damaged)?,
    };
    let deleted_topics = archive.deleted_topics.into_iter().collect();
    let mut image = Image { deleted_topics, ..archive.image.into_image()? };
    for GroupArchive { group, overrides } in archive.groups {
        let overrides = overrides.into_iter().collect();
        image.groups.insert(group.clone(), Arc::new(GroupOverrides { group, overrides }));
    }
    for BrokerArchive { broker, overrides } in archive.brokers {
        image.brokers.insert(broker, Arc::new(overrides.into_iter().collect()));
    }
    Ok(image)
}

/// A copy at the alignment that rkyv requires; the bytes of a file may have any.
fn aligned(bytes: &[u8]) -> AlignedVec {
    let mut aligned = AlignedVec::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    aligned
}

#[derive(Archive, Serialize, Deserialize)]
struct ImageArchive {
    image: ImageArchive1,
    deleted_topics: Vec<TopicId>,
    groups: Vec<GroupArchive>,
    brokers: Vec<BrokerArchive>,
}

#[derive(Archive, Serialize, Deserialize)]
struct BrokerArchive {
    /// `None`: the defaults of all brokers.
    broker: Option<BrokerId>,
    overrides: Vec<(String, String)>,
}

/// Version 3.
#[derive(Archive, Serialize, Deserialize)]
struct ImageArchive3 {
    image: ImageArchive1,
    deleted_topics: Vec<TopicId>,
    groups: Vec<GroupArchive>,
}

/// Version 2.
#[derive(Archive, Serialize, Deserialize)]
struct ImageArchive2 {
    image: ImageArchive1,
    deleted_topics: Vec<TopicId>,
}

#[derive(Archive, Serialize, Deserialize)]
struct GroupArchive {
    group: String,
    overrides: Vec<(String, String)>,
}

/// Version 1.
#[derive(Archive, Serialize, Deserialize)]
struct ImageArchive1 {
    index: u64,
    next_producer_id: i64,
    cluster_id: String,
    nodes: Vec<NodeArchive>,
    topics: Vec<TopicArchive>,
}

#[derive(Archive, Serialize, Deserialize)]
struct NodeArchive {
    id: NodeId,
    incarnation: u64,
    endpoints: Vec<Endpoint>,
    shards: u16,
    routing: Routing,
    rack: String,
    is_fenced: bool,
}

#[derive(Archive, Serialize, Deserialize)]
struct TopicArchive {
    id: TopicId,
    name: String,
    partitions: Vec<PartitionArchive>,
    overrides: Vec<(String, String)>,
}

#[derive(Archive, Serialize, Deserialize)]
struct PartitionArchive {
    leader: Option<NodeId>,
    leader_epoch: i32,
    partition_epoch: i32,
    replicas: Vec<NodeId>,
    isr: Vec<NodeId>,
}

impl From<&Image> for ImageArchive {
    fn from(image: &Image) -> ImageArchive {
        let brokers = image.brokers.iter().map(|(broker, overrides)| BrokerArchive {
            broker: *broker,
            overrides: Overrides::clone(overrides).into_iter().collect(),
        });
        let ImageArchive3 { image, deleted_topics, groups } = ImageArchive3::from(image);
        ImageArchive { image, deleted_topics, groups, brokers: brokers.collect() }
    }
}

impl From<&Image> for ImageArchive3 {
    fn from(image: &Image) -> ImageArchive3 {
        let groups = image.groups().map(|known| GroupArchive {
            group: known.group.clone(),
            overrides: known.overrides.clone().into_iter().collect(),
        });
        ImageArchive3 {
            image: ImageArchive1::from(image),
            deleted_topics: image.deleted_topics.iter().collect(),
            groups: groups.collect(),
        }
    }
}

impl From<&Image> for ImageArchive1 {
    fn from(image: &Image) -> ImageArchive1 {
        let node = |node: &Arc<Node>| NodeArchive {
            id: node.id,
            incarnation: node.incarnation,
            endpoints: node.endpoints.clone(),
            shards: node.shards,
            routing: node.routing,
            rack: node.rack.clone(),
            is_fenced: node.is_fenced,
        };
        let partition = |partition: &Partition| PartitionArchive {
            leader: partition.leader,
            leader_epoch: partition.leader_epoch.0,
            partition_epoch: partition.partition_epoch,
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
        };
        let topic = |topic: &Arc<Topic>| TopicArchive {
            id: topic.id,
            name: topic.name.as_str().into(),
            partitions: topic.partitions.iter().map(partition).collect(),
            overrides: topic.overrides.clone().into_iter().collect(),
        };
        ImageArchive1 {
            index: image.index,
            next_producer_id: image.next_producer_id,
            cluster_id: image.cluster_id.clone(),
            nodes: image.nodes().map(node).collect(),
            topics: image.topics().map(topic).collect(),
        }
    }
}

impl ImageArchive1 {
    fn into_image(self) -> Result<Image, Damaged> {
        let mut image = Image {
            index: self.index,
            cluster_id: self.cluster_id,
            next_producer_id: self.next_producer_id,
            ..Image::default()
        };
        for node in self.nodes {
            let NodeArchive { id, incarnation, endpoints, shards, routing, rack, is_fenced } = node;
            image.nodes.insert(id, Arc::new(Node { id, incarnation, endpoints, shards, routing, rack, is_fenced }));
        }
        for topic in self.topics {
            let partition = |partition: PartitionArchive| Partition {
                leader: partition.leader,
                leader_epoch: LeaderEpoch(partition.leader_epoch),
                partition_epoch: partition.partition_epoch,
                replicas: partition.replicas,
                isr: partition.isr,
            };
            let topic = Arc::new(Topic {
                id: topic.id,
                name: TopicName::new(&topic.name).map_err(|error| Damaged(error.to_string()))?,
                partitions: topic.partitions.into_iter().map(partition).collect(),
                overrides: topic.overrides.into_iter().collect(),
            });
            image.ids.insert(topic.id, topic.clone());
            image.topics.insert(topic.name.clone(), topic);
        }
        if image.ids.len() != image.topics.len() {
            return Err(Damaged("META-3: two topics share a name or an id".into()));
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::apply::tests::{all_commands, create, image_with_nodes, run};

    #[test]
    fn commands_decode_as_they_were_encoded_at_any_alignment() {
        let singles = all_commands().into_iter().map(|command| vec![command]);
        for commands in singles.chain([all_commands(), vec![]]) {
            let bytes = encode_commands(&commands);
            let shifted = [&[0u8][..], &bytes].concat();
            assert_eq!(decode_commands(&shifted[1..]), Ok(commands));
        }
    }

    #[test]
    fn an_image_decodes_as_it_was_encoded() {
        let image = create(&create(&image_with_nodes(3), "b", 2), "a", 5);
        let gone = Command::DeleteTopic { id: image.topic("b").unwrap().id };
        let of_group = Command::SetGroupConfig { group: "g".into(), changes: change() };
        let of_brokers = [None, Some(BrokerId(1001))]
            .map(|broker| Command::SetBrokerConfig { broker, changes: change() })
            .iter()
            .fold(image.clone(), |image, command| run(&image, command).0);
        for image in [run(&image, &gone).0, run(&image, &of_group).0, of_brokers, image, Image::default()] {
            assert_eq!(decode_image(VERSION, &encode_image(&image)), Ok(image));
        }
    }

    fn change() -> Vec<(String, Option<String>)> {
        vec![("a".into(), Some("1".into()))]
    }

    #[test]
    fn an_image_of_version_3_has_no_settings_of_brokers() {
        let image = create(&image_with_nodes(3), "a", 5);
        let image = run(&image, &Command::SetGroupConfig { group: "g".into(), changes: change() }).0;
        let bytes = rkyv::to_bytes::<Error>(&ImageArchive3::from(&image)).unwrap();
        assert_eq!(decode_image(3, &bytes), Ok(image));
    }

    #[test]
    fn an_image_of_version_1_has_no_tombstones() {
        let image = create(&image_with_nodes(3), "a", 5);
        let bytes = rkyv::to_bytes::<Error>(&ImageArchive1::from(&image)).unwrap();
        assert_eq!(decode_image(1, &bytes), Ok(image));
    }

    #[test]
    fn an_image_of_version_2_has_no_settings_of_groups() {
        let image = create(&create(&image_with_nodes(3), "b", 2), "a", 5);
        let image = run(&image, &Command::DeleteTopic { id: image.topic("b").unwrap().id }).0;
        let deleted_topics = image.deleted_topics.iter().collect();
        let old = ImageArchive2 { image: ImageArchive1::from(&image), deleted_topics };
        assert_eq!(decode_image(2, &rkyv::to_bytes::<Error>(&old).unwrap()), Ok(image));
    }

    #[test]
    fn damaged_archives_never_cause_a_panic() {
        let bytes = encode_commands(&all_commands());
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 0xff;
            let _ = decode_commands(&flipped);
            let _ = (VERSION_OLDEST..=VERSION).map(|version| decode_image(version, &flipped)).collect::<Vec<_>>();
            let _ = decode_commands(&bytes[..at]);
        }
        assert!(decode_commands(&[]).is_err());
        // The root is at the end: a length that extends beyond the archive.
        let mut wrong = bytes.to_vec();
        wrong.iter_mut().rev().take(4).for_each(|byte| *byte = 0x7f);
        assert!(decode_commands(&wrong).is_err());
    }
}
