use super::*;
use crate::config::{broker, load};

fn config_of(pairs: &[(&str, &str)]) -> TopicConfig {
    TopicConfig::resolve(&overrides(pairs), &BrokerConfig::default())
}

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
}

#[test]
fn conf_2_rows_are_sorted_legal_and_fall_back_to_settings_of_the_same_type() {
    assert!(SETTINGS.windows(2).all(|pair| pair[0].setting.name < pair[1].setting.name));
    for row in SETTINGS {
        let default = row.setting.default_value();
        // CONF-2: if nothing is set, the broker's defaults result in the topic's default.
        assert_eq!(fallback(row, &BrokerConfig::default()).0, default, "{}", row.setting.name);
        for (name, _) in row.falls_back_to {
            assert!(broker::setting(name).is_some(), "{name}");
        }
    }
}

#[test]
fn every_topic_config_of_kafka_4_4_is_here() {
    // The response of a 4.4.0 broker to DescribeConfigs of a new topic.
    let kafka = "cleanup.policy=delete compression.gzip.level=-1 compression.lz4.level=9 compression.type=producer \
        compression.zstd.level=3 delete.retention.ms=86400000 errors.deadletterqueue.group.enable=false \
        file.delete.delay.ms=60000 \
        flush.messages=9223372036854775807 flush.ms=9223372036854775807 follower.replication.throttled.replicas= \
        index.interval.bytes=4096 \
        leader.replication.throttled.replicas= local.retention.bytes=-2 local.retention.ms=-2 \
        max.compaction.lag.ms=9223372036854775807 max.decompressed.message.bytes=2147483639 \
        max.message.bytes=1048588 message.timestamp.after.max.ms=3600000 \
        message.timestamp.before.max.ms=9223372036854775807 message.timestamp.type=CreateTime \
        min.cleanable.dirty.ratio=0.5 min.compaction.lag.ms=0 min.insync.replicas=1 preallocate=false \
        remote.copy.lag.bytes=-1 remote.copy.lag.ms=0 remote.log.copy.disable=false \
        remote.log.delete.on.disable=false remote.storage.enable=false retention.bytes=-1 retention.ms=604800000 \
        segment.bytes=1073741824 segment.index.bytes=10485760 segment.jitter.ms=0 segment.ms=604800000 \
        unclean.leader.election.enable=false";
    let ours: Vec<String> = SETTINGS
        .iter()
        .filter(|row| !row.setting.name.starts_with("tidemill."))
        .map(|row| format!("{}={}", row.setting.name, row.setting.default_value()))
        .collect();
    assert_eq!(ours.join(" "), kafka.split_whitespace().collect::<Vec<_>>().join(" "));
}

#[test]
fn an_override_has_precedence_over_the_broker_and_the_broker_over_the_default() {
    let broker = load(None, &["log.segment.bytes=2097152".into(), "log.retention.hours=2".into()]).unwrap();
    let config = TopicConfig::resolve(&overrides(&[]), &broker);
    assert_eq!((config.segment_bytes, config.retention_ms), (2 << 20, 7_200_000));
    let config = TopicConfig::resolve(&overrides(&[("segment.bytes", "4194304"), ("retention.ms", "-1")]), &broker);
    assert_eq!((config.segment_bytes, config.retention_ms), (4 << 20, -1));
}

#[test]
fn milliseconds_have_precedence_over_minutes_and_minutes_over_hours() {
    let retention = |set: &[&str]| {
        let set: Vec<String> = set.iter().map(|s| (*s).into()).collect();
        TopicConfig::resolve(&overrides(&[]), &load(None, &set).unwrap()).retention_ms
    };
    assert_eq!(retention(&["log.retention.hours=1"]), 3_600_000);
    assert_eq!(retention(&["log.retention.hours=1", "log.retention.minutes=1"]), 60_000);
    assert_eq!(retention(&["log.retention.ms=5", "log.retention.minutes=1"]), 5);
    assert_eq!(retention(&["log.retention.hours=-1"]), -1);
}

#[test]
fn illegal_overrides_are_rejected_with_the_legal_values() {
    let broker = BrokerConfig::default();
    let check = |name: &str, text: &str, expected: &str| {
        let error = check_all(&overrides(&[(name, text)]), &broker).expect_err(name).to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("segment.byte", "1", "Unknown topic config name: segment.byte; did you mean segment.bytes?");
    check("segment.bytes", "1024", "Value must be at least 1048576");
    check("retention.ms", "-2", "Value must be at least -1");
    check("cleanup.policy", "shred", "compact, delete");
    check("remote.storage.enable", "true", "Tiered Storage");
    let lags = overrides(&[("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "8")]);
    assert!(check_all(&lags, &broker).unwrap_err().to_string().contains("(9) > max.compaction.lag.ms (8)"));
    assert_eq!(super::check("retention.ms", None), Err(InvalidOverride::Null { name: "retention.ms".into() }));
}

#[test]
fn cleanup_policy_may_be_both_or_neither() {
    let policy = |text| {
        let policy = config_of(&[("cleanup.policy", text)]).cleanup_policy;
        (policy.deletes, policy.compacts)
    };
    assert_eq!(policy("compact,delete"), (true, true));
    assert_eq!(policy("compact"), (false, true));
    assert_eq!(policy(""), (false, false));
}

#[test]
fn an_override_that_is_no_longer_legal_counts_as_absent() {
    assert_eq!(config_of(&[("segment.bytes", "1024")]).segment_bytes, 1 << 30);
}

#[test]
fn a_codec_gets_its_own_level() {
    let check = |pairs: &[(&str, &str)], expected| assert_eq!(config_of(pairs).compression(), expected, "{pairs:?}");
    check(&[], TopicCompression::Producer);
    check(&[("compression.type", "uncompressed")], TopicCompression::Always(Codec::None, None));
    check(&[("compression.type", "snappy")], TopicCompression::Always(Codec::Snappy, None));
    check(&[("compression.type", "gzip")], TopicCompression::Always(Codec::Gzip, None));
    let gzip = [("compression.type", "gzip"), ("compression.gzip.level", "4")];
    check(&gzip, TopicCompression::Always(Codec::Gzip, Some(4)));
    check(&[("compression.type", "lz4")], TopicCompression::Always(Codec::Lz4, Some(9)));
    let zstd = [("compression.type", "zstd"), ("compression.zstd.level", "-5")];
    check(&zstd, TopicCompression::Always(Codec::Zstd, Some(-5)));
}

#[test]
fn records_are_deletable_unless_only_compaction_removes_them() {
    for (policy, expected) in [("delete", true), ("compact", false), ("compact,delete", true), ("", true)] {
        assert_eq!(config_of(&[("cleanup.policy", policy)]).is_deletable(), expected, "{policy}");
    }
}
