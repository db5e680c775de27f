//! The input of a shard and its acknowledgements, and a check of the shard's contents against them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill::metadata::Image;
use tidemill::model::TopicPartition;
use tidemill::partition::append::Produced;
use tidemill::record::BatchHeader;

use super::partitions;

/// The identity of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    pub base_offset: i64,
    pub end_offset: i64,
    pub bytes: usize,
    pub crc: u32,
}

/// A record with a key, and a fingerprint of its value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Keyed {
    pub offset: i64,
    pub key: u8,
    pub value: Option<u32>,
}

/// A batch that was sent, with its keys and the moment of its acknowledgement.
#[derive(Clone)]
pub struct Sent {
    batch: Batch,
    keyed: Vec<Keyed>,
    acknowledged_at: Option<usize>,
}

impl Sent {
    /// An appended batch with this header; the offsets of its keys are relative to the first.
    pub(super) fn of(produced: &Produced, header: &BatchHeader, mut keyed: Vec<Keyed>) -> Sent {
        let (base_offset, end_offset) = (produced.base_offset, produced.last_offset + 1);
        keyed.iter_mut().for_each(|keyed| keyed.offset += base_offset.0);
        let batch = Batch {
            base_offset: base_offset.0,
            end_offset: end_offset.0,
            bytes: header.total_bytes(),
            crc: header.crc,
        };
        Sent { batch, keyed, acknowledged_at: None }
    }
}

/// The input of a shard, and its acknowledgements with the moments of the recording.
#[derive(Clone, Default)]
pub struct Ledger {
    pub(super) sent: BTreeMap<TopicPartition, Vec<Sent>>,
    /// An observed log start with its moment.
    pub(super) starts: BTreeMap<TopicPartition, Vec<(usize, i64)>>,
    /// DeleteRecords below an offset.
    pub(super) deletions: BTreeMap<TopicPartition, Vec<Deletion>>,
    /// The metadata since a moment.
    pub(super) images: Vec<(usize, Arc<Image>)>,
}

/// A request to delete the records below an offset.
#[derive(Clone, Copy)]
pub struct Deletion {
    pub(super) offset: i64,
    pub(super) asked_at: usize,
    pub(super) acknowledged_at: Option<usize>,
}

/// The contents of a shard, read from it.
pub type Found = BTreeMap<TopicPartition, FoundLog>;

pub struct FoundLog {
    pub start: i64,
    pub batches: Vec<Batch>,
    pub keyed: Vec<Keyed>,
}

impl FoundLog {
    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |batch| batch.end_offset)
    }
}

impl Ledger {
    pub fn of(image: Arc<Image>) -> Ledger {
        Ledger { images: vec![(0, image)], ..Ledger::default() }
    }

    /// The metadata for a restart after this moment.
    pub fn image_at(&self, moment: usize) -> Arc<Image> {
        let image = self.images.iter().rev().find(|(at, _)| *at <= moment);
        image.expect("the first is from the beginning").1.clone()
    }

    pub fn acknowledged_count(&self) -> usize {
        self.sent.values().flatten().filter(|sent| sent.acknowledged_at.is_some()).count()
    }

    pub(super) fn acknowledge(&mut self, id: TopicPartition, base_offset: i64, now: usize) {
        let sent = self.sent.get_mut(&id).expect("was sent");
        let at = sent.partition_point(|sent| sent.batch.base_offset < base_offset);
        sent[at].acknowledged_at = Some(now);
    }

    /// Checks that `found` contains all records acknowledged at `moment`, once, in order, at their offsets, and no
    /// record that was never sent. `survives_loose`: also for topics without flushes.
    pub fn check(&self, found: &Found, moment: usize, survives_loose: bool) -> Result<(), String> {
        let image = self.image_at(moment);
        for id in partitions(&image) {
            let topic = image.topic_by_id(id.topic).expect("of this image");
            let name = format!("{}-{}", topic.name, id.partition);
            let log = found.get(&id).ok_or_else(|| format!("{name} is not there"))?;
            let FoundLog { start, batches, .. } = log;
            let none = Vec::new();
            let sent = self.sent.get(&id).unwrap_or(&none);
            if topic.overrides.contains_key("cleanup.policy") {
                check_compacted(&name, log, sent, moment)?;
                continue;
            }
            let (deleted, deleted_max) = self.deleted(id, moment);
            let start_max = match topic.overrides.contains_key("retention.bytes") {
                true => self.start_max(id, moment),
                false => deleted_max,
            };
            if !(deleted..=start_max).contains(start) {
                return Err(format!("{name} begins at {start}, and not from {deleted} to {start_max}"));
            }
            let mut next = *start;
            for batch in batches {
                let known = sent.iter().any(|sent| sent.batch == *batch);
                // A log may start only inside its first batch.
                let is_next = match next == *start {
                    true => (batch.base_offset..batch.end_offset).contains(start),
                    false => batch.base_offset == next,
                };
                if !is_next || !known {
                    return Err(format!("{name}: at {next} lies {batch:?}, known: {known}"));
                }
                next = batch.end_offset;
            }
            let is_loose = topic.overrides.contains_key("tidemill.flush.ack") && !survives_loose;
            let acknowledged = sent.iter().filter(|sent| sent.acknowledged_at.is_some_and(|at| at <= moment));
            let end = acknowledged.map(|sent| sent.batch.end_offset).max().unwrap_or(0);
            if next < end && !is_loose {
                return Err(format!("{name} was acknowledged up to {end} and ends at {next}"));
            }
        }
        Ok(())
    }

    /// The highest legal log start after `moment`. A segment is removed before the observed start moves behind it, so
    /// one step more is legal.
    fn start_max(&self, id: TopicPartition, moment: usize) -> i64 {
        let seen = self.starts.get(&id).into_iter().flatten().filter(|(at, _)| *at >= moment).map(|(_, start)| *start);
        let first = seen.clone().next();
        seen.into_iter().find(|start| Some(*start) > first).unwrap_or(i64::MAX)
    }

    /// The offset below which all records were certainly deleted by then, and the offset below which they may have
    /// been.
    fn deleted(&self, id: TopicPartition, moment: usize) -> (i64, i64) {
        let asked = || self.deletions.get(&id).into_iter().flatten().filter(|deletion| deletion.asked_at <= moment);
        let is_done = |deletion: &&Deletion| deletion.acknowledged_at.is_some_and(|at| at <= moment);
        let last = |offset: Option<i64>| offset.unwrap_or(0);
        (last(asked().filter(is_done).map(|done| done.offset).max()), last(asked().map(|asked| asked.offset).max()))
    }

    /// The ledger of a life that starts with the contents found after `moment`. `is_flushed`: none of them can be lost.
    pub fn begin_anew(&mut self, found: &Found, moment: usize, is_flushed: bool) {
        let image = self.image_at(moment);
        self.images = vec![(0, image.clone())];
        self.starts.clear();
        let done: BTreeMap<_, _> = self.sent.keys().map(|id| (*id, self.deleted(*id, moment).0)).collect();
        self.deletions.clear();
        self.sent.retain(|id, _| image.topic_by_id(id.topic).is_some());
        for (id, sent) in &mut self.sent {
            let log = &found[id];
            self.starts.insert(*id, vec![(0, log.start)]);
            let begun = |offset, is_done: bool| Deletion { offset, asked_at: 0, acknowledged_at: is_done.then_some(0) };
            self.deletions.insert(*id, vec![begun(done[id], true), begun(log.start, is_flushed)]);
            let is_compacted = image.topic_by_id(id.topic).is_some_and(|t| t.overrides.contains_key("cleanup.policy"));
            // Records that retention removed may return, and records that compaction removed did exist.
            sent.retain(|sent| match is_compacted {
                true => sent.batch.base_offset < log.end(),
                false => sent.batch.base_offset < log.start || log.batches.contains(&sent.batch),
            });
            for sent in sent {
                let was_acknowledged = sent.acknowledged_at.is_some_and(|at| at <= moment);
                sent.acknowledged_at = (is_flushed || was_acknowledged).then_some(0);
            }
        }
    }
}

/// Checks that a compacted log contains the last acknowledged record of each key, or a later one, and no record that
/// was not sent, at its offset and in order.
fn check_compacted(name: &str, log: &FoundLog, sent: &[Sent], moment: usize) -> Result<(), String> {
    if let Some(row) = log.batches.windows(2).find(|row| row[1].base_offset < row[0].end_offset) {
        return Err(format!("{name}: {row:?} are not in order"));
    }
    let known: BTreeSet<Keyed> = sent.iter().flat_map(|sent| sent.keyed.iter().copied()).collect();
    if let Some(stranger) = log.keyed.iter().find(|keyed| !known.contains(keyed)) {
        return Err(format!("{name}: nobody sent {stranger:?}"));
    }
    let last = |rows: &mut dyn Iterator<Item = Keyed>| -> BTreeMap<u8, i64> {
        rows.map(|keyed| (keyed.key, keyed.offset)).collect()
    };
    let acknowledged: Vec<&Sent> =
        sent.iter().filter(|sent| sent.acknowledged_at.is_some_and(|at| at <= moment)).collect();
    let found = last(&mut log.keyed.iter().copied());
    for (key, offset) in last(&mut acknowledged.iter().flat_map(|sent| sent.keyed.iter().copied())) {
        let is_there = found.get(&key).is_some_and(|found| *found >= offset);
        if !is_there {
            return Err(format!("{name}: key {key} was acknowledged at {offset}, and is at {:?}", found.get(&key)));
        }
    }
    let end = acknowledged.last().map_or(0, |sent| sent.batch.end_offset);
    if log.end() < end {
        return Err(format!("{name} was acknowledged up to {end} and ends at {}", log.end()));
    }
    Ok(())
}
