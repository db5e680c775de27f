//! DescribeConfigs (key 32), versions 1 to 4.

use crate::model::ErrorCode;

/// As `resource_type`: a topic.
pub const RESOURCE_TOPIC: i8 = 2;
/// As `resource_type`: a broker.
pub const RESOURCE_BROKER: i8 = 4;

/// As `config_source`: an override of the topic.
pub const SOURCE_DYNAMIC_TOPIC: i8 = 1;
/// As `config_source`: set at run time for one broker.
pub const SOURCE_DYNAMIC_BROKER: i8 = 2;
/// As `config_source`: set at run time for all brokers.
pub const SOURCE_DYNAMIC_DEFAULT_BROKER: i8 = 3;
/// As `config_source`: set in the broker's configuration file.
pub const SOURCE_STATIC_BROKER: i8 = 4;
/// As `config_source`: no value is set.
pub const SOURCE_DEFAULT: i8 = 5;
/// The group's own setting (KIP-848).
pub const SOURCE_GROUP: i8 = 8;

/// As `config_type`: no setting has the name.
pub const TYPE_UNKNOWN: i8 = 0;
/// As `config_type`: true or false.
pub const TYPE_BOOLEAN: i8 = 1;
/// As `config_type`: a text.
pub const TYPE_STRING: i8 = 2;
/// As `config_type`: 32 bits, signed.
pub const TYPE_INT: i8 = 3;
/// As `config_type`: 16 bits, signed.
pub const TYPE_SHORT: i8 = 4;
/// As `config_type`: 64 bits, signed.
pub const TYPE_LONG: i8 = 5;
/// As `config_type`: a floating-point number.
pub const TYPE_DOUBLE: i8 = 6;
/// As `config_type`: texts, separated by commas.
pub const TYPE_LIST: i8 = 7;

message! {
    request DescribeConfigsRequest of DescribeConfigs {
        resources: Vec<DescribeConfigsResource>, 1+;
        /// True: each setting has its `synonyms`.
        include_synonyms: bool, 1+;
        /// True: each setting has its `documentation` (KIP-569).
        include_documentation: bool, 3+;
    }

    /// One resource to describe.
    part DescribeConfigsResource {
        /// A `RESOURCE_` constant.
        resource_type: i8, 1+;
        /// A topic's name, or a broker's id in decimal.
        resource_name: String, 1+;
        /// Null: all keys.
        configuration_keys: Option<Vec<String>>, 1+;
    }

    response DescribeConfigsResponse of DescribeConfigs {
        throttle_time_ms: i32, 1+;
        results: Vec<DescribeConfigsResult>, 1+;
    }

    /// The settings of one resource.
    part DescribeConfigsResult {
        error_code: ErrorCode, 1+;
        /// Null or empty without an error.
        error_message: Option<String>, 1+;
        resource_type: i8, 1+;
        resource_name: String, 1+;
        configs: Vec<DescribeConfigsEntry>, 1+;
    }

    /// One setting and its value.
    part DescribeConfigsEntry {
        name: String, 1+;
        /// Null for a sensitive value.
        value: Option<String>, 1+;
        read_only: bool, 1+;
        /// A `SOURCE_` constant; -1: unknown.
        config_source: i8, 1+, default = -1;
        is_sensitive: bool, 1+;
        /// The places that may set the value, the one with the highest precedence first (KIP-226).
        synonyms: Vec<DescribeConfigsSynonym>, 1+;
        /// A `TYPE_` constant; 0: unknown.
        config_type: i8, 3+, ignorable = true;
        documentation: Option<String>, 3+, ignorable = true;
    }

    /// One place that may set the value.
    part DescribeConfigsSynonym {
        name: String, 1+;
        /// Null for a sensitive value.
        value: Option<String>, 1+;
        /// A `SOURCE_` constant.
        source: i8, 1+;
    }
}
