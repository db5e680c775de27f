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

    part DescribedConsumerGroup {
        error_code: ErrorCode, 0+;
        error_message: Option<String>, 0+;
        group_id: String, 0+;
        group_state: String, 0+;
        group_epoch: i32, 0+;
        assignment_epoch: i32, 0+;
        assignor_name: String, 0+;
        members: Vec<DescribedConsumer>, 0+;
        authorized_operations: i32, 0+, default = OPERATIONS_NOT_ASKED;
    }

    part DescribedConsumer {
        member_id: String, 0+;
        instance_id: Option<String>, 0+;
        rack_id: Option<String>, 0+;
        member_epoch: i32, 0+;
        client_id: String, 0+;
        client_host: String, 0+;
        subscribed_topic_names: Vec<String>, 0+;
        subscribed_topic_regex: Option<String>, 0+;
        assignment: DescribedAssignment, 0+;
        target_assignment: DescribedAssignment, 0+;
        /// 0: classic. 1: consumer. -1: unknown.
        member_type: i8, 1+, default = -1, ignorable = true;
    }

    part DescribedAssignment {
        topic_partitions: Vec<DescribedPartitions>, 0+;
    }

    part DescribedPartitions {
        topic_id: TopicId, 0+;
        topic_name: String, 0+;
        partitions: Vec<i32>, 0+;
    }
}
