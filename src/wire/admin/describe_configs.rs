//! DescribeConfigs (key 32), versions 1 to 4.

use crate::model::ErrorCode;

/// The values of `resource_type` that this broker has configs for.
pub const RESOURCE_TOPIC: i8 = 2;
pub const RESOURCE_BROKER: i8 = 4;

/// The values of `config_source`.
pub const SOURCE_DYNAMIC_TOPIC: i8 = 1;
pub const SOURCE_DYNAMIC_BROKER: i8 = 2;
pub const SOURCE_STATIC_BROKER: i8 = 4;
pub const SOURCE_DEFAULT: i8 = 5;

/// The values of `config_type`.
pub const TYPE_BOOLEAN: i8 = 1;
pub const TYPE_STRING: i8 = 2;
pub const TYPE_INT: i8 = 3;
pub const TYPE_SHORT: i8 = 4;
pub const TYPE_LONG: i8 = 5;
pub const TYPE_DOUBLE: i8 = 6;
pub const TYPE_LIST: i8 = 7;

message! {
    request DescribeConfigsRequest of DescribeConfigs {
        resources: Vec<DescribeConfigsResource>, 1+;
        include_synonyms: bool, 1+;
        include_documentation: bool, 3+;
    }

    part DescribeConfigsResource {
        resource_type: i8, 1+;
        resource_name: String, 1+;
        /// Null: all keys.
        configuration_keys: Option<Vec<String>>, 1+;
    }

    response DescribeConfigsResponse of DescribeConfigs {
        throttle_time_ms: i32, 1+;
        results: Vec<DescribeConfigsResult>, 1+;
    }

    part DescribeConfigsResult {
        error_code: ErrorCode, 1+;
        error_message: Option<String>, 1+;
        resource_type: i8, 1+;
        resource_name: String, 1+;
        configs: Vec<DescribeConfigsEntry>, 1+;
    }

    part DescribeConfigsEntry {
        name: String, 1+;
        /// Null for a sensitive value.
        value: Option<String>, 1+;
        read_only: bool, 1+;
        config_source: i8, 1+, default = -1;
        is_sensitive: bool, 1+;
        synonyms: Vec<DescribeConfigsSynonym>, 1+;
        config_type: i8, 3+, ignorable = true;
        documentation: Option<String>, 3+, ignorable = true;
    }

    part DescribeConfigsSynonym {
        name: String, 1+;
        value: Option<String>, 1+;
        source: i8, 1+;
    }
}
