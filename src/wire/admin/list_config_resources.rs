//! ListConfigResources (key 74), versions 0 and 1: the resources that have their own configs (KIP-1142). Version 0
//! was ListClientMetricsResources.

use crate::model::ErrorCode;

/// As `resource_type`: the loggers of a broker. This broker has configs for none of the types here;
/// [`describe_configs`](super::describe_configs) declares the types that have some.
pub const RESOURCE_BROKER_LOGGER: i8 = 8;
/// As `resource_type`: a subscription to metrics of clients (KIP-714).
pub const RESOURCE_CLIENT_METRICS: i8 = 16;
/// As `resource_type`: a group (KIP-848).
pub const RESOURCE_GROUP: i8 = 32;

message! {
    request ListConfigResourcesRequest of ListConfigResources {
        /// Empty: all types.
        resource_types: Vec<i8>, 1+;
    }

    response ListConfigResourcesResponse of ListConfigResources {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        config_resources: Vec<ConfigResource>, 0+;
    }

    /// One resource that has its own configs.
    part ConfigResource {
        resource_name: String, 0+;
        resource_type: i8, 1+, default = RESOURCE_CLIENT_METRICS, ignorable = true;
    }
}
