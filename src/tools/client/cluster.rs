//! The cluster metadata: brokers, topics, and partition leaders.

use super::{Client, ClientError, may_retry};
use crate::model::{ErrorCode, TopicId};
use crate::wire::ApiKey;
use crate::wire::admin::metadata::{
    MetadataPartition, MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataTopic,
};
use std::collections::BTreeMap;

/// The content of the latest Metadata response.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// `None` from brokers before Metadata v2.
    pub cluster_id: Option<String>,
    /// The broker id of the controller; -1 if there is none.
    pub controller_id: i32,
    /// By broker id.
    pub brokers: BTreeMap<i32, BrokerInfo>,
    /// By name.
    pub topics: BTreeMap<String, TopicInfo>,
}

/// One broker as the metadata advertises it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerInfo {
    /// The advertised host name or IP address.
    pub host: String,
    /// The advertised port.
    pub port: i32,
    /// The setting `broker.rack`.
    pub rack: Option<String>,
}

impl BrokerInfo {
    /// `host:port`; an IPv6 host is put in brackets.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// One topic and the leaders of its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicInfo {
    /// The topic's name.
    pub name: String,
    /// Zero from a broker without topic ids.
    pub topic_id: TopicId,
    /// Whether the topic belongs to the cluster itself, such as `__consumer_offsets`.
    pub is_internal: bool,
    /// The index is the partition number.
    pub partitions: Vec<PartitionLeader>,
}

/// One partition: its leader and its replicas, as broker ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionLeader {
    /// The partition number.
    pub partition: i32,
    /// -1 while the partition has no leader.
    pub leader_id: i32,
    /// -1 from brokers before Metadata v7.
    pub leader_epoch: i32,
    /// All replicas; the first is the preferred leader.
    pub replicas: Vec<i32>,
    /// The in-sync replicas.
    pub in_sync: Vec<i32>,
}

impl TopicInfo {
    /// The partition with this number, or [`ClientError::UnknownPartition`].
    pub fn partition(&self, partition: i32) -> Result<&PartitionLeader, ClientError> {
        let found = usize::try_from(partition).ok().and_then(|index| self.partitions.get(index));
        found.ok_or_else(|| ClientError::UnknownPartition {
            topic: self.name.clone(),
            partition,
            partitions: self.partitions.len(),
        })
    }
}

impl Client {
    /// The latest metadata. Empty before the first [`refresh`](Self::refresh) or call that needs metadata.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Requests the metadata of all topics and returns the topics in the order of their names.
    pub fn all_topics(&mut self) -> Result<Vec<TopicInfo>, ClientError> {
        self.refresh(None)?;
        Ok(self.cluster.topics.values().cloned().collect())
    }

    /// A topic with its leaders. Requests metadata unless the cached topic has a leader for every partition.
    ///
    /// Waits for leader elections until the deadline. Returns [`ClientError::UnknownTopic`] at once if the topic does
    /// not exist.
    pub fn topic(&mut self, name: &str) -> Result<&TopicInfo, ClientError> {
        let deadline = self.deadline();
        let has_leaders = |topic: &TopicInfo| topic.partitions.iter().all(|partition| partition.leader_id >= 0);
        while !self.cluster.topics.get(name).is_some_and(has_leaders) {
            self.refresh(Some(name))?;
            if self.cluster.topics.get(name).is_some_and(has_leaders) || !may_retry(deadline) {
                break;
            }
        }
        self.cluster.topics.get(name).ok_or_else(|| ClientError::UnknownTopic { topic: name.to_string() })
    }

    /// As [`topic`](Self::topic), but a broker with `auto.create.topics.enable` creates a missing topic.
    pub fn topic_or_new(&mut self, name: &str) -> Result<&TopicInfo, ClientError> {
        if let Err(error) = self.refresh_allowing(Some(name), true)
            && !matches!(error, ClientError::UnknownTopic { .. })
        {
            return Err(error);
        }
        self.topic(name)
    }

    /// Removes the topic from the cache, so that its next use requests metadata.
    pub(in crate::tools) fn forget_topic(&mut self, name: &str) {
        self.cluster.topics.remove(name);
    }

    /// Requests the metadata of one topic, or of all. A named topic that does not exist is an error.
    pub fn refresh(&mut self, topic: Option<&str>) -> Result<(), ClientError> {
        self.refresh_allowing(topic, false)
    }

    fn refresh_allowing(&mut self, topic: Option<&str>, creation: bool) -> Result<(), ClientError> {
        let version = self.bootstrap.version(ApiKey::Metadata, i16::MAX)?;
        let named = |name: &str| MetadataRequestTopic { name: Some(name.to_string()), ..Default::default() };
        let request = MetadataRequest {
            topics: match topic {
                Some(name) => Some(vec![named(name)]),
                None if version == 0 => Some(Vec::new()),
                None => None,
            },
            // Before Metadata v4 the request has no such field, and the broker may always create the topic.
            allow_auto_topic_creation: creation || version < 4,
            ..Default::default()
        };
        let response: MetadataResponse = match self.bootstrap.call(&request) {
            // The bootstrap broker may be down; every other broker has the same metadata.
            Err(error) if error.is_connection_lost() => {
                self.reconnect(error)?;
                self.bootstrap.call(&request)?
            }
            other => other?,
        };
        ClientError::check(response.error_code, None, || "cannot read the cluster's metadata".into())?;
        self.cluster.cluster_id = response.cluster_id;
        self.cluster.controller_id = response.controller_id;
        self.cluster.brokers = response
            .brokers
            .into_iter()
            .map(|broker| (broker.node_id, BrokerInfo { host: broker.host, port: broker.port, rack: broker.rack }))
            .collect();
        if topic.is_none() {
            self.cluster.topics.clear();
        }
        for received in response.topics {
            let Some(name) = received.name.clone() else { continue };
            self.store_topic(name, received, topic.is_some())?;
        }
        Ok(())
    }

    fn store_topic(&mut self, name: String, received: MetadataTopic, is_named: bool) -> Result<(), ClientError> {
        self.cluster.topics.remove(&name);
        match received.error_code {
            ErrorCode::None | ErrorCode::LeaderNotAvailable => {}
            _ if !is_named => return Ok(()),
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
                return Err(ClientError::UnknownTopic { topic: name });
            }
            code => return ClientError::check(code, None, || format!("cannot use topic {name:?}")),
        }
        let mut partitions: Vec<_> = received.partitions.into_iter().map(partition_leader).collect();
        partitions.sort_by_key(|partition| partition.partition);
        partitions.dedup_by_key(|partition| partition.partition);
        // The index must equal the partition number, so a list with gaps is an incomplete topic and is not cached.
        let is_complete = partitions.iter().zip(0..).all(|(partition, index)| partition.partition == index);
        if !is_complete || partitions.is_empty() {
            return Ok(());
        }
        let (topic_id, is_internal) = (received.topic_id, received.is_internal);
        let info = TopicInfo { name: name.clone(), topic_id, is_internal, partitions };
        self.cluster.topics.insert(name, info);
        Ok(())
    }

    /// Replaces the bootstrap connection with one to any reachable broker. Fails with `error` if there is none.
    fn reconnect(&mut self, error: ClientError) -> Result<(), ClientError> {
        let known = self.cluster.brokers.values().map(|broker| broker.address());
        let bootstrap: Vec<_> = self.config.bootstrap.split(',').map(|address| address.trim().to_string()).collect();
        for address in bootstrap.into_iter().chain(known) {
            if let Ok(connection) = super::Connection::open(&address, &self.config.client_id, self.config.timeout) {
                self.bootstrap = connection;
                return Ok(());
            }
        }
        Err(error)
    }
}

fn partition_leader(received: MetadataPartition) -> PartitionLeader {
    PartitionLeader {
        partition: received.partition_index,
        leader_id: received.leader_id,
        leader_epoch: received.leader_epoch,
        replicas: received.replica_nodes,
        in_sync: received.isr_nodes,
    }
}
