//! What clients depend on, statement by statement, against a running node that is spoken to in raw frames.
//!
//! Each test is a claim and begins with the number of its statement in the checklist of the protocol. Where a claim is
//! held by a test beside the code it is about, that test is named here and not repeated:
//!
//! | statement | held by |
//! |---|---|
//! | 5 headers | `wire::tests::statements::header_v2_keeps_the_short_client_id_and_adds_tags`, and s006 here for every version |
//! | 12, 13 features | `wire::tests::statements::a_feature_with_minimum_0_is_left_out_below_v4`, `a_finalized_feature_at_level_0_is_not_listed` |
//! | 17 throttle time | `wire::tests::statements::throttle_time_is_there_from_the_version_that_has_it_on`; quotas do not exist |
//! | 22 auto-create | `api::metadata::tests::statement_22_*`, and s022 here |
//! | 25, 26 leader epochs, no leader | `api::metadata::tests::statement_25_*`, `statement_26_*`, and s088 here |
//! | 30 listeners | `api::metadata::tests::statement_30_*` |
//! | 31 to 33 CreateTopics | `api::create_topics::tests::statement_31_*` to `statement_33_*`, and here |
//! | 37, 38 DescribeConfigs | `api::describe_configs::tests::statement_37_*`, `statement_38_*`, and here |
//! | 39 AlterConfigs | `api::incremental_alter_configs::tests::statement_39_*`, `tests/broker/restart.rs` |
//! | 40 DescribeTopicPartitions | `api::describe_topic_partitions::tests::statement_40_*`, and here |
//! | 44 to 53 record rules | `tests/broker/produce_rules.rs` against `record::validate`, with Kafka as the oracle; one of each here |
//! | 54 not the leader | `api::leader_hint::tests::statement_54_*`: one node serves every partition on every port |
//! | 58 to 62 sequences | `partition::producers::tests`, `tests/broker/produce_rules.rs`, and here |
//! | 63 expiry | `partition::producers::tests::silent_producers_expire_and_may_then_start_anywhere`; restarts here |
//! | 90 diverging epochs | s090 here |
//! | 92, 93 sessions | `api::fetch_session::tests`, and here |
//! | 97 old readers | `api::old_fetch::tests::statement_97_*`, and here |
//! | 65 to 80 transactions | `tests/broker/transactions` |
//!
//! Not served yet, and not advertised: 9 (ApiVersions v5), 10 (SASL).

mod connection;
mod deletion;
mod fetch;
mod fetch_sessions;
mod idempotence;
mod offsets;
mod produce;
mod topics;
