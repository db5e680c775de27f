//! AlterConfigs (key 33), versions 0 to 2: replaces all settings of a resource: a setting that the request
//! omits returns to its default.

use crate::model::ErrorCode;

message! {
    request AlterConfigsRequest of AlterConfigs {
        resources: Vec<AlterConfigsResource>, 0+;
        /// True: check the change without making it.
        validate_only: bool, 0+;
    }

    /// One resource and all its overrides.
    part AlterConfigsResource {
        /// 2: topic. 4: broker.
        resource_type: i8, 0+;
        resource_name: String, 0+;
        /// Replaces all overrides of the resource.
        configs: Vec<AlterableConfig>, 0+;
    }

    /// One override.
    part AlterableConfig {
        name: String, 0+;
        /// Null is rejected.
        value: Option<String>, 0+;
    }

    response AlterConfigsResponse of AlterConfigs {
        throttle_time_ms: i32, 0+;
        responses: Vec<AlterConfigsResourceResponse>, 0+;
    }

    /// The result for one resource, also in IncrementalAlterConfigs.
    part AlterConfigsResourceResponse {
        error_code: ErrorCode, 0+;
        /// Null or empty without an error.
        error_message: Option<String>, 0+;
        resource_type: i8, 0+;
        resource_name: String, 0+;
    }
}
