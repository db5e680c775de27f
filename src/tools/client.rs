//! A small blocking Kafka client: one connection per broker, versions negotiated per connection, leaders looked up and
//! looked up again when they move.
//!
//! Owns: sockets, the cluster's metadata as last told, and a producer's identity. In: topics, batches, offsets. Out:
//! typed answers, or a [`ClientError`] that carries its evidence and knows what a person should try next.
//!
//! ```text
//! Client ── Connection per broker ── call(request) -> answer
//!    ├ cluster.rs   metadata: brokers, topics, leaders        ├ fetch.rs     positions -> batches
//!    ├ produce.rs   batches -> offsets, retried while a       ├ offsets.rs   timestamp -> offset
//!    │              leader moves, idempotent if asked         ├ admin.rs     create, delete, configs
//!    └ groups.rs    a group's coordinator -> members, offsets
//! ```
//!
//! Does not know: arguments, terminals, record contents. A request is sent again only where that cannot append a record
//! twice: after a broker's own answer, or under idempotence.

pub mod admin;
pub mod cluster;
pub mod connection;
mod delete_records;
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

/// How a client reaches a cluster.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port`, several with commas; the first that answers is used.
    pub bootstrap: String,
    pub client_id: String,
    /// For each call, retries included.
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
    /// The broker that answered first; asked for metadata.
    bootstrap: Connection,
    /// By broker id, opened when first needed.
    brokers: BTreeMap<i32, Connection>,
    cluster: Cluster,
}

/// Between two attempts while a leader is being elected or a topic spreads.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl Client {
    /// Connects to the first bootstrap address that answers.
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

    /// The connection to the broker that answered first.
    pub fn bootstrap(&mut self) -> &mut Connection {
        &mut self.bootstrap
    }

    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    /// The connection to a broker, opened if there is none.
    pub fn broker(&mut self, broker_id: i32) -> Result<&mut Connection, ClientError> {
        if !self.brokers.contains_key(&broker_id) {
            let broker = self.cluster.brokers.get(&broker_id).ok_or(ClientError::UnknownBroker { broker_id })?;
            let connection = Connection::open(&broker.address(), &self.config.client_id, self.config.timeout)
                .map_err(|error| error.advertised_by(self.bootstrap.address()))?;
            self.brokers.insert(broker_id, connection);
        }
        Ok(self.brokers.get_mut(&broker_id).expect("it was just put there"))
    }

    /// Forgets a connection that failed, so that the next use opens another.
    fn drop_broker(&mut self, broker_id: i32) {
        self.brokers.remove(&broker_id);
    }
}

/// Sleeps between two attempts. False, without sleeping, once the deadline leaves no room for another.
fn may_retry(deadline: Instant) -> bool {
    let may = Instant::now() + RETRY_PAUSE < deadline;
    if may {
        std::thread::sleep(RETRY_PAUSE);
    }
    may
}
