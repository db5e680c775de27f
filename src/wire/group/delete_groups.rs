//! DeleteGroups (key 42), versions 0 to 3: deletes groups without members, and their committed offsets.

use crate::model::ErrorCode;

message! {
    request DeleteGroupsRequest of DeleteGroups {
        groups_names: Vec<String>, 0+;
    }

    response DeleteGroupsResponse of DeleteGroups {
        throttle_time_ms: i32, 0+;
        results: Vec<DeletableGroupResult>, 0+;
    }

    /// The result for one group.
    part DeletableGroupResult {
        group_id: String, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<String>, 3+, ignorable = true;
    }
}
