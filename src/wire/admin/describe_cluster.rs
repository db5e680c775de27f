//! DescribeCluster (key 60), versions 0 to 2: the brokers, and the id of the controller (KIP-700).

use super::metadata::OPERATIONS_NOT_ASKED;
use crate::model::ErrorCode;

/// As `endpoint_type`: the brokers.
pub const ENDPOINT_BROKERS: i8 = 1;
/// As `endpoint_type`: the controllers (KIP-919).
pub const ENDPOINT_CONTROLLERS: i8 = 2;

message! {
    request DescribeClusterRequest of DescribeCluster {
        include_cluster_authorized_operations: bool, 0+;
        /// The kind of addresses to return (KIP-919).
        endpoint_type: i8, 1+, default = ENDPOINT_BROKERS;
        /// True: `brokers` includes fenced ones (KIP-1073).
        include_fenced_brokers: bool, 2+;
    }

    response DescribeClusterResponse of DescribeCluster {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        /// Null or empty without an error.
        error_message: Option<String>, 0+;
        endpoint_type: i8, 1+, default = ENDPOINT_BROKERS;
        cluster_id: String, 0+;
        /// -1: unknown.
        controller_id: i32, 0+, default = -1;
        brokers: Vec<DescribeClusterBroker>, 0+;
        /// One bit for each permitted ACL operation.
        cluster_authorized_operations: i32, 0+, default = OPERATIONS_NOT_ASKED;
    }

    /// One broker and its address for this listener.
    part DescribeClusterBroker {
        broker_id: i32, 0+;
        host: String, 0+;
        port: i32, 0+;
        /// Null if the broker has none.
        rack: Option<String>, 0+;
        /// True if the controller has fenced the broker: it leads no partition.
        is_fenced: bool, 2+;
    }
}
