//! The messages that describe or change the cluster: topics, settings, ACLs, log directories, and discovery.
//!
//! One file per API. All are declared with `message!`; the invariants are those of [`wire`](crate::wire).

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_log_dirs;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod find_coordinator;
pub mod incremental_alter_configs;
pub mod list_config_resources;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod unregister_broker;
pub mod update_features;
