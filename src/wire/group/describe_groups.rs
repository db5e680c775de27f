//! DescribeGroups (key 15), versions 0 to 6: classic groups and their members.

use crate::model::ErrorCode;
use crate::wire::Bytes;
use crate::wire::admin::metadata::OPERATIONS_NOT_ASKED;

message! {
    request DescribeGroupsRequest of DescribeGroups {
        groups: Vec<String>, 0+;
        include_authorized_operations: bool, 3+;
    }

    response DescribeGroupsResponse of DescribeGroups {
        throttle_time_ms: i32, 1+, ignorable = true;
        groups: Vec<DescribedGroup>, 0+;
    }

    part DescribedGroup {
        error_code: ErrorCode, 0+;
        error_message: Option<String>, 6+;
        group_id: String, 0+;
        group_state: String, 0+;
        protocol_type: String, 0+;
        protocol_data: String, 0+;
        members: Vec<DescribedGroupMember>, 0+;
        authorized_operations: i32, 3+, default = OPERATIONS_NOT_ASKED;
    }

    part DescribedGroupMember {
        member_id: String, 0+;
        group_instance_id: Option<String>, 4+, ignorable = true;
        client_id: String, 0+;
        client_host: String, 0+;
        member_metadata: Bytes, 0+;
        member_assignment: Bytes, 0+;
    }
}
