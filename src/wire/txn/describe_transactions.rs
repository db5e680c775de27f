//! DescribeTransactions (key 65), version 0: the coordinator's state of transactional ids (KIP-664).

use crate::model::ErrorCode;

message! {
    request DescribeTransactionsRequest of DescribeTransactions {
        transactional_ids: Vec<String>, 0+;
    }

    response DescribeTransactionsResponse of DescribeTransactions {
        throttle_time_ms: i32, 0+, ignorable = true;
        transaction_states: Vec<DescribedTransaction>, 0+;
    }

    /// One transactional id.
    part DescribedTransaction {
        error_code: ErrorCode, 0+;
        transactional_id: String, 0+;
        /// The name of the state, such as `Ongoing`.
        transaction_state: String, 0+;
        transaction_timeout_ms: i32, 0+;
        /// Milliseconds since 1970; -1 without a transaction.
        transaction_start_time_ms: i64, 0+;
        producer_id: i64, 0+;
        producer_epoch: i16, 0+;
        /// The partitions that were added to the current transaction.
        topics: Vec<DescribedTransactionTopic>, 0+;
    }

    /// Some partitions of a topic.
    part DescribedTransactionTopic {
        topic: String, 0+;
        partitions: Vec<i32>, 0+;
    }
}
