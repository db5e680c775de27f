//! The cluster as its metadata tells it: brokers, topics, who leads what.

use super::{Client, ClientError, may_retry};
use crate::model::{ErrorCode, TopicId};
use crate::wire::ApiKey;
use crate::wire::admin::metadata::{
    MetadataPartition, MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataTopic,
};
use std::collections::BTreeMap;

/// What is known of the cluster, as of the last question.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub cluster_id: Option<String>,
    pub controller_id: i32,
    pub brokers: BTreeMap<i32, BrokerInfo>,
    pub topics: BTreeMap<String, TopicInfo>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerInfo {
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

impl BrokerInfo {
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicInfo {
    pub name: String,
    /// Zero from a broker without topic ids.
    pub topic_id: TopicId,
    pub is_internal: bool,
    /// By partition, from 0 without gaps.
    pub partitions: Vec<PartitionLeader>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionLeader {
    pub partition: i32,
    /// -1 while there is none.
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

impl TopicInfo {
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
    /// The cluster as last told. Empty before the first [`refresh`](Self::refresh) or call that needs it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Asks for the brokers and all topics.
    pub fn all_topics(&mut self) -> Result<Vec<TopicInfo>, ClientError> {
        self.refresh(None)?;
        Ok(self.cluster.topics.values().cloned().collect())
    }

    /// A topic with its leaders: from memory if it is known and has them all, else asked for until it is complete.
    /// Waits for leaders that are being elected, but not for a topic that does not exist.
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

    /// As [`topic`](Self::topic), but lets the broker make a topic that does not exist, if it is set to do so.
    pub fn topic_or_new(&mut self, name: &str) -> Result<&TopicInfo, ClientError> {
        if let Err(error) = self.refresh_allowing(Some(name), true)
            && !matches!(error, ClientError::UnknownTopic { .. })
        {
            return Err(error);
        }
        self.topic(name)
    }

    /// Makes the next use of the topic ask for its leaders again.
    pub(super) fn forget_topic(&mut self, name: &str) {
        self.cluster.topics.remove(name);
    }

    /// Asks for metadata of one topic, or of all. A topic that does not exist is an error if it was asked for.
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
            // Older brokers create what is asked for whatever we say.
            allow_auto_topic_creation: creation || version < 4,
            ..Default::default()
        };
        let answer: MetadataResponse = match self.bootstrap.call(&request) {
            // The bootstrap broker may have gone; the others know as much.
            Err(error) if error.is_connection_lost() => {
                self.reconnect(error)?;
                self.bootstrap.call(&request)?
            }
            other => other?,
        };
        ClientError::check(answer.error_code, None, || "cannot read the cluster's metadata".into())?;
        self.cluster.cluster_id = answer.cluster_id;
        self.cluster.controller_id = answer.controller_id;
        self.cluster.brokers = answer
            .brokers
            .into_iter()
            .map(|broker| (broker.node_id, BrokerInfo { host: broker.host, port: broker.port, rack: broker.rack }))
            .collect();
        if topic.is_none() {
            self.cluster.topics.clear();
        }
        for told in answer.topics {
            let Some(name) = told.name.clone() else { continue };
            self.take_topic(name, told, topic.is_some())?;
        }
        Ok(())
    }

    fn take_topic(&mut self, name: String, told: MetadataTopic, was_asked_for: bool) -> Result<(), ClientError> {
        self.cluster.topics.remove(&name);
        match told.error_code {
            ErrorCode::None | ErrorCode::LeaderNotAvailable => {}
            _ if !was_asked_for => return Ok(()),
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
                return Err(ClientError::UnknownTopic { topic: name });
            }
            code => return ClientError::check(code, None, || format!("cannot use topic {name:?}")),
        }
        let mut partitions: Vec<_> = told.partitions.into_iter().map(partition_leader).collect();
        partitions.sort_by_key(|partition| partition.partition);
        // Positions are partition numbers everywhere here; an answer with gaps is an answer of half a topic.
        partitions.dedup_by_key(|partition| partition.partition);
        let is_whole = partitions.iter().zip(0..).all(|(partition, index)| partition.partition == index);
        if !is_whole || partitions.is_empty() {
            return Ok(());
        }
        let info = TopicInfo { name: name.clone(), topic_id: told.topic_id, is_internal: told.is_internal, partitions };
        self.cluster.topics.insert(name, info);
        Ok(())
    }

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

fn partition_leader(told: MetadataPartition) -> PartitionLeader {
    PartitionLeader {
        partition: told.partition_index,
        leader_id: told.leader_id,
        leader_epoch: told.leader_epoch,
        replicas: told.replica_nodes,
        in_sync: told.isr_nodes,
    }
}
