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

    /// One group and its members.
    part DescribedGroup {
        error_code: ErrorCode, 0+;
        /// Null or empty without an error.
        error_message: Option<String>, 6+;
        group_id: String, 0+;
        group_state: String, 0+;
        /// `consumer` for consumers; Kafka Connect has its own.
        protocol_type: String, 0+;
        /// The name of the selected assignor; empty if none is selected.
        protocol_data: String, 0+;
        members: Vec<DescribedGroupMember>, 0+;
        /// One bit for each permitted ACL operation (KIP-430).
        authorized_operations: i32, 3+, default = OPERATIONS_NOT_ASKED;
    }

    /// One member.
    part DescribedGroupMember {
        member_id: String, 0+;
        /// Null for a dynamic member (KIP-345).
        group_instance_id: Option<String>, 4+, ignorable = true;
        client_id: String, 0+;
        /// The address of the member, with a leading slash.
        client_host: String, 0+;
        /// The member's subscription, in the format of its protocol type.
        member_metadata: Bytes, 0+;
        /// The member's assignment, in the format of its protocol type.
        member_assignment: Bytes, 0+;
    }
}
