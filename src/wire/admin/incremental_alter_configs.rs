//! IncrementalAlterConfigs (key 44), versions 0 and 1: changes single settings of a resource and keeps the
//! others (KIP-339).

use crate::wire::admin::alter_configs::AlterConfigsResourceResponse;

/// As `config_operation`: replaces the value.
pub const SET: i8 = 0;
/// As `config_operation`: removes the override, so that the default holds.
pub const DELETE: i8 = 1;
/// As `config_operation`: adds elements to a list.
pub const APPEND: i8 = 2;
/// As `config_operation`: removes elements from a list.
pub const SUBTRACT: i8 = 3;

message! {
    request IncrementalAlterConfigsRequest of IncrementalAlterConfigs {
        resources: Vec<IncrementalAlterConfigsResource>, 0+;
        /// True: check the change without making it.
        validate_only: bool, 0+;
    }

    /// One resource and the changes of its settings.
    part IncrementalAlterConfigsResource {
        /// 2: topic. 4: broker.
        resource_type: i8, 0+;
        resource_name: String, 0+;
        configs: Vec<IncrementalAlterableConfig>, 0+;
    }

    /// One change.
    part IncrementalAlterableConfig {
        name: String, 0+;
        /// [`SET`], [`DELETE`], [`APPEND`] or [`SUBTRACT`].
        config_operation: i8, 0+;
        /// Null for the operation delete.
        value: Option<String>, 0+;
    }

    response IncrementalAlterConfigsResponse of IncrementalAlterConfigs {
        throttle_time_ms: i32, 0+;
        responses: Vec<AlterConfigsResourceResponse>, 0+;
    }
}
