//! All intended differences from Kafka with their reasons. A row that no longer occurs fails the test.

use std::cell::Cell;

use super::pair::Difference;

/// An intended difference. `*` matches any text.
pub struct Accepted {
    /// `Api / case / path`, or `direct|steer: Api / case / path` for some routings.
    pub at: &'static str,
    pub kafka: &'static str,
    pub tidemill: &'static str,
    pub why: &'static str,
    /// Whether it may be absent from a run.
    is_by_chance: bool,
}

const fn accepted(at: &'static str, kafka: &'static str, tidemill: &'static str, why: &'static str) -> Accepted {
    Accepted { at, kafka, tidemill, why, is_by_chance: false }
}

/// An order that Kafka takes from a hash map, whose keys may be topic ids: it differs in each run.
const fn any_order(at: &'static str) -> Accepted {
    Accepted { at, kafka: "*", tidemill: "*", why: "Kafka's order is that of a hash map", is_by_chance: true }
}

const ABSENT: &str = "(absent)";
const THERE: &str = "there";
const OWN_WORDS: &str = "the error code is equal; the message is our own";
const OFFSETS_WITH_ERRORS: &str = "Kafka returns no offsets with an error; Tidemill returns the legal range";
const HOURS_OVERLOOKED: &str = "log.retention.hours is set; Kafka ignores it when it names the source of the value";
const CLUSTER_WIDE: &str =
    "Kafka's eligible leader replicas write it to the cluster's dynamic configs, which Tidemill does not have";
const COLLIDES: &str = "Kafka creates one of two colliding names when one request has both";
const BROKER_PER_SHARD: &str = "each shard is a broker, and this node has two";
const OWN_ID: &str = "the message names the brokers by their own ids";
const PLACED_ELSEWHERE: &str =
    "partitions of a topic lie on consecutive brokers of a node; the message names the others";
const CAUGHT_NOWHERE: &str = "Kafka fails with an unexpected exception";

/// The table. The first matching row counts.
pub const ACCEPTED: &[Accepted] = &[
    // Values that each broker chooses.
    accepted("* / brokers[1].port", "*", "*", "each has its own port"),
    accepted("* / cluster_id", "*", "*", "each has its own cluster"),
    accepted("* / brokers[1].rack", "None", "node-1", "a node without a rack is a rack of its own"),
    // ApiVersions.
    accepted("ApiVersions / * / api_keys[*]", THERE, ABSENT, "APIs that are not served are not advertised"),
    accepted("ApiVersions / * / supported_features[*]", THERE, ABSENT, "features of APIs that are not served"),
    accepted("ApiVersions / * / finalized_features[*]", THERE, ABSENT, "features of APIs that are not served"),
    accepted("ApiVersions / * / finalized_features_epoch", "*", "*", "each has its own metadata log"),
    any_order("ApiVersions / * / finalized_features.order"),
    any_order("ApiVersions / * / supported_features.order"),
    // ElectLeaders, AlterPartitionReassignments.
    any_order("ElectLeaders / * / replica_election_results.order"),
    accepted("ElectLeaders / every byte of the body * / *", "*", "*", "Kafka has timed out before it begins"),
    accepted("ElectLeaders / * / replica_election_results[col_lide*", THERE, ABSENT, COLLIDES),
    accepted("ElectLeaders / * / *.partition_result[*].error_message", "No such *", "*", OWN_WORDS),
    accepted("AlterPartitionReassignments / * / *.error_message", "Unable to find *", "*", OWN_WORDS),
    Accepted {
        is_by_chance: true,
        ..accepted(
            "direct|steer: AlterPartitionReassignments / * / *.partitions[*].error_*",
            "None",
            "*",
            BROKER_PER_SHARD,
        )
    },
    // DescribeQuorum, UpdateFeatures.
    Accepted {
        is_by_chance: true,
        ..accepted("DescribeQuorum / * / *.leader_epoch", "*", "*", "a loaded Kafka elects its leader again")
    },
    accepted("DescribeQuorum / * / *.high_watermark", "*", "*", "each has its own metadata log"),
    accepted("DescribeQuorum / * / *.log_end_offset", "*", "*", "each has its own metadata log"),
    accepted("DescribeQuorum / * / nodes[1].listeners[*]", "*", "*", "a node has no listener for controllers only"),
    accepted("UpdateFeatures / * / results[*].error_message", "NONE", "None", "no message without an error"),
    accepted("UpdateFeatures / a downgrade / *", "*", "*", "every feature stays at its highest level"),
    // DescribeConfigs, and CreateTopics, which returns the configs of the new topic.
    any_order("* / *.configs.order"),
    accepted("* / *.configs[tidemill.flush.ack]", ABSENT, THERE, "a setting of our own"),
    accepted("* / *.configs[min.insync.replicas].config_source", "3", "5", CLUSTER_WIDE),
    accepted("DescribeConfigs / * / *.configs[min.insync.replicas].synonyms[*].source", "3", "5", CLUSTER_WIDE),
    accepted("DescribeConfigs / * / *.configs[min.insync.replicas].synonyms[*]", THERE, ABSENT, CLUSTER_WIDE),
    accepted(
        "DescribeConfigs / the default broker / results[].configs[min.insync.replicas]",
        THERE,
        ABSENT,
        CLUSTER_WIDE,
    ),
    accepted("* / *.configs[retention.ms].config_source", "5", "4", HOURS_OVERLOOKED),
    accepted("DescribeConfigs / * / *.configs[retention.ms].synonyms[*]", ABSENT, THERE, HOURS_OVERLOOKED),
    accepted("DescribeConfigs / * / results[1].configs[*]", THERE, ABSENT, "settings that Tidemill does not have"),
    accepted("DescribeConfigs / * / results[1].configs[*]", ABSENT, THERE, "settings of our own"),
    accepted("DescribeConfigs / * / *.documentation", "*", "*", "the text is our own"),
    accepted("DescribeConfigs / a broker* / results[1].configs[listeners].*", "*", "*", "each has its own"),
    accepted("DescribeConfigs / a broker* / results[1].configs[advertised.listeners].*", "*", "*", "each has its own"),
    accepted(
        "DescribeConfigs / a broker* / results[1].configs[listener.security.protocol.map].*",
        "*",
        "*",
        "each has its own listeners; ours need no name for a controller's",
    ),
    accepted("DescribeConfigs / a broker* / results[1].configs[log.dirs].*", "*", "*", "one directory, not a list"),
    accepted(
        "DescribeConfigs / a broker* / results[1].configs[node.id].*",
        "4",
        "5",
        "set explicitly in one of the two",
    ),
    accepted("DescribeConfigs / a broker's loggers / results[1].*", "*", "*", "loggers cannot be set"),
    accepted("DescribeConfigs / client metrics / results[x].*", "*", "*", "client metrics are not served"),
    accepted(
        "DescribeConfigs / a broker * / results[1].configs[log.retention.hours].value",
        "168",
        "100",
        "Kafka describes the default while log.retention.ms is set at run time",
    ),
    accepted("DescribeConfigs / a group / results[x].configs[*]", THERE, ABSENT, "there are no groups of other kinds"),
    accepted("DescribeConfigs / a resource of * / results[x].error_message", "*", "*", OWN_WORDS),
    // IncrementalAlterConfigs, AlterConfigs.
    accepted("IncrementalAlterConfigs / an unknown operation / *", "*", "*", CAUGHT_NOWHERE),
    accepted("IncrementalAlterConfigs / append a bad word / responses[altered].error_message", "*", "*", OWN_WORDS),
    accepted(
        "IncrementalAlterConfigs / a broker's high thread count / responses[1].error_message",
        "*",
        "*",
        OWN_WORDS,
    ),
    accepted("IncrementalAlterConfigs / a broker's low thread count / responses[1].error_message", "*", "*", OWN_WORDS),
    accepted("IncrementalAlterConfigs / a broker's security / responses[1].error_message", "*", "*", OWN_WORDS),
    accepted("IncrementalAlterConfigs / a broker's limit of none / responses[1].error_message", "*", "*", OWN_WORDS),
    accepted("IncrementalAlterConfigs / append a broker's bad word / responses[1].error_message", "*", "*", OWN_WORDS),
    accepted("AlterConfigs / a broker's nothing / responses[].*", "*", "None", CLUSTER_WIDE),
    accepted("AlterConfigs / resources of unknown types / responses[1].error_message", "*", "*", OWN_WORDS),
    // DeleteRecords, DescribeLogDirs, ListConfigResources.
    any_order("DeleteRecords / * / topics.order"),
    any_order("DeleteRecords / * / topics[*].partitions.order"),
    any_order("AlterReplicaLogDirs / * / *order"),
    any_order("DescribeLogDirs / * / *order"),
    accepted("direct|steer: DescribeLogDirs / * / results[0].topics[*", THERE, ABSENT, BROKER_PER_SHARD),
    accepted(
        "direct|steer: DescribeLogDirs / * / results[0].total_bytes",
        "*",
        "*",
        "each broker has its share of the volume",
    ),
    accepted("DescribeLogDirs / * / results[0].log_dir", "*", "*", "each has its own"),
    Accepted {
        is_by_chance: true,
        ..accepted("DescribeLogDirs / * / results[0].usable_bytes", "*", "*", "it changes all the time")
    },
    accepted(
        "DescribeLogDirs / * / results[0].topics[__*].partitions[*].partition_size",
        "*",
        "*",
        "internal topics differ in partitions and in some records",
    ),
    accepted(
        "DescribeLogDirs / * / results[0].topics[beside].partitions[0].partition_size",
        "0",
        "*",
        "the active segment stays, though all of its records were deleted",
    ),
    accepted("DescribeLogDirs / * / results[0].topics[col_lide*", THERE, ABSENT, COLLIDES),
    accepted("ListConfigResources / * / config_resources[col_lide*", THERE, ABSENT, COLLIDES),
    accepted("ListConfigResources / * / config_resources[1*", "*", "*", "Kafka also lists each broker's loggers"),
    accepted(
        "ListOffsets / the largest timestamp after DeleteRecords / topics[purged].partitions[*].leader_epoch",
        "0",
        "-1",
        "the record was deleted, and the rest of its batch starts later",
    ),
    any_order("ListConfigResources / * / config_resources.order"),
    // Groups.
    any_order("OffsetCommit / * / topics.order"),
    any_order("OffsetCommit / * / topics[*].partitions.order"),
    any_order("OffsetFetch / * / *topics.order"),
    any_order("OffsetFetch / * / *partitions.order"),
    any_order("OffsetFetch / * / groups.order"),
    any_order("OffsetDelete / * / topics.order"),
    any_order("OffsetDelete / * / topics[*].partitions.order"),
    any_order("DescribeGroups / * / groups.order"),
    any_order("DeleteGroups / * / results.order"),
    any_order("ListGroups / * / groups.order"),
    // Consumer groups.
    any_order("ConsumerGroupDescribe / * / *order"),
    accepted(
        "ConsumerGroupHeartbeat / joins with only its topics / *",
        "*",
        "*",
        "librdkafka sends it, takes Kafka's refusal as fatal, and rejoins after this one",
    ),
    accepted("ConsumerGroupHeartbeat / a bad pattern* / error_message", "*", "*", OWN_WORDS),
    accepted(
        "ConsumerGroupHeartbeat / two share / heartbeat_interval_ms",
        "5000",
        "500",
        "a member that waits for revocations of others heartbeats again soon",
    ),
    // Transactions.
    any_order("AddPartitionsToTxn / * / *.order"),
    any_order("TxnOffsetCommit / * / *.order"),
    any_order("WriteTxnMarkers / * / *.order"),
    any_order("DescribeProducers / * / *.active_producers.order"),
    any_order("DescribeTransactions / * / *.order"),
    any_order("ListTransactions / * / transaction_states.order"),
    accepted(
        "WriteTxnMarkers / where nothing is / markers[*]",
        ABSENT,
        THERE,
        "Kafka omits a producer without partitions",
    ),
    accepted(
        "WriteTxnMarkers / of a negative * / *.error_code",
        "UnknownServerError",
        "InvalidRequest",
        CAUGHT_NOWHERE,
    ),
    accepted(
        "Produce / * / topics[transactional].partitions[*].error_message",
        "Partition was not added to the transaction",
        "*",
        OWN_WORDS,
    ),
    accepted(
        "Fetch / two are mixed / topics[*].partitions[0].head.aborted_transactions[*]",
        THERE,
        ABSENT,
        "it is behind the returned range; Kafka searches up to the next entry of its sparse index",
    ),
    // FindCoordinator.
    accepted("FindCoordinator / * / *port", "*", "*", "each has its own port"),
    Accepted {
        is_by_chance: true,
        ..accepted("steer: FindCoordinator / * / *host", "127.0.0.1", "localhost", "each shard has its own spelling")
    },
    accepted("FindCoordinator / * / *error_message", "*", "*", OWN_WORDS),
    // CreateTopics.
    accepted(
        "CreateTopics / a misspelt config / topics[*].error_message",
        "Unknown topic config name: retention.mss",
        "Unknown topic config name: retention.mss; did you mean retention.ms?",
        "a hint",
    ),
    accepted("CreateTopics / not a word of the list / topics[*].error_message", "*", "*", OWN_WORDS),
    accepted("CreateTopics / throttled replicas / topics[*].error_message", "*", "*", OWN_WORDS),
    accepted(
        "CreateTopics / more replicas than brokers / topics[*].error_message",
        "*broker(s) are registered or some brokers have all their log directories cordoned.",
        "*broker(s) are registered.",
        "a node has one log directory, which cannot be cordoned; each shard may be a broker",
    ),
    accepted("direct|steer: CreateTopics / assigned* / topics[*].error_message", "None", "*", PLACED_ELSEWHERE),
    accepted(
        "direct|steer: CreatePartitions / two more where told / results[*].error_message",
        "None",
        "*",
        PLACED_ELSEWHERE,
    ),
    accepted(
        "CreateTopics / two names that collide / topics[*",
        "*",
        "*",
        "Kafka checks collisions only with existing topics, and so creates both names of one request",
    ),
    accepted("* / topics[col_lide*]", THERE, ABSENT, "the second one of two colliding names"),
    accepted("direct|steer: * / *.error_message", "*broker 1 more than once.", "*broker 1000 more than once.", OWN_ID),
    accepted(
        "direct|steer: * / *.error_message",
        "*expected 1 or empty string*",
        "*expected 1000 or 1001 or empty*",
        OWN_ID,
    ),
    accepted(
        "direct|steer: UpdateFeatures / * / error_message",
        "*Local controller 1 *",
        "*Local controller 1000 *",
        OWN_ID,
    ),
    accepted("direct|steer: * / *.error_message", "*expected 1, but*", "*expected 1000 or 1001, but*", OWN_ID),
    // DeleteTopics, CreatePartitions.
    any_order("DeleteTopics / * / responses.order"),
    // Metadata, DescribeTopicPartitions.
    any_order("Metadata / * / topics.order"),
    accepted(
        "Metadata / by * / brokers[1]",
        ABSENT,
        THERE,
        "Kafka omits the brokers when it refuses the whole request",
    ),
    accepted("Metadata / by * / controller_id", "-1", "1", "Kafka omits the brokers when it refuses the whole request"),
    accepted("Metadata / by ids and names / topics[*]", ABSENT, THERE, "Kafka ignores names when the request has ids"),
    accepted(
        "Metadata / by id twice / topics[plain again]",
        ABSENT,
        THERE,
        "Kafka ignores names when the request has ids",
    ),
    accepted("Metadata / by neither / *", "*", "*", CAUGHT_NOWHERE),
    accepted("DescribeTopicPartitions / bad names / topics*", "*", "*", CAUGHT_NOWHERE),
    // ListOffsets, OffsetForLeaderEpoch.
    any_order("ListOffsets / * / topics[*].partitions.order"),
    accepted(
        "ListOffsets / an unknown isolation level / *",
        "*",
        "*",
        "Kafka fails; here every level but 1 reads all records",
    ),
    accepted(
        "OffsetForLeaderEpoch / a very negative epoch / *",
        "*",
        "-1",
        "no epoch is negative; Kafka returns the start of the first one, as for any epoch below it",
    ),
    // Produce.
    any_order("Produce / * / topics.order"),
    any_order("Produce / * / topics[*].partitions.order"),
    accepted(
        "Produce / * / topics[*].partitions[*].error_message",
        "None",
        "*",
        "Kafka explains only some errors; a message helps in a producer's log",
    ),
    accepted(
        "Produce / * / topics[*].partitions[*].log_start_offset",
        "*",
        "-1",
        "Kafka returns it with some errors; no client reads it then",
    ),
    accepted(
        "Produce / * / topics[*].partitions[*].log_append_time_ms",
        "*",
        "-1",
        "for a duplicate batch Kafka returns the producer's timestamp as if it were the append time",
    ),
    accepted(
        "Produce / a byte too many / topics[*].partitions[0].*",
        "*",
        "*",
        "Kafka drops the bytes behind the batch and acknowledges; Tidemill rejects them",
    ),
    accepted(
        "Produce / a partition twice / topics[*].partitions[0*",
        "*",
        "*",
        "Kafka drops one of the two batches silently",
    ),
    accepted(
        "Produce / an unknown codec / *.error_code",
        "UnknownServerError",
        "UnsupportedCompressionType",
        CAUGHT_NOWHERE,
    ),
    accepted("Produce / not gzip / *.error_code", "UnknownServerError", "InvalidRecord", CAUGHT_NOWHERE),
    accepted("Produce / no key* to a compacted topic / *", "*", "*", OWN_WORDS),
    accepted(
        "Produce / *too * / topics[*].partitions[0].record_errors[*][1]",
        "*",
        "*",
        "times on each broker's clock",
    ),
    accepted("Produce / stamped by the client to a stamped topic / *", "*", "*", OWN_WORDS),
    accepted(
        "Produce / a transactional batch without an id beside another / topics[*].partitions[0].*",
        "*",
        "*",
        "Kafka refuses the whole request; here partitions are independent (statement 56)",
    ),
    // Fetch.
    any_order("Fetch / * / topics.order"),
    accepted("Fetch / * / topics[*].partitions[*].head.high_watermark", "-1", "*", OFFSETS_WITH_ERRORS),
    accepted("Fetch / * / topics[*].partitions[*].head.last_stable_offset", "-1", "*", OFFSETS_WITH_ERRORS),
    accepted("Fetch / * / topics[*].partitions[*].head.log_start_offset", "-1", "*", OFFSETS_WITH_ERRORS),
    accepted(
        "Fetch / an unknown isolation level / *",
        "*",
        "*",
        "Kafka fails; here every level but 1 reads all records",
    ),
    accepted("Fetch / a partition twice / *", "*", "*", "Kafka answers only the second one"),
    accepted(
        "Fetch / * / head.session_id",
        "<session>",
        "0",
        "no session is kept without partitions (KIP-227 allows both)",
    ),
    accepted("Fetch / at most no* byte in all / *", "*", "*", "shards take turns in reading first"),
    accepted("Fetch / at most one byte in all / *", "*", "*", "shards take turns in reading first"),
    accepted("Fetch / at most some bytes of a partition / *.torn_bytes", "*", "0", "whole batches only (statement 83)"),
    accepted("Fetch / what a stamped topic stores / *.header.crc", "*", "*", "it covers the time of the append"),
    accepted(
        "Fetch / zstd for whom it is new / *",
        "*",
        "*",
        "KIP-110; Kafka returns zstd to readers that do not know it",
    ),
    accepted("Fetch / a stranger as follower / *", "*", "*", "there are no followers yet: every reader is a consumer"),
];

/// The table, and the number of uses of each row.
pub struct Ledger {
    used: Vec<Cell<usize>>,
}

impl Ledger {
    pub fn new() -> Ledger {
        Ledger { used: ACCEPTED.iter().map(|_| Cell::new(0)).collect() }
    }

    pub fn accepts(&self, place: &str, difference: &Difference) -> bool {
        let place = format!("{place} / {}", difference.path);
        let row = ACCEPTED.iter().position(|row| {
            let (sides, at) = row.at.split_once(": ").map_or((None, row.at), |(sides, at)| (Some(sides), at));
            sides.is_none_or(|sides| sides.split('|').any(|side| side == difference.side))
                && matches(at, &place)
                && matches(row.kafka, &difference.kafka)
                && matches(row.tidemill, &difference.tidemill)
        });
        if let Some(row) = row {
            self.used[row].set(self.used[row].get() + 1);
        }
        row.is_some()
    }

    /// The unused rows.
    pub fn unused(&self) -> impl Iterator<Item = &'static Accepted> {
        ACCEPTED.iter().zip(&self.used).filter(|(row, used)| used.get() == 0 && !row.is_by_chance).map(|(row, _)| row)
    }
}

/// Whether `text` matches `pattern`: `*` matches any text, and within brackets one name.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    let end = if rest.starts_with(']') { text.find(']').unwrap_or(0) } else { text.len() };
    rest.is_empty() || (0..=end).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
}

#[test]
fn a_star_stands_for_anything() {
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("a*c", "abbc", true),
        ("a*c", "abcd", false),
        ("*[*].x", "topics[0].x", true),
        ("*[*].x", "topics[0].xy", false),
        ("a[*]", "a[b].c[d]", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
