//! A small blocking Kafka client: one connection per broker, versions negotiated per connection. It looks up partition
//! leaders, and looks them up again when they move.
//!
//! - Owns: sockets, the latest cluster metadata, and a producer's identity.
//! - Inputs: topics, batches, offsets. Outputs: typed responses, or a [`ClientError`] with its evidence and a hint for
//!   the user.
//! - Invariant: a request is retried only where the retry cannot append a record twice: after the broker has responded
//!   with an error, or with an idempotent producer.
//! - Does not know: arguments, terminals, record contents.
//! - Runs on the caller's thread and blocks it.
//!
//! ```text
//! Client ── Connection per broker ── call(request) -> response
//!    ├ cluster.rs   metadata: brokers, topics, leaders        ├ fetch.rs     positions -> batches
//!    ├ produce.rs   batches -> offsets, retried while a       ├ offsets.rs   timestamp -> offset
//!    │              leader moves, idempotent on request       ├ admin.rs     create, delete, configs
//!    ├ leaders.rs   one request per leader, with retries      ├ delete_records.rs
//!    └ groups.rs    a group's coordinator -> members,    └ describe.rs  features, quorum, log directories
//!                   offsets
//! ```

pub mod admin;
pub mod cluster;
pub mod connection;
mod delete_records;
mod describe;
mod error;
pub mod fetch;
pub mod groups;
mod leaders;
pub mod offsets;
pub mod partitioner;
pub mod produce;

#[cfg(test)]
mod tests;

pub use cluster::{Cluster, PartitionLeader, TopicInfo};
pub use connection::Connection;
pub use error::ClientError;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The parameters of a client's connection to a cluster.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port`, or several separated by commas. The client uses the first that accepts a connection.
    pub bootstrap: String,
    /// The client id in every request header.
    pub client_id: String,
    /// The limit for each call, retries included.
    pub timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            bootstrap: "127.0.0.1:9092".into(),
            client_id: "tidemill-cli".into(),
            timeout: Duration::from_secs(30),
        }
    }
}

/// A client of one cluster.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    /// The connection to the first reachable bootstrap broker. Metadata requests use it.
    bootstrap: Connection,
    /// By broker id. A connection is opened on first use.
    brokers: BTreeMap<i32, Connection>,
    cluster: Cluster,
}

/// The pause between two attempts while a leader election or a topic creation completes.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl Client {
    /// Connects to the first reachable bootstrap address. Fails with the error of the last address.
    pub fn connect(config: ClientConfig) -> Result<Client, ClientError> {
        let mut last = ClientError::NoBootstrap { bootstrap: config.bootstrap.clone() };
        for address in config.bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match Connection::open(address, &config.client_id, config.timeout) {
                Ok(bootstrap) => {
                    return Ok(Client { config, bootstrap, brokers: BTreeMap::new(), cluster: Cluster::default() });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The connection to the first reachable bootstrap broker.
    pub fn bootstrap(&mut self) -> &mut Connection {
        &mut self.bootstrap
    }

    /// The configuration that this client was created with.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    /// The timeout in milliseconds, as request fields carry it.
    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.config.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// The connection to a broker; opens it on first use. The broker must be in the cluster metadata.
    pub fn broker(&mut self, broker_id: i32) -> Result<&mut Connection, ClientError> {
        if !self.brokers.contains_key(&broker_id) {
            let broker = self.cluster.brokers.get(&broker_id).ok_or(ClientError::UnknownBroker { broker_id })?;
            let connection = Connection::open(&broker.address(), &self.config.client_id, self.config.timeout)
                .map_err(|error| error.advertised_by(self.bootstrap.address()))?;
            self.brokers.insert(broker_id, connection);
        }
        Ok(self.brokers.get_mut(&broker_id).expect("the connection was just inserted"))
    }

    /// Drops a failed connection. The next use opens a new one.
    fn drop_broker(&mut self, broker_id: i32) {
        self.brokers.remove(&broker_id);
    }
}

/// Sleeps for [`RETRY_PAUSE`] and returns true. Returns false at once if the deadline is too close for a retry.
fn may_retry(deadline: Instant) -> bool {
    let has_time = Instant::now() + RETRY_PAUSE < deadline;
    if has_time {
        std::thread::sleep(RETRY_PAUSE);
    }
    has_time
}
