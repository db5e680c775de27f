//! The one table of the APIs this broker speaks: what ApiVersions advertises, what a request header is checked against,
//! and from which version on an API is flexible.

/// A Kafka API, by its number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(i16)]
pub enum ApiKey {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    WriteTxnMarkers = 27,
    TxnOffsetCommit = 28,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    DescribeLogDirs = 35,
    CreatePartitions = 37,
    DeleteGroups = 42,
    IncrementalAlterConfigs = 44,
    OffsetDelete = 47,
    DescribeCluster = 60,
    DescribeProducers = 61,
    DescribeTransactions = 65,
    ListTransactions = 66,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
}

/// One row: an API and its versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Api {
    pub key: ApiKey,
    pub name: &'static str,
    /// The lowest version that ApiVersions names.
    pub min: i16,
    /// The lowest version that is really served; above `min` for Produce alone.
    pub served_from: i16,
    pub max: i16,
    /// From here on strings, arrays and headers are compact and tagged (KIP-482).
    pub flexible_from: i16,
}

/// Of an API without flexible versions.
const NEVER: i16 = i16::MAX;

const fn api(key: ApiKey, name: &'static str, min: i16, max: i16, flexible_from: i16) -> Api {
    Api { key, name, min, served_from: min, max, flexible_from }
}

/// What Apache Kafka 4.3 advertises for these keys, in their order.
pub const API_TABLE: &[Api] = &[
    // Versions 0-2 are advertised and refused: librdkafka takes a higher minimum as "no compression here" (KAFKA-18659).
    Api { served_from: 3, ..api(ApiKey::Produce, "Produce", 0, 13, 9) },
    api(ApiKey::Fetch, "Fetch", 4, 18, 12),
    api(ApiKey::ListOffsets, "ListOffsets", 1, 11, 6),
    api(ApiKey::Metadata, "Metadata", 0, 13, 9),
    api(ApiKey::OffsetCommit, "OffsetCommit", 2, 10, 8),
    api(ApiKey::OffsetFetch, "OffsetFetch", 1, 10, 6),
    api(ApiKey::FindCoordinator, "FindCoordinator", 0, 6, 3),
    api(ApiKey::JoinGroup, "JoinGroup", 0, 9, 6),
    api(ApiKey::Heartbeat, "Heartbeat", 0, 4, 4),
    api(ApiKey::LeaveGroup, "LeaveGroup", 0, 5, 4),
    api(ApiKey::SyncGroup, "SyncGroup", 0, 5, 4),
    api(ApiKey::DescribeGroups, "DescribeGroups", 0, 6, 5),
    api(ApiKey::ListGroups, "ListGroups", 0, 5, 3),
    api(ApiKey::ApiVersions, "ApiVersions", 0, 4, 3),
    api(ApiKey::CreateTopics, "CreateTopics", 2, 7, 5),
    api(ApiKey::DeleteTopics, "DeleteTopics", 1, 6, 4),
    api(ApiKey::DeleteRecords, "DeleteRecords", 0, 2, 2),
    api(ApiKey::InitProducerId, "InitProducerId", 0, 5, 2),
    api(ApiKey::OffsetForLeaderEpoch, "OffsetForLeaderEpoch", 2, 4, 4),
    api(ApiKey::AddPartitionsToTxn, "AddPartitionsToTxn", 0, 5, 3),
    api(ApiKey::AddOffsetsToTxn, "AddOffsetsToTxn", 0, 4, 3),
    api(ApiKey::EndTxn, "EndTxn", 0, 5, 3),
    api(ApiKey::WriteTxnMarkers, "WriteTxnMarkers", 1, 2, 1),
    api(ApiKey::TxnOffsetCommit, "TxnOffsetCommit", 0, 5, 3),
    api(ApiKey::DescribeAcls, "DescribeAcls", 1, 3, 2),
    api(ApiKey::CreateAcls, "CreateAcls", 1, 3, 2),
    api(ApiKey::DeleteAcls, "DeleteAcls", 1, 3, 2),
    api(ApiKey::DescribeConfigs, "DescribeConfigs", 1, 4, 4),
    api(ApiKey::AlterConfigs, "AlterConfigs", 0, 2, 2),
    api(ApiKey::DescribeLogDirs, "DescribeLogDirs", 1, 5, 2),
    api(ApiKey::CreatePartitions, "CreatePartitions", 0, 3, 2),
    api(ApiKey::DeleteGroups, "DeleteGroups", 0, 2, 2),
    api(ApiKey::IncrementalAlterConfigs, "IncrementalAlterConfigs", 0, 1, 1),
    api(ApiKey::OffsetDelete, "OffsetDelete", 0, 0, NEVER),
    api(ApiKey::DescribeCluster, "DescribeCluster", 0, 2, 0),
    api(ApiKey::DescribeProducers, "DescribeProducers", 0, 0, 0),
    api(ApiKey::DescribeTransactions, "DescribeTransactions", 0, 0, 0),
    api(ApiKey::ListTransactions, "ListTransactions", 0, 2, 0),
    api(ApiKey::ConsumerGroupHeartbeat, "ConsumerGroupHeartbeat", 0, 1, 0),
    api(ApiKey::ConsumerGroupDescribe, "ConsumerGroupDescribe", 0, 1, 0),
    api(ApiKey::ListConfigResources, "ListConfigResources", 0, 1, 0),
    api(ApiKey::DescribeTopicPartitions, "DescribeTopicPartitions", 0, 0, 0),
];

impl ApiKey {
    pub fn from_code(code: i16) -> Option<ApiKey> {
        API_TABLE.iter().map(|api| api.key).find(|key| key.code() == code)
    }

    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn api(self) -> &'static Api {
        API_TABLE.iter().find(|api| api.key == self).expect("every key has its row")
    }
}

impl Api {
    pub fn serves(&self, version: i16) -> bool {
        (self.served_from..=self.max).contains(&version)
    }

    #[inline]
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Whether an answer's header has a tag section. ApiVersions' never has: a client reads that answer before it knows
    /// what the broker speaks.
    pub fn response_header_is_flexible(&self, version: i16) -> bool {
        self.is_flexible(version) && self.key != ApiKey::ApiVersions
    }
}
