//! Prepares the data directory before the shards open.
//!
//! Checks that the directory belongs to this cluster, redistributes the partitions if the number of shards has changed,
//! and takes in topic directories that an operator copied from another broker. Runs on shard 0.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::error::NodeError;
use crate::config::BrokerConfig;
use crate::config::broker::JOURNAL_FILE_BYTES;
use crate::controller::Controller;
use crate::coordinator::topic::InternalTopic;
use crate::disk::checkpoint::{Checkpoint, CheckpointHead, PartitionState};
use crate::disk::journal::{self, Journal, ReplayStart};
use crate::disk::layout::{DataDirectory, Meta};
use crate::metadata::owner::shard_of;
use crate::metadata::{Command, Image};
use crate::model::{NodeId, ShardId, TopicId, TopicName, TopicPartition, counted};
use crate::runtime::{self, dir};
use crate::shard::open::ShardLocation;
use crate::shard::{Shard, directories};

/// A new cluster id in Kafka's form: a random UUID in 22 characters of base64.
pub fn fresh_cluster_id() -> String {
    loop {
        let mut bytes = [0; 16];
        runtime::random_bytes(&mut bytes);
        let id = TopicId(bytes).to_string();
        // KAFKA-14545: an id that begins with a dash looks like an option on a command line.
        if !id.starts_with('-') {
            return id;
        }
    }
}

/// Makes the layout of the directory fit `shards` shards. `meta`: the directory's, unless it is new. Returns the number
/// of the layout.
pub async fn prepare(
    image: &Arc<Image>,
    config: &Arc<BrokerConfig>,
    data: &DataDirectory,
    meta: Option<Meta>,
    shards: u16,
) -> Result<u64, NodeError> {
    data.claim_journals(&image.cluster_id, config.node_id).await?;
    let fresh = Meta { cluster_id: image.cluster_id.clone(), node_id: config.node_id, layout: 0, shards };
    let Some(meta) = meta else {
        // The journals are this node's, and older than its `meta.properties`.
        if data.layouts()?.iter().any(|layout| data.has_journals(*layout)) {
            return Err(NodeError::NoMeta { path: data.meta_path() });
        }
        for directory in [data.layout_directory(0), data.journal_layout_directory(0)] {
            dir::create_all(&directory).await.map_err(NodeError::directory("create", &directory))?;
        }
        data.sync_names(0).await?;
        fresh.store(data).await?;
        return Ok(0);
    };
    remove_layouts(data, data.layouts()?.into_iter().filter(|found| *found != meta.layout)).await?;
    if meta.shards == shards {
        return Ok(meta.layout);
    }
    tracing::info!(
        "{}, {} at the last start: redistributing the partitions",
        counted(shards.into(), "shard"),
        meta.shards
    );
    let next = Meta { layout: meta.layout + 1, ..fresh };
    redistribute(image, config, data, &meta, &next).await?;
    next.store(data).await?;
    remove_layouts(data, [meta.layout]).await?;
    Ok(next.layout)
}

/// Replays the journals of the old layout, flushes all logs, and writes the checkpoints of the new layout. The old
/// layout stays valid until `meta.properties` is replaced.
async fn redistribute(
    image: &Arc<Image>,
    config: &Arc<BrokerConfig>,
    data: &DataDirectory,
    old: &Meta,
    new: &Meta,
) -> Result<(), NodeError> {
    let mut states: HashMap<TopicPartition, PartitionState> = HashMap::new();
    for shard in 0..old.shards {
        let place = ShardLocation {
            id: ShardId(shard),
            node: NodeId(old.node_id),
            shards: old.shards,
            layout: old.layout,
            data: data.clone(),
            config: config.clone(),
            journal_file_bytes: JOURNAL_FILE_BYTES,
            journal_idle: journal::IDLE,
        };
        let (opened, report) = Shard::open(place, image.clone()).await?;
        opened.stop().await?;
        // This thread has the memory of one shard, and the next shard needs it.
        opened.retire();
        tracing::info!(
            "shard {shard} of the old layout: {} partitions, {} batches replayed",
            report.partitions,
            report.batches_replayed
        );
        let path = data.checkpoint_path(old.layout, shard);
        let checkpoint = Checkpoint::load(&path).await?;
        let checkpoint = checkpoint.ok_or(NodeError::NoCheckpoint { path })?;
        // The shard stopped gracefully, so no journal is needed: neither the old one nor the new one.
        let moved = checkpoint.partitions.into_iter();
        let moved = moved.map(|state| PartitionState { needed_from: ReplayStart::BEGINNING.sequence.0, ..state });
        states.extend(moved.map(|state| (state.id(), state)));
    }
    let mut spread: BTreeMap<ShardId, Vec<PartitionState>> = BTreeMap::new();
    for (id, state) in states {
        spread.entry(shard_of(id.topic, id.partition, new.shards)).or_default().push(state);
    }
    for shard in (0..new.shards).map(ShardId) {
        let place = ShardLocation {
            id: shard,
            node: NodeId(new.node_id),
            shards: new.shards,
            layout: new.layout,
            data: data.clone(),
            config: config.clone(),
            journal_file_bytes: JOURNAL_FILE_BYTES,
            journal_idle: journal::IDLE,
        };
        let directory = data.shard_directory(new.layout, shard.0);
        dir::create_all(&directory).await.map_err(NodeError::directory("create", &directory))?;
        let journal = Journal::create(place.journal_settings()).await?;
        let head = CheckpointHead {
            journal_id: journal.id(),
            journal_files: journal.files_count(),
            session: journal.session(),
            start: ReplayStart { session: 1, ..ReplayStart::BEGINNING }.into(),
            metadata_index: image.index,
            is_clean: true,
        };
        let checkpoint = Checkpoint { head, partitions: spread.remove(&shard).unwrap_or_default() };
        let path = data.checkpoint_path(new.layout, shard.0);
        checkpoint.store(&path).await?;
    }
    Ok(data.sync_names(new.layout).await?)
}

/// Removes layouts that a change of the number of shards has left.
async fn remove_layouts(data: &DataDirectory, layouts: impl IntoIterator<Item = u64>) -> Result<(), NodeError> {
    for layout in layouts {
        for path in [data.layout_directory(layout), data.journal_layout_directory(layout)] {
            if dir::exists(&path) {
                dir::remove_all(&path).await.map_err(NodeError::directory("remove", &path))?;
            }
        }
    }
    Ok(())
}

/// A topic that an operator copied from another broker: the data directory has it, the metadata does not.
struct FoundTopic {
    id: TopicId,
    name: TopicName,
    partitions: Vec<i32>,
}

/// Takes in topic directories that an operator copied from a Kafka broker: `<topic>-<n>/` with a `partition.metadata`
/// whose topic id is unknown. Removes the directories of deleted topics, and puts those of unknown topics aside.
pub async fn adopt_directories(
    controller: &Controller,
    config: &BrokerConfig,
    data: &DataDirectory,
) -> Result<(), NodeError> {
    let image = controller.image();
    let mut topics: BTreeMap<String, FoundTopic> = BTreeMap::new();
    let names = dir::list(&data.root).map_err(NodeError::directory("list", &data.root))?;
    // `shard::directories` renames a directory before it removes files from it. That name must be durable before the
    // removal continues here.
    dir::sync(&data.root).await.map_err(NodeError::directory("flush", &data.root))?;
    for directory in names {
        if directories::is_deleted(&directory) {
            // A deletion that a crash interrupted.
            let path = data.root.join(&directory);
            dir::remove_all(&path).await.map_err(NodeError::directory("remove", &path))?;
            continue;
        }
        let Some((name, partition)) = directory.rsplit_once('-') else { continue };
        let (Ok(partition), Ok(name)) = (partition.parse::<i32>(), TopicName::new(name)) else { continue };
        let Ok(text) = dir::read_small(data.root.join(&directory).join("partition.metadata")) else { continue };
        let text = String::from_utf8_lossy(&text);
        let id = text.lines().find_map(|line| TopicId::from_base64(line.strip_prefix("topic_id:")?.trim()));
        let Some(id) = id else {
            tracing::warn!("ignoring {directory}: its partition.metadata has no topic id");
            continue;
        };
        if image.topic_by_id(id).is_some() {
            continue;
        }
        let cluster_id = text.lines().find_map(|line| line.strip_prefix("cluster_id:"));
        if cluster_id.is_some_and(|cluster| cluster.trim() == image.cluster_id) {
            directories::clear(data, name.as_str(), TopicPartition { topic: id, partition }, &image).await?;
            continue;
        }
        if let Some(known) = image.topic(name.as_str()) {
            // The topic was deleted and created again while its old directory was being removed, or this is a mistake.
            tracing::warn!("ignoring {directory}: its topic id is {id}, and topic {name} has id {}", known.id);
            continue;
        }
        let found = topics.entry(name.to_string()).or_insert_with(|| FoundTopic { id, name, partitions: Vec::new() });
        if found.id == id {
            found.partitions.push(partition);
        }
    }
    for found in topics.into_values() {
        create_found_topic(controller, config, found).await;
    }
    Ok(())
}

/// Creates a topic for directories that an operator copied in.
async fn create_found_topic(controller: &Controller, config: &BrokerConfig, found: FoundTopic) {
    let count = found.partitions.iter().max().map_or(0, |last| last + 1);
    let overrides = match InternalTopic::ALL.into_iter().find(|internal| internal.name() == found.name.as_str()) {
        Some(internal) => internal.overrides(config),
        // The retention of the other broker is unknown, so nothing is deleted until the operator sets one.
        None => ["retention.ms", "retention.bytes"].map(|name| (name.to_owned(), "-1".to_owned())).to_vec(),
    };
    tracing::warn!(
        "importing topic {} with {count} partitions from the data directory, with {}: set its retention",
        found.name,
        overrides.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    );
    let command = Command::CreateTopic {
        id: found.id,
        name: found.name.to_string(),
        replicas: vec![vec![NodeId(config.node_id)]; count as usize],
        overrides,
    };
    if let Err(error) = controller.propose(vec![command]).await {
        tracing::warn!("cannot import topic {}: {error}", found.name);
    }
}

#[cfg(test)]
mod tests;
