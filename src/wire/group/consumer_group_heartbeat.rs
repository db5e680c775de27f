//! ConsumerGroupHeartbeat (key 68), versions 0 and 1: a member of a consumer group reports its subscription and its
//! partitions, and receives its assignment (KIP-848). From version 1 on, members choose their own ids (KIP-1082) and
//! may subscribe to a pattern.

use crate::model::{ErrorCode, TopicId};

message! {
    request ConsumerGroupHeartbeatRequest of ConsumerGroupHeartbeat {
        group_id: String, 0+;
        member_id: String, 0+;
        /// 0: join. -1: leave. -2: leave temporarily, as a static member.
        member_epoch: i32, 0+;
        /// Null for a dynamic member (KIP-345).
        instance_id: Option<String>, 0+;
        rack_id: Option<String>, 0+;
        /// Here and below: -1 or null for a value that has not changed since the last heartbeat.
        rebalance_timeout_ms: i32, 0+, default = -1;
        subscribed_topic_names: Option<Vec<String>>, 0+;
        subscribed_topic_regex: Option<String>, 1+;
        server_assignor: Option<String>, 0+;
        /// The partitions that the member owns now.
        topic_partitions: Option<Vec<TopicPartitions>>, 0+;
    }

    /// Partitions of one topic.
    part TopicPartitions {
        topic_id: TopicId, 0+;
        partitions: Vec<i32>, 0+;
    }

    response ConsumerGroupHeartbeatResponse of ConsumerGroupHeartbeat {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        /// Null or empty without an error.
        error_message: Option<String>, 0+;
        /// Null with an error.
        member_id: Option<String>, 0+;
        member_epoch: i32, 0+;
        /// When the member sends its next heartbeat.
        heartbeat_interval_ms: i32, 0+;
        /// Null: the assignment has not changed.
        assignment: Option<Assignment>, 0+;
    }

    /// The partitions that the member may own.
    part Assignment {
        topic_partitions: Vec<TopicPartitions>, 0+;
    }
}
