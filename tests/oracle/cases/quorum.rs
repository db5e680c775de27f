//! DescribeQuorum, UpdateFeatures and UnregisterBroker in a cluster of one broker.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::describe_quorum::{DescribeQuorumRequest, METADATA_TOPIC, QuorumPartition, QuorumTopic};
use tidemill::wire::admin::unregister_broker::UnregisterBrokerRequest;
use tidemill::wire::admin::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};

use super::super::case::{Case, case, say};

fn quorum(name: &'static str, topics: &'static [(&'static str, &'static [i32])]) -> Case {
    case(ApiKey::DescribeQuorum, name, move |_, v| {
        let topic = |(name, partitions): &(&str, &[i32])| QuorumTopic {
            topic_name: (*name).into(),
            partitions: partitions.iter().map(|&partition_index| QuorumPartition { partition_index }).collect(),
        };
        say(&DescribeQuorumRequest { topics: topics.iter().map(topic).collect() }, v)
    })
}

/// Each update: feature, level, type of the upgrade. Version 0 has no types.
fn update(name: &'static str, updates: &'static [(&'static str, i16, i8)]) -> Case {
    case(ApiKey::UpdateFeatures, name, move |_, v| {
        let update = |(feature, level, upgrade_type): &(&str, i16, i8)| FeatureUpdateKey {
            feature: (*feature).into(),
            max_version_level: *level,
            allow_downgrade: v == 0 && *upgrade_type == 2,
            upgrade_type: if v == 0 { 1 } else { *upgrade_type },
        };
        let feature_updates = updates.iter().map(update).collect();
        say(&UpdateFeaturesRequest { feature_updates, validate_only: v > 0, ..Default::default() }, v)
    })
}

fn unregister(name: &'static str, broker_id: i32) -> Case {
    case(ApiKey::UnregisterBroker, name, move |_, v| say(&UnregisterBrokerRequest { broker_id }, v))
}

pub fn cases() -> Vec<Case> {
    vec![
        quorum("the metadata log", &[(METADATA_TOPIC, &[0])]),
        quorum("another partition of the metadata log", &[(METADATA_TOPIC, &[1])]),
        quorum("two partitions of the metadata log", &[(METADATA_TOPIC, &[0, 1])]),
        quorum("another topic", &[("plain", &[0])]),
        quorum("the metadata log and another topic", &[(METADATA_TOPIC, &[0]), ("plain", &[0])]),
        quorum("nothing", &[]),
        update("no features", &[]),
        update("the finalized levels", &[("group.version", 1, 1), ("transaction.version", 2, 1)]),
        update("a level that is too high", &[("group.version", 1, 1), ("transaction.version", 9, 1)]),
        update("a level below zero", &[("transaction.version", -1, 1)]),
        update("a downgrade by an upgrade", &[("transaction.version", 1, 1)]),
        update("a downgrade", &[("transaction.version", 1, 2)]).since(1),
        update("an upgrade by a downgrade", &[("transaction.version", 9, 2)]),
        update("an unknown type of upgrade", &[("transaction.version", 2, 9)]).since(1),
        update("an unknown feature", &[("nope.version", 1, 1)]),
        update("an unknown feature at level 0", &[("nope.version", 0, 1)]),
        update("a metadata.version that is too high", &[("metadata.version", 999, 1)]),
        update("a metadata.version that is too low", &[("metadata.version", 6, 3)]),
        unregister("an unknown broker", 99),
        unregister("a negative broker", -1),
    ]
}
