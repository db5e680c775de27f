//! The table of the APIs that this broker serves. ApiVersions advertises it, and a request header is checked against
//! it.

/// Calls `$callback!` once, with one row for each API in the order of [`API_TABLE`].
///
/// ```text
/// kind key = number (versions, flexible from) room::module::{Request, Response};
/// ```
///
/// `kind` is `declared` for a pair of owned messages from [`message!`](crate::wire), which implement
/// [`Message`](crate::wire::Message), and `hand_written` for a pair that borrows from the frame. This list drives
/// [`ApiKey`], [`API_TABLE`] and every test that visits all messages, so a new API is covered by adding its row.
#[macro_export]
macro_rules! for_each_message {
    ($callback:ident) => {
        $callback! {
            // Versions 0-2 are advertised and rejected: librdkafka takes a higher minimum as "no compression here"
            // (KAFKA-18659).
            hand_written Produce = 0 (3-13, advertised from 0, flexible 9+)
                data::produce::{ProduceRequest, ProduceResponse};
            hand_written Fetch = 1 (4-18, flexible 12+) data::fetch::{FetchRequest, FetchResponse};
            declared ListOffsets = 2 (1-11, flexible 6+) data::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
            declared Metadata = 3 (0-13, flexible 9+) admin::metadata::{MetadataRequest, MetadataResponse};
            declared OffsetCommit = 8 (2-10, flexible 8+)
                group::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
            declared OffsetFetch = 9 (1-10, flexible 6+) group::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
            declared FindCoordinator = 10 (0-6, flexible 3+)
                admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
            declared JoinGroup = 11 (0-9, flexible 6+) group::join_group::{JoinGroupRequest, JoinGroupResponse};
            declared Heartbeat = 12 (0-4, flexible 4+) group::heartbeat::{HeartbeatRequest, HeartbeatResponse};
            declared LeaveGroup = 13 (0-5, flexible 4+) group::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
            declared SyncGroup = 14 (0-5, flexible 4+) group::sync_group::{SyncGroupRequest, SyncGroupResponse};
            declared DescribeGroups = 15 (0-6, flexible 5+)
                group::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
            declared ListGroups = 16 (0-5, flexible 3+) group::list_groups::{ListGroupsRequest, ListGroupsResponse};
            declared ApiVersions = 18 (0-5, flexible 3+) admin::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
            declared CreateTopics = 19 (2-7, flexible 5+)
                admin::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
            declared DeleteTopics = 20 (1-6, flexible 4+)
                admin::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
            declared DeleteRecords = 21 (0-2, flexible 2+)
                data::delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
            declared InitProducerId = 22 (0-5, flexible 2+)
                txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
            declared OffsetForLeaderEpoch = 23 (2-4, flexible 4+)
                data::offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
            declared AddPartitionsToTxn = 24 (0-5, flexible 3+)
                txn::add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
            declared AddOffsetsToTxn = 25 (0-4, flexible 3+)
                txn::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
            declared EndTxn = 26 (0-5, flexible 3+) txn::end_txn::{EndTxnRequest, EndTxnResponse};
            declared WriteTxnMarkers = 27 (1-2, flexible 1+)
                txn::write_txn_markers::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
            declared TxnOffsetCommit = 28 (0-6, flexible 3+)
                group::txn_offset_commit::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
            declared DescribeAcls = 29 (1-3, flexible 2+)
                admin::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
            declared CreateAcls = 30 (1-3, flexible 2+) admin::create_acls::{CreateAclsRequest, CreateAclsResponse};
            declared DeleteAcls = 31 (1-3, flexible 2+) admin::delete_acls::{DeleteAclsRequest, DeleteAclsResponse};
            declared DescribeConfigs = 32 (1-4, flexible 4+)
                admin::describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
            declared AlterConfigs = 33 (0-2, flexible 2+)
                admin::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
            declared AlterReplicaLogDirs = 34 (1-2, flexible 2+)
                admin::alter_replica_log_dirs::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
            declared DescribeLogDirs = 35 (1-5, flexible 2+)
                admin::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
            declared CreatePartitions = 37 (0-3, flexible 2+)
                admin::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
            declared DeleteGroups = 42 (0-3, flexible 2+)
                group::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
            declared ElectLeaders = 43 (0-2, flexible 2+)
                admin::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
            declared IncrementalAlterConfigs = 44 (0-1, flexible 1+)
                admin::incremental_alter_configs::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
            declared AlterPartitionReassignments = 45 (0-1, flexible 0+)
                admin::alter_partition_reassignments::{
                    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse
                };
            declared ListPartitionReassignments = 46 (0-0, flexible 0+)
                admin::list_partition_reassignments::{
                    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse
                };
            declared OffsetDelete = 47 (0-0) group::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
            declared DescribeQuorum = 55 (0-2, flexible 0+)
                admin::describe_quorum::{DescribeQuorumRequest, DescribeQuorumResponse};
            declared UpdateFeatures = 57 (0-2, flexible 0+)
                admin::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};
            declared DescribeCluster = 60 (0-2, flexible 0+)
                admin::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
            declared DescribeProducers = 61 (0-0, flexible 0+)
                txn::describe_producers::{DescribeProducersRequest, DescribeProducersResponse};
            declared UnregisterBroker = 64 (0-0, flexible 0+)
                admin::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
            declared DescribeTransactions = 65 (0-0, flexible 0+)
                txn::describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
            declared ListTransactions = 66 (0-2, flexible 0+)
                txn::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
            declared ConsumerGroupHeartbeat = 68 (0-1, flexible 0+)
                group::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
            declared ConsumerGroupDescribe = 69 (0-1, flexible 0+)
                group::consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
            declared ListConfigResources = 74 (0-1, flexible 0+)
                admin::list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};
            declared DescribeTopicPartitions = 75 (0-0, flexible 0+)
                admin::describe_topic_partitions::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
        }
    };
}

macro_rules! api_table {
    ($(
        $kind:ident $key:ident = $code:literal
        ($served_from:literal - $max:literal $(, advertised from $min:literal)? $(, flexible $flexible_from:literal +)?)
        $room:ident::$module:ident::{$request:ident, $response:ident};
    )*) => {
        /// A Kafka API, by its number on the wire.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", $code, ", served at versions ", $served_from, " to ", $max, ".")]
                $key = $code,
            )*
        }

        /// The versions that Apache Kafka 4.4 advertises for these keys, in its order.
        pub const API_TABLE: &[Api] = &[$(Api {
            key: ApiKey::$key,
            name: stringify!($key),
            min: crate::wire::message_or!($($min)? ; $served_from),
            served_from: $served_from,
            max: $max,
            flexible_from: crate::wire::message_or!($($flexible_from)? ; NEVER),
        }),*];
    };
}

for_each_message!(api_table);

/// One row: an API and its versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Api {
    /// The number of the API.
    pub key: ApiKey,
    /// Kafka's name of the API.
    pub name: &'static str,
    /// The lowest version that ApiVersions names.
    pub min: i16,
    /// The lowest version that is served; above `min` for Produce alone.
    pub served_from: i16,
    /// The highest version that is served.
    pub max: i16,
    /// From here on strings, arrays and headers are compact and tagged (KIP-482).
    pub flexible_from: i16,
}

/// `flexible_from` of an API without flexible versions.
const NEVER: i16 = i16::MAX;

impl ApiKey {
    /// The API with this number, if it is served.
    pub fn from_code(code: i16) -> Option<ApiKey> {
        API_TABLE.iter().map(|api| api.key).find(|key| key.code() == code)
    }

    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The row of this API.
    pub fn api(self) -> &'static Api {
        API_TABLE.iter().find(|api| api.key == self).expect("every key has its row")
    }
}

impl Api {
    /// Whether requests of this version are served.
    pub fn serves(&self, version: i16) -> bool {
        (self.served_from..=self.max).contains(&version)
    }

    /// Whether this version has compact lengths and tagged fields (KIP-482).
    #[inline]
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Whether a response header has a tag section. The ApiVersions response never has one, because a client reads it
    /// before it knows the versions of the broker.
    pub fn response_header_is_flexible(&self, version: i16) -> bool {
        self.is_flexible(version) && self.key != ApiKey::ApiVersions
    }
}
