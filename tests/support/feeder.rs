//! A thread that writes to a topic while a test disturbs its readers and the node.
//!
//! The writer is not idempotent and never retries a batch. The log defines which records were written, each by its
//! partition and offset. tests/crash/kill_9.rs checks that the log keeps acknowledged records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::chance::Chance;
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::tools::client::produce::{Acks, PartitionBatch};
use tidemill::tools::client::{Client, ClientConfig, ClientError};

/// Keys are `k0`, `k1`, ... up to this.
pub const KEYS: u64 = 24;
const RECORDS_A_BATCH: u64 = 12;
const PAUSE: Duration = Duration::from_millis(30);
/// Deadline of a call; the node may be down.
const CALL_WITHIN: Duration = Duration::from_secs(5);

/// A client with short timeouts, for a node that is killed from time to time.
pub fn impatient(bootstrap: &str) -> Result<Client, ClientError> {
    let config = ClientConfig { bootstrap: bootstrap.into(), timeout: CALL_WITHIN, ..ClientConfig::default() };
    Client::connect(config)
}

pub struct Feeder {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Feeder {
    /// Writes a batch to `at_once` partitions, pauses, and continues with other partitions until it is stopped.
    pub fn start(bootstrap: &str, topic: &'static str, partitions: i32, at_once: usize, mut chance: Chance) -> Feeder {
        let is_over = Arc::new(AtomicBool::new(false));
        let (bootstrap, over) = (bootstrap.to_string(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let mut client = None;
            while !over.load(Ordering::Relaxed) {
                let first = chance.below(partitions as u64) as i32;
                let chosen = (first..first + at_once as i32).map(|partition| partition % partitions);
                let batches = chosen.map(|partition| PartitionBatch { partition, batch: batch(&mut chance) }).collect();
                if client.is_none() {
                    client = impatient(&bootstrap).ok();
                }
                // A batch that failed because the node died may or may not be in the log.
                let sent = client.as_mut().map(|client| client.produce(topic, batches, Acks::All, false));
                if !matches!(sent, Some(Ok(_))) {
                    client = None;
                }
                std::thread::sleep(PAUSE);
            }
        });
        Feeder { is_over, thread }
    }

    pub fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the feeder has not panicked");
    }
}

fn batch(chance: &mut Chance) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..1 + chance.below(RECORDS_A_BATCH) {
        let key = format!("k{}", chance.below(KEYS));
        let mut value = format!("{:x}", chance.next());
        value.extend(std::iter::repeat_n('|', chance.below(200) as usize));
        builder.append(now, Some(key.as_bytes()), Some(value.as_bytes()), []);
    }
    builder.finish()
}
