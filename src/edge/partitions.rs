//! `/metrics/partitions`: series for each partition.

use std::sync::Arc;

use super::shard::{PartitionFigures, ShardFigures};
use super::text::Exposition;
use super::topics::{self, GroupOffset};
use crate::metadata::Image;
use crate::model::PartitionIndex;

/// The most partitions in one response. The rest is counted.
pub(super) const PARTITIONS_MAX: usize = 20_000;

/// One partition, and its name in the newest image.
pub(super) struct Named<'a> {
    pub topic: &'a str,
    pub partition: PartitionIndex,
    pub shard: u16,
    /// Whether the first replica leads; `None` without a leader.
    pub is_leader_preferred: Option<bool>,
    pub figures: &'a PartitionFigures,
}

/// The newest image of all shards.
pub(super) fn newest_image(shards: &[Box<ShardFigures>]) -> Option<&Arc<Image>> {
    shards.iter().map(|shard| &shard.image).max_by_key(|image| image.index)
}

/// The partitions of all shards, by name. A partition that is being created or deleted is left out.
pub(super) fn by_name(shards: &[Box<ShardFigures>]) -> Vec<Named<'_>> {
    let Some(image) = newest_image(shards) else { return Vec::new() };
    let all = shards.iter().flat_map(|shard| shard.partitions.iter().map(move |figures| (shard.shard, figures)));
    let named = all.filter_map(|(shard, figures)| {
        let topic = image.topic_by_id(figures.id.topic)?;
        let partition = topic.partition(figures.id.partition)?;
        let is_leader_preferred = partition.leader.map(|leader| partition.replicas.first() == Some(&leader));
        let (topic, partition) = (topic.name.as_str(), figures.id.partition);
        Some(Named { topic, partition, shard, is_leader_preferred, figures })
    });
    let mut named: Vec<_> = named.collect();
    named.sort_unstable_by_key(|named| (named.topic, named.partition));
    named
}

/// The whole text.
pub(super) fn render(shards: &[Box<ShardFigures>]) -> String {
    let mut text = Exposition::default();
    let all = by_name(shards);
    let shown = &all[..all.len().min(PARTITIONS_MAX)];
    let help = "Partitions that this response leaves out, because it has too many.";
    text.gauge("tidemill_partitions_omitted", help).sample(&[], all.len() - shown.len());
    type Field = fn(&PartitionFigures) -> u64;
    let gauges: [(&str, &str, Field); 5] = [
        ("tidemill_partition_log_start_offset", "The first offset that readers may read.", |partition| {
            partition.log_start.0 as u64
        }),
        ("tidemill_partition_last_stable_offset", "Readers of committed records may read below it.", |partition| {
            partition.last_stable.0 as u64
        }),
        ("tidemill_partition_high_watermark_offset", "Records below it are committed.", |partition| {
            partition.high_watermark.0 as u64
        }),
        ("tidemill_partition_log_end_offset", "The offset of the next record.", |partition| partition.log_end.0 as u64),
        ("tidemill_partition_size_bytes", "Bytes of the partition's segments.", |partition| partition.size_bytes),
    ];
    for (name, help, field) in gauges {
        let mut family = text.gauge(name, help);
        for Named { topic, partition, shard, figures, .. } in shown {
            let (partition, shard) = (partition.to_string(), shard.to_string());
            family.sample(&[("topic", topic), ("partition", &partition), ("shard", &shard)], field(figures));
        }
    }
    let counters: [(&str, &str, Field); 4] = [
        ("tidemill_partition_received_records_total", "Records that were appended.", |partition| {
            partition.traffic.records_in
        }),
        ("tidemill_partition_received_bytes_total", "Bytes of appended batches.", |partition| {
            partition.traffic.bytes_in
        }),
        ("tidemill_partition_sent_records_total", "Offsets by which fetches advanced their readers.", |partition| {
            partition.traffic.records_out
        }),
        ("tidemill_partition_sent_bytes_total", "Bytes of records in fetch responses.", |partition| {
            partition.traffic.bytes_out
        }),
    ];
    for (name, help, field) in counters {
        let mut family = text.counter(name, help);
        for Named { topic, partition, figures, .. } in shown {
            family.sample(&[("topic", topic), ("partition", &partition.to_string())], field(figures));
        }
    }
    let mut offsets = topics::group_offsets(shards, &all);
    let omitted = offsets.len().saturating_sub(PARTITIONS_MAX);
    offsets.truncate(PARTITIONS_MAX);
    text.gauge("tidemill_group_partitions_omitted", "Committed offsets that this response leaves out.")
        .sample(&[], omitted);
    type OfGroup = fn(&GroupOffset<'_>) -> i64;
    let of_groups: [(&str, &str, OfGroup); 2] = [
        ("tidemill_group_partition_committed_offset", "The next offset that the group reads.", |offset| {
            offset.committed.0
        }),
        ("tidemill_group_partition_lag_records", "Committed records that the group has not read.", |offset| {
            offset.lag()
        }),
    ];
    for (name, help, field) in of_groups {
        let mut family = text.gauge(name, help);
        for offset in &offsets {
            let partition = offset.partition.to_string();
            let labels = [("group", offset.group), ("topic", offset.topic), ("partition", &*partition)];
            family.sample(&labels, field(offset));
        }
    }
    text.into_text()
}
