//! The batches sent to a topic, and a check of the log against them. Each batch follows from its number, so the log is
//! compared byte by byte and the ledger keeps only numbers.
//!
//! [`Ledger::verify`] checks: offsets are contiguous from the log start. Each batch in the log was sent, is equal to
//! its last byte, and occurs once. Each acknowledged batch above the log start is at its acknowledged offset. A batch
//! without a response may or may not be in the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidemill::model::Offset;
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::record::records::Records;
use tidemill::record::walk;
use tidemill::tools::client::admin::NewTopic;
use tidemill::tools::client::fetch::{FetchOptions, FetchPosition};
use tidemill::tools::client::offsets::{EARLIEST, LATEST};
use tidemill::tools::client::produce::{Acks, PartitionBatch};
use tidemill::tools::client::{Client, ClientConfig, ClientError};

/// Deadline of a client call.
pub const CALL_WITHIN: Duration = Duration::from_secs(60);

/// Connects a client to one node.
pub fn connect(bootstrap: &str) -> Client {
    connect_within(bootstrap, CALL_WITHIN)
}

pub fn connect_within(bootstrap: &str, timeout: Duration) -> Client {
    let config = ClientConfig { bootstrap: bootstrap.into(), timeout, ..ClientConfig::default() };
    Client::connect(config).unwrap_or_else(|e| panic!("{bootstrap}: {e}"))
}

/// Creates a topic with the given settings.
pub fn create(client: &mut Client, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let new = NewTopic { name: name.into(), partitions: Some(partitions), replication_factor: None, configs };
    client.create_topic(&new).unwrap_or_else(|e| panic!("{e}"));
}

/// One batch, as the numbers from which its bytes follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    pub number: u64,
    pub records: usize,
    pub record_bytes: usize,
    /// Timestamp of the first record. Each next record is one millisecond later.
    pub timestamp: i64,
}

impl Sent {
    /// Encodes the batch as a producer sends it. The key of the first record is the batch's number.
    pub fn bytes(&self) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let mut value = vec![0; self.record_bytes];
        for record in 0..self.records {
            fill(self.number << 20 | record as u64, &mut value);
            builder.append(self.timestamp + record as i64, Some(&self.number.to_be_bytes()), Some(&value), []);
        }
        builder.finish()
    }
}

/// Incompressible bytes that follow from `seed`.
fn fill(seed: u64, into: &mut [u8]) {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for eight in into.chunks_mut(8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        eight.copy_from_slice(&x.to_le_bytes()[..eight.len()]);
    }
}

/// All batches sent to one topic.
pub struct Ledger {
    pub topic: String,
    pub partitions: Vec<i32>,
    sent: Vec<Sent>,
    /// Acknowledged batches by partition and base offset.
    acknowledged: BTreeMap<(i32, i64), u64>,
}

/// The result of [`Ledger::verify`].
#[derive(Clone, Debug, Default)]
pub struct Verified {
    pub batches: usize,
    pub bytes: u64,
    /// Batches in the log that were never acknowledged.
    pub unacknowledged: usize,
    /// The start offset of each partition's log.
    pub starts: Vec<i64>,
    pub ends: Vec<i64>,
}

impl Ledger {
    /// Creates a topic and its empty ledger.
    pub fn create(client: &mut Client, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Ledger {
        create(client, topic, partitions, configs);
        Ledger::of(topic, partitions)
    }

    pub fn of(topic: &str, partitions: i32) -> Ledger {
        let partitions = (0..partitions).collect();
        Ledger { topic: topic.into(), partitions, sent: Vec::new(), acknowledged: BTreeMap::new() }
    }

    /// Makes the next batch and records it as sent.
    pub fn next(&mut self, records: usize, record_bytes: usize, timestamp: i64) -> Sent {
        let number = self.sent.len() as u64;
        let sent = Sent { number, records, record_bytes, timestamp };
        self.sent.push(sent);
        sent
    }

    pub fn acknowledged(&mut self, partition: i32, base_offset: i64, sent: Sent) {
        let before = self.acknowledged.insert((partition, base_offset), sent.number);
        assert_eq!(before, None, "{}-{partition}: offset {base_offset} was answered twice", self.topic);
    }

    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.len()
    }

    /// Sends one batch and waits for the response.
    pub fn append(
        &mut self,
        client: &mut Client,
        partition: i32,
        records: usize,
        record_bytes: usize,
        timestamp: i64,
    ) -> Result<i64, ClientError> {
        let sent = self.next(records, record_bytes, timestamp);
        let batch = PartitionBatch { partition, batch: sent.bytes() };
        let appended = client.produce(&self.topic, vec![batch], Acks::All, false)?;
        self.acknowledged(partition, appended[0].base_offset, sent);
        Ok(appended[0].base_offset)
    }

    /// Sends `rounds` batches to every partition, one to each per round.
    pub fn fill(&mut self, client: &mut Client, rounds: usize, records: usize, record_bytes: usize, timestamp: i64) {
        for _ in 0..rounds {
            let mut batches = Vec::new();
            let mut sent_now = BTreeMap::new();
            for partition in self.partitions.clone() {
                let sent = self.next(records, record_bytes, timestamp);
                sent_now.insert(partition, sent);
                batches.push(PartitionBatch { partition, batch: sent.bytes() });
            }
            let appended = client.produce(&self.topic, batches, Acks::All, false).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(appended.len(), self.partitions.len());
            for appended in appended {
                self.acknowledged(appended.partition, appended.base_offset, sent_now[&appended.partition]);
            }
        }
    }

    pub fn offsets(&self, client: &mut Client, timestamp: i64) -> Vec<i64> {
        let listed = client.list_offsets(&self.topic, &self.partitions, timestamp).unwrap_or_else(|e| panic!("{e}"));
        listed.iter().map(|listed| listed.offset.unwrap_or(-1)).collect()
    }

    /// Reads the whole log and checks it as described above.
    pub fn verify(&self, client: &mut Client) -> Verified {
        let (starts, ends) = (self.offsets(client, EARLIEST), self.offsets(client, LATEST));
        let mut verified = Verified { starts: starts.clone(), ends: ends.clone(), ..Verified::default() };
        let mut at = starts.clone();
        let mut seen = std::collections::BTreeSet::new();
        let mut moved = Instant::now();
        loop {
            let open = self.partitions.iter().zip(&at).zip(&ends).filter(|((_, at), end)| at < end);
            let positions: Vec<FetchPosition> =
                open.map(|((&partition, &offset), _)| FetchPosition { partition, offset }).collect();
            if positions.is_empty() {
                break;
            }
            let options = FetchOptions { partition_max_bytes: 4 << 20, ..FetchOptions::default() };
            let fetched = client.fetch(&self.topic, &positions, options).unwrap_or_else(|e| panic!("{e}"));
            for part in fetched {
                let next = &mut at[part.partition as usize];
                for batch in walk::batches(&part.records) {
                    let batch = match batch {
                        Ok(batch) => batch,
                        Err(walk::Broken::Torn { .. }) => break,
                        Err(broken) => panic!("{}-{} after {next}: {broken}", self.topic, part.partition),
                    };
                    if batch.header.last_offset() < Offset(*next) {
                        continue;
                    }
                    self.compare(part.partition, &batch, *next, &mut seen, &mut verified);
                    *next = batch.header.next_offset().0;
                    moved = Instant::now();
                }
            }
            assert!(
                moved.elapsed() < CALL_WITHIN,
                "{}: nothing more comes at {positions:?}, ends {ends:?}",
                self.topic
            );
        }
        for (&(partition, offset), number) in &self.acknowledged {
            let is_kept = offset >= starts[partition as usize];
            let is_found = seen.contains(number);
            assert!(
                !is_kept || is_found,
                "{}-{partition}: offset {offset} (batch {number}) was acknowledged and is lost; the log is {}..{}",
                self.topic,
                starts[partition as usize],
                ends[partition as usize]
            );
        }
        verified
    }

    fn compare(
        &self,
        partition: i32,
        batch: &walk::Batch<'_>,
        expected_offset: i64,
        seen: &mut std::collections::BTreeSet<u64>,
        verified: &mut Verified,
    ) {
        let place = format!("{}-{partition}, offset {}", self.topic, batch.header.base_offset);
        assert_eq!(batch.header.base_offset, Offset(expected_offset), "{place}: not contiguous");
        assert!(batch.is_intact(), "{place}: the CRC does not match");
        let first = Records::new(&batch.header, batch.stored_records()).next().expect("no batch of ours is empty");
        let first = first.unwrap_or_else(|e| panic!("{place}: {e}"));
        let number = u64::from_be_bytes(first.key.and_then(|key| key.try_into().ok()).expect("our keys are 8 bytes"));
        let sent = self.sent.get(number as usize).unwrap_or_else(|| panic!("{place}: batch {number} was never sent"));
        let mut original = sent.bytes();
        // The broker sets the base offset and the leader epoch, both outside the CRC.
        original[..8].copy_from_slice(&batch.bytes[..8]);
        original[12..16].copy_from_slice(&batch.bytes[12..16]);
        assert!(original == batch.bytes, "{place}: batch {number} is not what was sent");
        assert!(seen.insert(number), "{place}: batch {number} is there twice");
        match self.acknowledged.get(&(partition, batch.header.base_offset.0)) {
            Some(acknowledged) => assert_eq!(*acknowledged, number, "{place}: another batch was acknowledged here"),
            None => verified.unacknowledged += 1,
        }
        verified.batches += 1;
        verified.bytes += batch.bytes.len() as u64;
    }
}
