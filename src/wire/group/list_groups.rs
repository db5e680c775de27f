//! ListGroups (key 16), versions 0 to 5: the groups that a broker coordinates. Filters: by state from version 4
//! on, by type from version 5 on.

use crate::model::ErrorCode;

message! {
    request ListGroupsRequest of ListGroups {
        /// Empty: any state (KIP-518).
        states_filter: Vec<String>, 4+;
        /// Empty: any type (KIP-848).
        types_filter: Vec<String>, 5+;
    }

    response ListGroupsResponse of ListGroups {
        throttle_time_ms: i32, 1+, ignorable = true;
        error_code: ErrorCode, 0+;
        groups: Vec<ListedGroup>, 0+;
    }

    /// One group.
    part ListedGroup {
        group_id: String, 0+;
        protocol_type: String, 0+;
        group_state: String, 4+, ignorable = true;
        group_type: String, 5+, ignorable = true;
    }
}
