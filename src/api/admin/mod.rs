//! Requests about the cluster's metadata: brokers, topics, configurations, ACLs.
//!
//! A handler is a pure function of the request and a `context::Context`. Requests that change metadata run on the
//! controller's shard (`change`).

pub(crate) mod acls;
mod alter_broker_configs;
pub(crate) mod alter_configs;
pub(crate) mod alter_partition_reassignments;
pub(crate) mod alter_replica_log_dirs;
pub(crate) mod api_versions;
pub(crate) mod change;
mod config_levels;
pub(crate) mod context;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_quorum;
pub(crate) mod describe_topic_partitions;
pub(crate) mod elect_leaders;
pub(crate) mod features;
pub(crate) mod find_coordinator;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod incremental_alter_configs;
pub(crate) mod list_config_resources;
pub(crate) mod list_partition_reassignments;
pub(crate) mod metadata;
pub(crate) mod refusal;
pub(crate) mod replicas;
pub(crate) mod unregister_broker;
pub(crate) mod update_features;
