//! ListConfigResources (key 74), versions 0 and 1: the resources that have their own configs (KIP-1142). Version 0
//! was ListClientMetricsResources.

use crate::model::ErrorCode;

/// The values of `resource_type` without configs on this broker; DescribeConfigs declares those with configs.
pub const RESOURCE_BROKER_LOGGER: i8 = 8;
pub const RESOURCE_CLIENT_METRICS: i8 = 16;
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

    part ConfigResource {
        resource_name: String, 0+;
        resource_type: i8, 1+, default = RESOURCE_CLIENT_METRICS, ignorable = true;
    }
}
