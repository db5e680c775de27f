//! DeleteTopics (key 20), versions 1 to 6: by name or, from version 6 on, by id.

use crate::model::{ErrorCode, TopicId};

message! {
    request DeleteTopicsRequest of DeleteTopics {
        topics: Vec<DeleteTopicState>, 6+;
        topic_names: Vec<String>, 1-5, ignorable = true;
        /// How long the broker may wait until the topics are deleted.
        timeout_ms: i32, 1+;
    }

    /// One topic to delete.
    part DeleteTopicState {
        /// Null if the request names the topic by id.
        name: Option<String>, 6+;
        /// Zero if the request names the topic by name.
        topic_id: TopicId, 6+;
    }

    response DeleteTopicsResponse of DeleteTopics {
        throttle_time_ms: i32, 1+, ignorable = true;
        responses: Vec<DeletableTopicResult>, 1+;
    }

    /// The result for one topic.
    part DeletableTopicResult {
        /// Null if the request named the topic by an unknown id.
        name: Option<String>, 1+, nullable = 6+;
        topic_id: TopicId, 6+, ignorable = true;
        error_code: ErrorCode, 1+;
        /// Null or empty without an error.
        error_message: Option<String>, 5+, ignorable = true;
    }
}
