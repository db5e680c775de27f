//! ListTransactions (key 66), versions 0 to 2: the transactional ids of a coordinator that match the filters
//! (KIP-664, KIP-994, KIP-1152).

use crate::model::ErrorCode;

message! {
    request ListTransactionsRequest of ListTransactions {
        /// Empty: any state.
        state_filters: Vec<String>, 0+;
        /// Empty: any producer.
        producer_id_filters: Vec<i64>, 0+;
        /// Only transactions that have been open for longer, in milliseconds; negative: all.
        duration_filter: i64, 1+, default = -1;
        /// A regular expression that must match the whole id (KIP-1152); null: any id.
        transactional_id_pattern: Option<String>, 2+;
    }

    response ListTransactionsResponse of ListTransactions {
        throttle_time_ms: i32, 0+, ignorable = true;
        error_code: ErrorCode, 0+;
        /// The filters that name no state.
        unknown_state_filters: Vec<String>, 0+;
        transaction_states: Vec<ListedTransaction>, 0+;
    }

    /// One transaction.
    part ListedTransaction {
        transactional_id: String, 0+;
        producer_id: i64, 0+;
        /// The name of the state, such as `Ongoing`.
        transaction_state: String, 0+;
    }
}
