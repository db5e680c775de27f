//! AlterConfigs (key 33), versions 0 to 2: replaces all settings of a resource: a setting that the request
//! omits returns to its default.

use crate::model::ErrorCode;

message! {
    request AlterConfigsRequest of AlterConfigs {
        resources: Vec<AlterConfigsResource>, 0+;
        validate_only: bool, 0+;
    }

    part AlterConfigsResource {
        resource_type: i8, 0+;
        resource_name: String, 0+;
        configs: Vec<AlterableConfig>, 0+;
    }

    part AlterableConfig {
        name: String, 0+;
        value: Option<String>, 0+;
    }

    response AlterConfigsResponse of AlterConfigs {
        throttle_time_ms: i32, 0+;
        responses: Vec<AlterConfigsResourceResponse>, 0+;
    }

    part AlterConfigsResourceResponse {
        error_code: ErrorCode, 0+;
        error_message: Option<String>, 0+;
        resource_type: i8, 0+;
        resource_name: String, 0+;
    }
}
