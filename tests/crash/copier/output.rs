//! One output topic, read while copiers and the node are killed: no read may contradict an earlier one.
//!
//! It is read in two ways. *Committed*, as a stock consumer: up to the last stable offset, without the records of the
//! aborted transactions in the response. And *raw*: all records up to the high watermark, with the markers, which give
//! the outcome of each transaction in each partition.
//!
//! - OUT-1: the last stable offset and the high watermark never go back.
//! - OUT-2: a record that was read committed is the same in each later read.
//! - OUT-3: no record is copied twice, and none after a later one of its input partition.
//! - OUT-4: no record of a transaction that aborts, or is to abort, is read committed.
//! - OUT-5: a transaction has the same outcome in every partition, ends in all of them before its producer starts
//!   another, and gets no record after its end.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use super::copied::{Copied, Tag, output_partition};
use tidemill::model::Offset;
use tidemill::record::control::{Ending, Marker};
use tidemill::record::{BatchHeader, Decompressor, Records, batches};
use tidemill::tools::client::fetch::{FetchOptions, FetchPosition, Fetched};
use tidemill::tools::client::{Client, ClientError};

/// The reason why a sweep ended early.
pub enum Trouble {
    /// The node is down, or has just restarted.
    Away(ClientError),
    /// A rule is broken.
    Wrong(String),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Trouble {
        Trouble::Away(error)
    }
}

impl From<String> for Trouble {
    fn from(wrong: String) -> Trouble {
        Trouble::Wrong(wrong)
    }
}

const STUCK: Duration = Duration::from_secs(30);

/// The observed state of a transaction.
#[derive(Default, Debug)]
pub struct Transaction {
    /// The number of its records, which each of them states.
    pub count: usize,
    /// Its records that were read committed.
    pub indexes: BTreeSet<usize>,
    /// The partitions with its records, and its outcome in each.
    pub endings: BTreeMap<i32, Option<Ending>>,
}

impl Transaction {
    fn is_ended(&self) -> bool {
        self.endings.values().all(Option::is_some)
    }
}

#[derive(Default)]
struct Partition {
    /// Next offset of the committed reader.
    next: i64,
    last_stable_offset: i64,
    high_watermark: i64,
    /// Offset and fingerprint of all records that it read.
    read: Vec<(i64, u64)>,
    /// The last offset of each input partition that was copied here.
    last_from: HashMap<i32, i64>,
    /// Next offset of the raw reader.
    raw_next: i64,
    /// Transactions with records here and without a marker, by producer id.
    open: HashMap<i64, Vec<Tag>>,
}

pub struct Output {
    pub topic: String,
    partitions: Vec<Partition>,
    pub transactions: BTreeMap<Tag, Transaction>,
    /// The copies that were read committed, with the key and value of their input records.
    pub copied: BTreeMap<(i32, i64), (Vec<u8>, String)>,
    /// The latest transaction with an observed record or marker, by transactional id.
    latest: HashMap<String, Tag>,
    unended: BTreeSet<Tag>,
    decompressor: Decompressor,
}

impl Output {
    pub fn new(topic: &str, partitions: i32) -> Output {
        Output {
            topic: topic.into(),
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            transactions: BTreeMap::new(),
            copied: BTreeMap::new(),
            latest: HashMap::new(),
            unended: BTreeSet::new(),
            decompressor: Decompressor::new(64 << 20),
        }
    }

    /// Continues both reads to the current log end.
    pub fn sweep(&mut self, client: &mut Client) -> Result<(), Trouble> {
        // Their producers have started later transactions, so all their records and markers are in the log by now.
        let passed: Vec<Tag> = self.unended.iter().filter(|tag| self.latest[&tag.id] > **tag).cloned().collect();
        self.read(client, false)?;
        for tag in passed {
            let transaction = &self.transactions[&tag];
            if !transaction.is_ended() {
                let (endings, latest) = (&transaction.endings, &self.latest[&tag.id]);
                return wrong(format!(
                    "{}: OUT-5: {tag} has ended only so: {endings:?}, and {latest} is there",
                    self.topic
                ));
            }
        }
        self.read(client, true)
    }

    fn read(&mut self, client: &mut Client, is_committed: bool) -> Result<(), Trouble> {
        let mut open: BTreeSet<i32> = (0..self.partitions.len() as i32).collect();
        let mut moved = Instant::now();
        while !open.is_empty() {
            let position = |&partition: &i32| {
                let at = &self.partitions[partition as usize];
                FetchPosition { partition, offset: if is_committed { at.next } else { at.raw_next } }
            };
            let positions: Vec<FetchPosition> = open.iter().map(position).collect();
            for fetched in fetch(client, &self.topic, &positions, is_committed)? {
                let partition = fetched.partition;
                let next = self.take(&fetched, is_committed)?;
                let end = if is_committed { fetched.last_stable_offset } else { fetched.high_watermark };
                if next >= end {
                    open.remove(&partition);
                    moved = Instant::now();
                }
            }
            if moved.elapsed() > STUCK {
                return wrong(format!("{}: nothing more comes at {positions:?}", self.topic));
            }
        }
        Ok(())
    }

    /// Takes one partition of a response; returns the next offset to read.
    pub fn take(&mut self, fetched: &Fetched, is_committed: bool) -> Result<i64, String> {
        self.check_watermarks(fetched)?;
        if is_committed { self.take_committed(fetched) } else { self.take_raw(fetched) }
    }

    fn check_watermarks(&mut self, fetched: &Fetched) -> Result<(), String> {
        let (topic, partition) = (&self.topic, fetched.partition);
        let at = &mut self.partitions[partition as usize];
        let watermarks = (fetched.last_stable_offset, fetched.high_watermark);
        let before = (at.last_stable_offset, at.high_watermark);
        if watermarks.0 < before.0 || watermarks.1 < before.1 || watermarks.0 > watermarks.1 {
            return Err(format!("{topic}-{partition}: OUT-1: LSO and HW were {before:?} and are {watermarks:?}"));
        }
        (at.last_stable_offset, at.high_watermark) = watermarks;
        Ok(())
    }

    fn take_raw(&mut self, fetched: &Fetched) -> Result<i64, String> {
        let partition = fetched.partition;
        for batch in batches(&fetched.records) {
            let Ok(batch) = batch else { break };
            let (header, topic) = (&batch.header, &self.topic);
            let at = &mut self.partitions[partition as usize];
            if header.last_offset() < Offset(at.raw_next) {
                continue;
            }
            if let Some(marker) = Marker::parse(header, batch.stored_records()) {
                for tag in at.open.remove(&header.producer_id).unwrap_or_default() {
                    let transaction = self.transactions.get_mut(&tag).expect("its records were seen");
                    transaction.endings.insert(partition, Some(marker.ending));
                    if transaction.endings.values().flatten().any(|ending| *ending != marker.ending) {
                        return Err(format!("{topic}: OUT-5: {tag} is torn: {:?}", transaction.endings));
                    }
                    if transaction.is_ended() {
                        self.unended.remove(&tag);
                    }
                }
            } else {
                let records = self.decompressor.records(header, batch.stored_records()).map_err(|e| e.to_string())?;
                for record in Records::new(header, records) {
                    let record = record.map_err(|e| e.to_string())?;
                    let copied = record.value.and_then(Copied::parse);
                    let copied = copied.ok_or_else(|| format!("{topic}-{partition}: not a copy: {record:?}"))?;
                    let transaction = self.transactions.entry(copied.tag.clone()).or_default();
                    transaction.count = copied.count;
                    if let Some(Some(ending)) = transaction.endings.insert(partition, None) {
                        let (tag, offset) = (&copied.tag, record.offset);
                        return Err(format!("{topic}-{partition}@{offset}: OUT-5: {tag} goes on after its {ending:?}"));
                    }
                    let open = at.open.entry(header.producer_id).or_default();
                    if open.last() != Some(&copied.tag) {
                        open.push(copied.tag.clone());
                    }
                    let latest = self.latest.entry(copied.tag.id.clone()).or_insert_with(|| copied.tag.clone());
                    if *latest < copied.tag {
                        *latest = copied.tag.clone();
                    }
                    self.unended.insert(copied.tag);
                }
            }
            at.raw_next = header.next_offset().0;
        }
        Ok(self.partitions[partition as usize].raw_next)
    }

    fn take_committed(&mut self, fetched: &Fetched) -> Result<i64, String> {
        let partition = fetched.partition;
        let place = format!("{}-{partition}", self.topic);
        let count = self.partitions.len() as i32;
        let at = &mut self.partitions[partition as usize];
        let (transactions, all_copied) = (&mut self.transactions, &mut self.copied);
        at.next = each_committed(fetched, at.next, &mut self.decompressor, |offset, key, value| {
            at.read.push((offset, fingerprint(key, value)));
            let copied = Copied::parse(value).ok_or_else(|| format!("{place}@{offset}: not a copy"))?;
            if output_partition(key, count) != Some(partition) {
                return Err(format!("{place}@{offset}: the key belongs elsewhere"));
            }
            if copied.will_abort {
                return Err(format!("{place}@{offset}: OUT-4: {} was to abort", copied.tag));
            }
            let transaction = transactions.entry(copied.tag.clone()).or_default();
            if transaction.endings.get(&partition) == Some(&Some(Ending::Abort)) {
                return Err(format!("{place}@{offset}: OUT-4: {} was aborted", copied.tag));
            }
            let is_first = transaction.indexes.insert(copied.index);
            if !is_first || copied.index >= copied.count {
                return Err(format!("{place}@{offset}: OUT-3: {} has its record {} again", copied.tag, copied.index));
            }
            transaction.count = copied.count;
            let (from, from_offset) = copied.from;
            if let Some(last) = at.last_from.insert(from, from_offset).filter(|last| *last >= from_offset) {
                let tag = &copied.tag;
                return Err(format!(
                    "{place}@{offset}: OUT-3: record {from}@{from_offset}, by {tag}, comes after {from}@{last}"
                ));
            }
            if all_copied.insert(copied.from, (key.to_vec(), copied.value)).is_some() {
                return Err(format!("{place}@{offset}: OUT-3: record {from}@{from_offset} again, by {}", copied.tag));
            }
            Ok(())
        })?;
        Ok(at.next)
    }

    /// Reads committed records from the log start, and compares with the earlier reads (OUT-2).
    pub fn read_again(&mut self, client: &mut Client) -> Result<(), Trouble> {
        for partition in 0..self.partitions.len() as i32 {
            let end = self.partitions[partition as usize].next;
            let (mut next, mut again) = (0, Vec::new());
            let began = Instant::now();
            while next < end {
                if began.elapsed() > STUCK {
                    return wrong(format!("{}-{partition}: OUT-2: nothing comes at {next} of {end}", self.topic));
                }
                for fetched in fetch(client, &self.topic, &[FetchPosition { partition, offset: next }], true)? {
                    self.check_watermarks(&fetched)?;
                    next = each_committed(&fetched, next, &mut self.decompressor, |offset, key, value| {
                        again.push((offset, fingerprint(key, value)));
                        Ok(())
                    })?;
                }
            }
            again.retain(|(offset, _)| *offset < end);
            let before = &self.partitions[partition as usize].read;
            if *before != again {
                let differs = before.iter().zip(&again).find(|(a, b)| a != b);
                let (topic, counts) = (&self.topic, (before.len(), again.len()));
                return wrong(format!("{topic}-{partition}: OUT-2: {counts:?} records to {end}; differs: {differs:?}"));
            }
        }
        Ok(())
    }

    /// Whether no transaction is open, and all records are stable and read.
    pub fn is_at_rest(&self) -> bool {
        self.partitions.iter().all(|at| at.next == at.high_watermark && at.raw_next == at.high_watermark)
    }

    /// The reason why the output is not settled, for a message.
    pub fn unrest(&self) -> String {
        let offsets = self.partitions.iter().map(|at| (at.next, at.last_stable_offset, at.high_watermark));
        format!("{}: read, LSO, HW: {:?}; unended: {:?}", self.topic, offsets.collect::<Vec<_>>(), self.unended)
    }
}

fn wrong(what: String) -> Result<(), Trouble> {
    Err(Trouble::Wrong(what))
}

fn fetch(
    client: &mut Client,
    topic: &str,
    at: &[FetchPosition],
    is_committed: bool,
) -> Result<Vec<Fetched>, ClientError> {
    let options = FetchOptions { max_wait_ms: 10, is_read_committed: is_committed, ..FetchOptions::default() };
    client.fetch(topic, at, options)
}

fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

/// The records from `next` on that a client returns to its user, and the next offset to read.
fn each_committed(
    fetched: &Fetched,
    mut next: i64,
    decompressor: &mut Decompressor,
    mut each: impl FnMut(i64, &[u8], &[u8]) -> Result<(), String>,
) -> Result<i64, String> {
    let mut ahead = fetched.aborted.clone();
    ahead.sort_by_key(|aborted| aborted.first_offset);
    let mut ahead = ahead.into_iter().peekable();
    let mut aborted = HashSet::new();
    for batch in batches(&fetched.records) {
        let Ok(batch) = batch else { break };
        let header: &BatchHeader = &batch.header;
        while let Some(begun) = ahead.next_if(|ahead| ahead.first_offset <= header.last_offset().0) {
            aborted.insert(begun.producer_id);
        }
        if header.last_offset() >= Offset(next) && !header.is_control() && !aborted.contains(&header.producer_id) {
            let records = decompressor.records(header, batch.stored_records()).map_err(|e| e.to_string())?;
            for record in Records::new(header, records) {
                let record = record.map_err(|e| e.to_string())?;
                if record.offset >= Offset(next) {
                    each(record.offset.0, record.key.unwrap_or_default(), record.value.unwrap_or_default())?;
                }
            }
        }
        if Marker::parse(header, batch.stored_records()).is_some_and(|marker| marker.ending == Ending::Abort) {
            aborted.remove(&header.producer_id);
        }
        next = next.max(header.next_offset().0);
    }
    Ok(next)
}
