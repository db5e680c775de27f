//! The part of `/metrics` for topics and groups. Both have a limit, and the rest is counted.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::lag::History;
use super::partitions::Named;
use super::shard::ShardFigures;
use super::text::Exposition;
use crate::model::{Offset, PartitionIndex, TopicPartition};
use crate::partition::Traffic;

/// The most topics in one response: those with the most bytes in and out.
const TOPICS_MAX: usize = 500;
/// The most pairs of a group and a topic in one response.
const GROUP_TOPICS_MAX: usize = 2_000;

/// The sum of a topic's partitions.
#[derive(Clone, Copy, Default)]
pub(super) struct TopicSum {
    pub partitions: u64,
    pub size_bytes: u64,
    pub traffic: Traffic,
}

/// The topics with the most traffic, by name, and the number of the others.
pub(super) fn busiest<'a>(all: &[Named<'a>]) -> (Vec<(&'a str, TopicSum)>, usize) {
    let mut topics: BTreeMap<&str, TopicSum> = BTreeMap::new();
    for named in all {
        let sum: &mut TopicSum = topics.entry(named.topic).or_default();
        sum.partitions += 1;
        sum.size_bytes += named.figures.size_bytes;
        sum.traffic += named.figures.traffic;
    }
    let mut topics: Vec<_> = topics.into_iter().collect();
    let omitted = topics.len().saturating_sub(TOPICS_MAX);
    if omitted > 0 {
        topics.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.traffic.bytes_in + sum.traffic.bytes_out));
        topics.truncate(TOPICS_MAX);
        topics.sort_unstable_by_key(|(name, _)| *name);
    }
    (topics, omitted)
}

/// The families of topics.
pub(super) fn topics(text: &mut Exposition, all: &[Named<'_>]) {
    let (shown, omitted) = busiest(all);
    text.gauge("tidemill_topics_omitted", "Topics that this response leaves out: those with the least traffic.")
        .sample(&[], omitted);
    type Field = fn(&TopicSum) -> u64;
    let gauges: [(&str, &str, Field); 2] = [
        ("tidemill_topic_partitions", "Partitions of the topic.", |sum| sum.partitions),
        ("tidemill_topic_size_bytes", "Bytes of the topic's segments.", |sum| sum.size_bytes),
    ];
    for (name, help, field) in gauges {
        let mut family = text.gauge(name, help);
        for (topic, sum) in &shown {
            family.sample(&[("topic", topic)], field(sum));
        }
    }
    for (name, help, field) in TRAFFIC {
        let name = format!("tidemill_topic_{name}_total");
        let mut family = text.counter(&name, help);
        for (topic, sum) in &shown {
            family.sample(&[("topic", topic)], field(&sum.traffic));
        }
    }
}

/// The end of a counter's name, its help, and its value.
type TrafficField = (&'static str, &'static str, fn(&Traffic) -> u64);

/// The counters of traffic.
const TRAFFIC: [TrafficField; 6] = [
    ("received_batches", "Batches that were appended.", |traffic| traffic.batches_in),
    ("received_records", "Records that were appended.", |traffic| traffic.records_in),
    ("received_bytes", "Bytes of appended batches, as they are stored.", |traffic| traffic.bytes_in),
    ("fetches", "Partitions with records in fetch responses.", |traffic| traffic.fetches),
    ("sent_records", "Offsets by which fetch responses advanced their readers.", |traffic| traffic.records_out),
    ("sent_bytes", "Bytes of records in fetch responses.", |traffic| traffic.bytes_out),
];

/// The traffic of a shard since its start, with that of deleted partitions.
pub(super) fn whole_traffic(shard: &ShardFigures) -> Traffic {
    let mut whole = shard.deleted_traffic;
    shard.partitions.iter().for_each(|partition| whole += partition.traffic);
    whole
}

/// The families of the shards' traffic. They cover the topics that the families of topics leave out.
pub(super) fn shards(text: &mut Exposition, shards: &[Box<ShardFigures>]) {
    let whole: Vec<_> = shards.iter().map(|shard| (shard.shard.to_string(), whole_traffic(shard))).collect();
    for (name, help, field) in TRAFFIC {
        let name = format!("tidemill_{name}_total");
        let mut family = text.counter(&name, help);
        for (shard, traffic) in &whole {
            family.sample(&[("shard", shard)], field(traffic));
        }
    }
}

/// One committed offset of a group, and the end that it lags behind.
pub(super) struct GroupOffset<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: PartitionIndex,
    pub id: TopicPartition,
    pub committed: Offset,
    pub high_watermark: Offset,
}

impl GroupOffset<'_> {
    /// The records that the group has not read.
    pub fn lag(&self) -> i64 {
        (self.high_watermark - self.committed).max(0)
    }
}

/// The committed offsets of all groups in partitions that exist, by group, topic and partition.
pub(super) fn group_offsets<'a>(shards: &'a [Box<ShardFigures>], all: &[Named<'a>]) -> Vec<GroupOffset<'a>> {
    let mut found = Vec::new();
    for group in shards.iter().flat_map(|shard| &shard.groups) {
        for (topic, partition, committed) in &group.offsets {
            let at = all.binary_search_by_key(&(&**topic, *partition), |named| (named.topic, named.partition));
            let Ok(at) = at else { continue };
            found.push(GroupOffset {
                group: &group.id,
                topic: all[at].topic,
                partition: *partition,
                id: all[at].figures.id,
                committed: *committed,
                high_watermark: all[at].figures.high_watermark,
            });
        }
    }
    found.sort_unstable_by_key(|offset| (offset.group, offset.topic, offset.partition));
    found
}

/// The families of groups. `history` gets the high watermarks of this snapshot.
pub(super) fn groups(text: &mut Exposition, shards: &[Box<ShardFigures>], all: &[Named<'_>], history: &mut History) {
    let mut groups: Vec<_> = shards.iter().flat_map(|shard| &shard.groups).collect();
    groups.sort_unstable_by_key(|group| &group.id);
    text.gauge("tidemill_groups", "Groups that this node coordinates.")
        .sample(&[], groups.len() + shards.iter().map(|shard| shard.groups_omitted).sum::<usize>());
    let offsets = group_offsets(shards, all);
    let now = Instant::now();
    history.note(now, &offsets.iter().map(|offset| (offset.id, offset.high_watermark)).collect::<HashMap<_, _>>());
    let mut lags: BTreeMap<(&str, &str), (i64, Duration)> = BTreeMap::new();
    for offset in &offsets {
        let (records, time) = lags.entry((offset.group, offset.topic)).or_default();
        *records += offset.lag();
        *time = (*time).max(history.age(offset.id, offset.committed, now));
    }
    let omitted = lags.len().saturating_sub(GROUP_TOPICS_MAX);
    let mut lags: Vec<_> = lags.into_iter().collect();
    if omitted > 0 {
        lags.sort_by_key(|(_, (records, _))| std::cmp::Reverse(*records));
        lags.truncate(GROUP_TOPICS_MAX);
    }
    groups.truncate(GROUP_TOPICS_MAX);
    text.gauge("tidemill_group_topics_omitted", "Pairs of a group and a topic that this response leaves out.")
        .sample(&[], omitted);
    let mut family = text.gauge("tidemill_group_members", "Members of the group.");
    for group in &groups {
        family.sample(&[("group", &group.id)], group.members);
    }
    let mut family = text.gauge("tidemill_group_state_info", "The state of the group; always 1.");
    for group in &groups {
        family.sample(&[("group", &group.id), ("state", group.state)], 1);
    }
    let mut family = text.gauge("tidemill_group_lag_records", "Committed records that the group has not read.");
    for ((group, topic), (records, _)) in &lags {
        family.sample(&[("group", group), ("topic", topic)], records);
    }
    let help = "The time since the oldest record that the group has not read was committed, of the worst partition. \
        Its resolution is the interval between scrapes.";
    let mut family = text.gauge("tidemill_group_lag_seconds", help);
    for ((group, topic), (_, time)) in &lags {
        family.sample(&[("group", group), ("topic", topic)], time.as_secs_f64());
    }
}
