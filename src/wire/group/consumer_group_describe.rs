//! ConsumerGroupDescribe (key 69), versions 0 and 1: consumer groups, their members, and the current and target
//! assignment of each member (KIP-848). Version 1 adds the protocol that a member uses (KIP-1099).

use crate::model::{ErrorCode, TopicId};
use crate::wire::admin::metadata::OPERATIONS_NOT_ASKED;

message! {
    request ConsumerGroupDescribeRequest of ConsumerGroupDescribe {
        group_ids: Vec<String>, 0+;
        include_authorized_operations: bool, 0+;
    }

    response ConsumerGroupDescribeResponse of ConsumerGroupDescribe {
        throttle_time_ms: i32, 0+;
        groups: Vec<DescribedConsumerGroup>, 0+;
    }

    /// One group and its members.
    part DescribedConsumerGroup {
        error_code: ErrorCode, 0+;
        /// Null or empty without an error.
        error_message: Option<String>, 0+;
        group_id: String, 0+;
        group_state: String, 0+;
        /// Rises when the subscriptions or the topics change.
        group_epoch: i32, 0+;
        /// The group epoch of the target assignment.
        assignment_epoch: i32, 0+;
        assignor_name: String, 0+;
        members: Vec<DescribedConsumer>, 0+;
        /// One bit for each permitted ACL operation.
        authorized_operations: i32, 0+, default = OPERATIONS_NOT_ASKED;
    }

    /// One member.
    part DescribedConsumer {
        member_id: String, 0+;
        /// Null for a dynamic member (KIP-345).
        instance_id: Option<String>, 0+;
        /// Null if the member has none.
        rack_id: Option<String>, 0+;
        /// The assignment epoch that the member has reached.
        member_epoch: i32, 0+;
        client_id: String, 0+;
        /// The address of the member, with a leading slash.
        client_host: String, 0+;
        subscribed_topic_names: Vec<String>, 0+;
        /// Null without a pattern.
        subscribed_topic_regex: Option<String>, 0+;
        /// The partitions that the member owns now.
        assignment: DescribedAssignment, 0+;
        /// The partitions that the member will own.
        target_assignment: DescribedAssignment, 0+;
        /// 0: classic. 1: consumer. -1: unknown.
        member_type: i8, 1+, default = -1, ignorable = true;
    }

    /// Partitions of several topics.
    part DescribedAssignment {
        topic_partitions: Vec<DescribedPartitions>, 0+;
    }

    /// Partitions of one topic.
    part DescribedPartitions {
        topic_id: TopicId, 0+;
        topic_name: String, 0+;
        partitions: Vec<i32>, 0+;
    }
}
