//! Checks that the files of the data directory belong together, before the start changes any of them.

use std::path::PathBuf;

use super::error::NodeError;
use crate::config::BrokerConfig;
use crate::controller::ExpectedLog;
use crate::disk::checkpoint::Checkpoint;
use crate::disk::layout::{DataDirectory, Meta};
use crate::runtime::dir;

/// `meta.properties`, and the least content of the metadata log. `None` in a new directory.
///
/// # Errors
/// If a file is missing whose records or changes were acknowledged.
pub async fn examine(data: &DataDirectory) -> Result<Option<(Meta, ExpectedLog)>, NodeError> {
    let meta = Meta::load(data)?;
    let Some(meta) = meta else {
        // `meta.properties` is stored before any shard directory exists.
        let has_shards = data.layouts()?.iter().any(|layout| data.has_checkpoints(*layout));
        return if has_shards { Err(NodeError::NoMeta { path: data.meta_path() }) } else { Ok(None) };
    };
    if !dir::exists(data.layout_directory(meta.layout)) {
        return Err(NodeError::NoLayout { path: data.layout_directory(meta.layout) });
    }
    // The metadata log had an entry before `meta.properties` was stored.
    let mut expected = ExpectedLog { cluster_id: meta.cluster_id.clone(), index: 1, proof: data.meta_path() };
    for shard in 0..meta.shards {
        let path = data.checkpoint_path(meta.layout, shard);
        let Some(checkpoint) = Checkpoint::load(&path).await? else { continue };
        require_journal(data, meta.layout, shard)?;
        if checkpoint.head.metadata_index > expected.index {
            expected.index = checkpoint.head.metadata_index;
            expected.proof = path;
        }
    }
    Ok(Some((meta, expected)))
}

/// Fails if the journal of a shard that has a checkpoint is missing.
fn require_journal(data: &DataDirectory, layout: u64, shard: u16) -> Result<(), NodeError> {
    let path = data.journal_directory(layout, shard);
    if dir::exists(&path) {
        return Ok(());
    }
    let elsewhere = DataDirectory::new(&data.root, None).journal_directory(layout, shard);
    Err(if elsewhere != path && dir::exists(&elsewhere) {
        NodeError::JournalElsewhere { path, elsewhere }
    } else {
        NodeError::NoJournal { path }
    })
}

/// Fails if `meta.properties` is of another node than the metadata log, which is of this node.
pub fn require_node(meta: &Meta, config: &BrokerConfig, path: PathBuf) -> Result<(), NodeError> {
    if meta.node_id == config.node_id {
        return Ok(());
    }
    Err(NodeError::TwoNodes { path, meta: meta.node_id, here: config.node_id })
}
