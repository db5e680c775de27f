//! Before the shards open: whose directory this is, for how many shards it was laid out, and what lies in it that
//! nobody has told us of.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::BrokerConfig;
use crate::config::broker::JOURNAL_FILE_BYTES;
use crate::controller::Controller;
use crate::coordinator::topic::InternalTopic;
use crate::disk::checkpoint::{Checkpoint, PartitionState};
use crate::disk::journal::{Journal, ReplayStart};
use crate::disk::layout::{DataDirectory, Meta};
use crate::metadata::owner::shard_of;
use crate::metadata::{Command, Image};
use crate::model::{NodeId, ShardId, TopicId, TopicName, TopicPartition};
use crate::runtime::{self, dir};
use crate::shard::Shard;
use crate::shard::open::ShardLocation;

/// A cluster id as Kafka makes them: a random UUID in 22 characters of base64.
pub fn fresh_cluster_id() -> String {
    loop {
        let mut bytes = [0; 16];
        runtime::random_bytes(&mut bytes);
        let id = TopicId(bytes).to_string();
        // KAFKA-14545: ids that begin with a dash look like an option on a command line.
        if !id.starts_with('-') {
            return id;
        }
    }
}

/// Makes the directory fit `shards` shards; answers the number of its layout.
pub async fn settle(
    image: &Arc<Image>,
    config: &Arc<BrokerConfig>,
    data: &DataDirectory,
    shards: u16,
) -> Result<u64, String> {
    let meta = Meta::load(data).map_err(|error| error.to_string())?;
    data.claim_journals(&image.cluster_id, config.node_id).await.map_err(|error| error.to_string())?;
    let layouts = data.layouts().map_err(|error| error.to_string())?;
    let fresh = Meta { cluster_id: image.cluster_id.clone(), node_id: config.node_id, layout: 0, shards };
    let Some(meta) = meta else {
        // It is stored before any shard has a directory.
        if layouts.iter().any(|layout| data.has_shards(*layout)) {
            return Err(format!(
                "{} is missing, and there are checkpoints or journals of shards: what they hold would be lost; bring it back",
                data.meta_path().display()
            ));
        }
        for directory in [data.layout_directory(0), data.journal_layout_directory(0)] {
            dir::create_all(&directory).await.map_err(|error| format!("create {}: {error}", directory.display()))?;
        }
        data.sync_names(0).await.map_err(|error| error.to_string())?;
        fresh.store(data).await.map_err(|error| error.to_string())?;
        return Ok(0);
    };
    if !layouts.contains(&meta.layout) {
        return Err(format!(
            "{} is missing, and what it held would be lost: bring it back. (Or the directory is of an older release, which had \
             it elsewhere.)",
            data.layout_directory(meta.layout).display()
        ));
    }
    if meta.cluster_id != image.cluster_id {
        return Err(format!(
            "{} belongs to cluster {}, and its metadata log to cluster {}: the directory was put together from two",
            data.root.display(),
            meta.cluster_id,
            image.cluster_id
        ));
    }
    remove_layouts(data, layouts.into_iter().filter(|found| *found != meta.layout)).await?;
    if meta.shards == shards {
        return Ok(meta.layout);
    }
    tracing::info!("{} shards now, {} at the last start: partitions are spread anew", shards, meta.shards);
    let next = Meta { layout: meta.layout + 1, ..fresh };
    spread_anew(image, config, data, &meta, &next).await?;
    next.store(data).await.map_err(|error| error.to_string())?;
    remove_layouts(data, [meta.layout]).await?;
    Ok(next.layout)
}

/// Replays the old layout's journals, flushes everything, and writes the new layout's checkpoints. The old layout
/// stays the valid one until `meta.properties` is replaced.
async fn spread_anew(
    image: &Arc<Image>,
    config: &Arc<BrokerConfig>,
    data: &DataDirectory,
    old: &Meta,
    new: &Meta,
) -> Result<(), String> {
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
        };
        let (opened, report) = Shard::open(place, image.clone()).await.map_err(|error| error.to_string())?;
        opened.stop().await.map_err(|failure| failure.to_string())?;
        // One shard's memory is all there is here, and the next one wants it.
        opened.retire();
        tracing::info!(
            "shard {shard} of before: {} partitions, {} batches replayed",
            report.partitions,
            report.batches_replayed
        );
        let path = data.checkpoint_path(old.layout, shard);
        let checkpoint = Checkpoint::load(&path).await.map_err(|error| error.to_string())?;
        let checkpoint = checkpoint.ok_or_else(|| format!("{} has gone", path.display()))?;
        states.extend(checkpoint.partitions.into_iter().map(|state| (state.id(), state)));
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
        };
        let directory = data.shard_directory(new.layout, shard.0);
        dir::create_all(&directory).await.map_err(|error| format!("create {}: {error}", directory.display()))?;
        let journal = Journal::create(place.journal_settings()).await.map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint {
            journal_id: journal.id(),
            journal_files: journal.files_count(),
            session: journal.session(),
            start: ReplayStart { session: 1, ..ReplayStart::BEGINNING }.into(),
            is_clean: true,
            partitions: spread.remove(&shard).unwrap_or_default(),
        };
        let path = data.checkpoint_path(new.layout, shard.0);
        checkpoint.store(&path).await.map_err(|error| error.to_string())?;
    }
    data.sync_names(new.layout).await.map_err(|error| error.to_string())
}

/// What an interrupted or finished change of the number of shards has left.
async fn remove_layouts(data: &DataDirectory, layouts: impl IntoIterator<Item = u64>) -> Result<(), String> {
    for layout in layouts {
        for path in [data.layout_directory(layout), data.journal_layout_directory(layout)] {
            if dir::exists(&path) {
                dir::remove_all(&path).await.map_err(|error| format!("remove {}: {error}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// A topic that lies in the data directory and that the metadata do not know: copied from another broker.
struct Found {
    id: TopicId,
    name: TopicName,
    partitions: Vec<i32>,
}

/// Takes in topic directories that an operator copied from a Kafka broker: `<topic>-<n>/` with a `partition.metadata`
/// whose topic id is unknown. `was_cut`: of the metadata log, an end that could not be read was taken for a torn write.
pub async fn adopt_directories(
    controller: &Controller,
    config: &BrokerConfig,
    data: &DataDirectory,
    was_cut: bool,
) -> Result<(), String> {
    let image = controller.image();
    let mut topics: BTreeMap<String, Found> = BTreeMap::new();
    let names = dir::list(&data.root).map_err(|error| format!("list {}: {error}", data.root.display()))?;
    // Before anything is taken out of a directory, the name that says so: see `shard::image`.
    dir::sync(&data.root).await.map_err(|error| format!("flush {}: {error}", data.root.display()))?;
    for directory in names {
        if directory.ends_with("-delete") {
            // A deletion that a crash interrupted.
            let path = data.root.join(&directory);
            dir::remove_all(&path).await.map_err(|error| format!("remove {}: {error}", path.display()))?;
            continue;
        }
        let Some((name, partition)) = directory.rsplit_once('-') else { continue };
        let (Ok(partition), Ok(name)) = (partition.parse::<i32>(), TopicName::new(name)) else { continue };
        let Ok(text) = dir::read_small(data.root.join(&directory).join("partition.metadata")) else { continue };
        let text = String::from_utf8_lossy(&text);
        let id = text.lines().find_map(|line| TopicId::from_base64(line.strip_prefix("topic_id:")?.trim()));
        let Some(id) = id else {
            tracing::warn!("{directory}/partition.metadata names no topic id; the directory is left alone");
            continue;
        };
        if image.topic_by_id(id).is_some() {
            continue;
        }
        let cluster_id = text.lines().find_map(|line| line.strip_prefix("cluster_id:"));
        if cluster_id.is_some_and(|cluster| cluster.trim() == image.cluster_id) {
            // Ours, and not in the metadata: deleted, and the process ended before the directory was taken away.
            let path = data.root.join(&directory);
            if was_cut {
                // Or what told of it is what was cut: then it was no torn write, for nothing has a directory before that is
                // durable.
                let aside = data.root.join(format!("{directory}.{id}-stray"));
                dir::rename(&path, &aside).await.map_err(|error| format!("rename {}: {error}", path.display()))?;
                tracing::error!(
                    "the metadata log was damaged at its end, and {directory} is of a topic that it does not tell of any more: \
                     its records are kept in {}",
                    aside.display()
                );
                continue;
            }
            dir::remove_all(&path).await.map_err(|error| format!("remove {}: {error}", path.display()))?;
            continue;
        }
        if let Some(known) = image.topic(name.as_str()) {
            // The topic was deleted and made again while its old directory was being removed, or it is a mistake.
            tracing::warn!(
                "{directory} is of topic id {id}, and topic {name} is {}: the directory is left alone",
                known.id
            );
            continue;
        }
        let found = topics.entry(name.to_string()).or_insert_with(|| Found { id, name, partitions: Vec::new() });
        if found.id == id {
            found.partitions.push(partition);
        }
    }
    for found in topics.into_values() {
        let count = found.partitions.iter().max().map_or(0, |last| last + 1);
        let overrides = match InternalTopic::ALL.into_iter().find(|internal| internal.name() == found.name.as_str()) {
            Some(internal) => internal.overrides(config),
            // What it was configured to keep is not known here: nothing goes until somebody says so.
            None => ["retention.ms", "retention.bytes"].map(|name| (name.to_owned(), "-1".to_owned())).to_vec(),
        };
        tracing::warn!(
            "taking in topic {} with {count} partitions, found in the data directory, with {}: set what it is to keep",
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
            tracing::warn!("topic {} could not be taken in: {error}", found.name);
        }
    }
    Ok(())
}
