//! `/metrics/kafka`: the names that dashboards and alerts for Strimzi and kafka_exporter use, so that they work
//! unchanged. A name whose value this node does not know is absent.

mod requests;

use super::Edge;
use super::metrics::by_api;
use super::partitions::{self, Named};
use super::process;
use super::shard::ShardFigures;
use super::text::Exposition;
use super::topics;
use crate::model::NodeId;
use crate::partition::Traffic;
use crate::router::broker::{brokers_of, first_broker};

/// The whole text.
pub(super) fn render(edge: &Edge, shards: &[Box<ShardFigures>]) -> String {
    let mut text = Exposition::default();
    let all = partitions::by_name(shards);
    let shown = &all[..all.len().min(partitions::PARTITIONS_MAX)];
    topic_traffic(&mut text, shards, &all);
    node(&mut text, edge, shards, &all);
    quorum(&mut text, edge, shards);
    each_partition(&mut text, shown);
    groups(&mut text, shards, &all);
    requests::render(&mut text, shards);
    text.into_text()
}

fn topic_traffic(text: &mut Exposition, shards: &[Box<ShardFigures>], all: &[Named<'_>]) {
    let (shown, _) = topics::busiest(all);
    let mut whole = Traffic::default();
    shards.iter().for_each(|shard| whole += topics::whole_traffic(shard));
    type Field = fn(&Traffic) -> u64;
    let families: [(&str, &str, Field); 5] = [
        ("kafka_server_brokertopicmetrics_messagesin_total", "Records that were appended.", |traffic| {
            traffic.records_in
        }),
        ("kafka_server_brokertopicmetrics_bytesin_total", "Bytes of appended batches.", |traffic| traffic.bytes_in),
        ("kafka_server_brokertopicmetrics_bytesout_total", "Bytes of records in fetch responses.", |traffic| {
            traffic.bytes_out
        }),
        ("kafka_server_brokertopicmetrics_totalproducerequests_total", "Batches of produce requests.", |traffic| {
            traffic.batches_in
        }),
        (
            "kafka_server_brokertopicmetrics_totalfetchrequests_total",
            "Partitions with records in fetches.",
            |traffic| traffic.fetches,
        ),
    ];
    for (name, help, field) in families {
        let mut family = text.counter(name, help);
        // The JMX exporter gives the sum of all topics without the label.
        family.sample(&[], field(&whole));
        for (topic, sum) in &shown {
            family.sample(&[("topic", topic)], field(&sum.traffic));
        }
    }
    let apis = by_api(shards);
    for (name, api) in [
        ("kafka_server_brokertopicmetrics_failedproducerequests_total", "Produce"),
        ("kafka_server_brokertopicmetrics_failedfetchrequests_total", "Fetch"),
    ] {
        let failed: u64 = apis.get(api).map_or(0, |api| api.errors.values().sum());
        text.counter(name, "Partitions with an error in responses.").sample(&[], failed);
    }
}

fn node(text: &mut Exposition, edge: &Edge, shards: &[Box<ShardFigures>], all: &[Named<'_>]) {
    let count = |is_counted: fn(&Named<'_>) -> bool| all.iter().filter(|named| is_counted(named)).count();
    let offline: usize = shards.iter().map(|shard| shard.beat.offline_partitions).sum();
    let failed = shards.iter().any(|shard| shard.beat.failure.is_some());
    let rates = edge.rates(shards);
    let process = process::read();
    for (name, help, value) in [
        ("kafka_server_replicamanager_leadercount", "Partitions that this node leads.", all.len()),
        ("kafka_server_replicamanager_partitioncount", "Partitions of this node.", all.len()),
        (
            "kafka_server_replicamanager_underreplicatedpartitions",
            "Partitions with fewer replicas in sync than they have.",
            count(|named| named.figures.in_sync < named.figures.replicas),
        ),
        (
            "kafka_server_replicamanager_underminisrpartitioncount",
            "Partitions with fewer replicas in sync than min.insync.replicas requires.",
            count(|named| named.figures.in_sync < named.figures.in_sync_min),
        ),
        ("kafka_server_replicamanager_offlinereplicacount", "Partitions that could not be opened.", offline),
        ("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions that could not be opened.", offline),
        ("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.", all.len()),
        ("kafka_log_logmanager_offlinelogdirectorycount", "1 if the storage has failed.", usize::from(failed)),
    ] {
        text.gauge(name, help).sample(&[], value);
    }
    if let Some(image) = partitions::newest_image(shards) {
        // One node is the controller of its cluster from the moment that it serves.
        let is_registered = image.is_live(NodeId(edge.facts.node_id));
        text.gauge("kafka_controller_kafkacontroller_activecontrollercount", "1 on the active controller.")
            .sample(&[], u8::from(is_registered));
        text.gauge("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.")
            .sample(&[], image.topics_count());
        text.counter("kafka_controller_controllerstats_uncleanleaderelections_total", "Unclean elections.")
            .sample(&[], 0);
    }
    if let Some(rates) = rates {
        for name in [
            "kafka_network_socketserver_networkprocessoravgidle_percent",
            "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        ] {
            let help = "The share of the time in which the shards run no task, from 0 to 1.";
            text.gauge(name, help).sample(&[], rates.idle);
        }
        text.gauge("kafka_server_raftmetrics_append_records_rate", "Entries of the metadata log for each second.")
            .sample(&[], rates.metadata_entries);
        if let Some(seconds) = rates.commit_seconds {
            let help = "The mean time until a change of the metadata is on stable storage, in milliseconds.";
            text.gauge("kafka_server_raftmetrics_commit_latency_avg", help).sample(&[], seconds * 1e3);
        }
    }
    let bytes = [
        ("kafka_server_kafkaserver_linux_disk_read_bytes", "Bytes that the storage delivered.", process.read_bytes),
        ("kafka_server_kafkaserver_linux_disk_write_bytes", "Bytes that went to the storage.", process.written_bytes),
        ("process_open_fds", "Open file descriptors.", process.open_fds.map(|count| count as u64)),
    ];
    for (name, help, value) in bytes {
        if let Some(value) = value {
            text.gauge(name, help).sample(&[], value);
        }
    }
    let mut family = text.gauge("kafka_server_socket_server_metrics_connection_count", "Open connections.");
    for shard in shards {
        for (listener, count) in &shard.connections.open {
            family.sample(&[("listener", listener), ("networkProcessor", &shard.shard.to_string())], count);
        }
    }
}

fn quorum(text: &mut Exposition, edge: &Edge, shards: &[Box<ShardFigures>]) {
    let Some(image) = partitions::newest_image(shards) else { return };
    let Some(node) = image.node(NodeId(edge.facts.node_id)) else { return };
    let end = image.index + 1;
    text.gauge("kafka_server_raftmetrics_current_leader", "The leader of the metadata log.")
        .sample(&[], first_broker(node).0);
    if let Some(controller) = shards.iter().find_map(|shard| shard.controller.as_ref()) {
        text.gauge("kafka_server_raftmetrics_current_epoch", "The term of the metadata log.")
            .sample(&[], controller.term);
    }
    text.gauge("kafka_server_raftmetrics_fetch_records_rate", "Entries fetched from a leader; this node leads.")
        .sample(&[], 0);
    text.gauge("kafka_server_raftmetrics_current_state", "The state of this node in the quorum; always 1.")
        .sample(&[("current_state", "leader")], 1);
    text.gauge("kafka_server_raftmetrics_high_watermark", "The end of the committed metadata.").sample(&[], end);
    text.gauge("kafka_server_raftmetrics_log_end_offset", "The end of the metadata log.").sample(&[], end);
    let brokers: Vec<_> = image
        .live_nodes()
        .filter_map(|node| node.endpoints.first().map(|first| brokers_of(node, &first.listener)))
        .flatten()
        .collect();
    text.gauge("kafka_brokers", "Brokers of the cluster.").sample(&[], brokers.len());
    let mut family = text.gauge("kafka_broker_info", "A broker and its address; always 1.");
    for broker in &brokers {
        let labels = [("address", &*format!("{}:{}", broker.host, broker.port)), ("id", &*broker.id.0.to_string())];
        family.sample(&labels, 1);
    }
}

fn each_partition(text: &mut Exposition, shown: &[Named<'_>]) {
    type Field = fn(&Named<'_>) -> i64;
    let families: [(&str, &str, Field); 13] = [
        ("kafka_cluster_partition_replicascount", "Replicas.", |named| named.figures.replicas as i64),
        ("kafka_cluster_partition_insyncreplicascount", "Replicas in sync.", |named| named.figures.in_sync as i64),
        ("kafka_cluster_partition_underreplicated", "1 if replicas are not in sync.", |named| {
            i64::from(named.figures.in_sync < named.figures.replicas)
        }),
        ("kafka_cluster_partition_atminisr", "1 if the replicas in sync are just enough.", |named| {
            i64::from(named.figures.in_sync == named.figures.in_sync_min)
        }),
        ("kafka_cluster_partition_underminisr", "1 if the replicas in sync are too few.", |named| {
            i64::from(named.figures.in_sync < named.figures.in_sync_min)
        }),
        ("kafka_log_log_size", "Bytes of the segments.", |named| named.figures.size_bytes as i64),
        ("kafka_log_log_logstartoffset", "The first offset.", |named| named.figures.log_start.0),
        ("kafka_log_log_logendoffset", "The offset of the next record.", |named| named.figures.log_end.0),
        ("kafka_topic_partition_current_offset", "The end of the committed records.", |named| {
            named.figures.high_watermark.0
        }),
        ("kafka_topic_partition_oldest_offset", "The first offset.", |named| named.figures.log_start.0),
        ("kafka_topic_partition_in_sync_replica", "Replicas in sync.", |named| named.figures.in_sync as i64),
        ("kafka_topic_partition_replicas", "Replicas.", |named| named.figures.replicas as i64),
        ("kafka_topic_partition_under_replicated_partition", "1 if replicas are not in sync.", |named| {
            i64::from(named.figures.in_sync < named.figures.replicas)
        }),
    ];
    for (name, help, field) in families {
        let mut family = text.gauge(name, help);
        for named in shown {
            let partition = named.partition.to_string();
            family.sample(&[("topic", named.topic), ("partition", &partition)], field(named));
        }
    }
    let mut family = text.gauge("kafka_topic_partition_leader_is_preferred", "1 if the first replica leads.");
    for named in shown.iter().filter(|named| named.is_leader_preferred.is_some()) {
        let (partition, is_preferred) = (named.partition.to_string(), named.is_leader_preferred == Some(true));
        family.sample(&[("topic", named.topic), ("partition", &partition)], u8::from(is_preferred));
    }
    let mut family = text.gauge("kafka_topic_partitions", "Partitions of the topic.");
    for of_topic in shown.chunk_by(|a, b| a.topic == b.topic) {
        family.sample(&[("topic", of_topic[0].topic)], of_topic.len());
    }
}

fn groups(text: &mut Exposition, shards: &[Box<ShardFigures>], all: &[Named<'_>]) {
    let mut offsets = topics::group_offsets(shards, all);
    offsets.truncate(partitions::PARTITIONS_MAX);
    let mut family = text.gauge("kafka_consumergroup_members", "Members of the group.");
    for group in shards.iter().flat_map(|shard| &shard.groups) {
        family.sample(&[("consumergroup", &group.id)], group.members);
    }
    type Field = fn(&topics::GroupOffset<'_>) -> i64;
    let families: [(&str, &str, Field); 2] = [
        ("kafka_consumergroup_current_offset", "The offset that the group has committed.", |offset| offset.committed.0),
        ("kafka_consumergroup_lag", "Records that the group has not read.", |offset| offset.lag()),
    ];
    for (name, help, field) in families {
        let mut family = text.gauge(name, help);
        for offset in &offsets {
            let partition = offset.partition.to_string();
            let labels = [("consumergroup", offset.group), ("topic", offset.topic), ("partition", &*partition)];
            family.sample(&labels, field(offset));
        }
        // kafka_exporter gives the sum of each topic too.
        let name = format!("{name}_sum");
        let mut family = text.gauge(&name, help);
        for of_topic in offsets.chunk_by(|a, b| (a.group, a.topic) == (b.group, b.topic)) {
            let labels = [("consumergroup", of_topic[0].group), ("topic", of_topic[0].topic)];
            family.sample(&labels, of_topic.iter().map(field).sum::<i64>());
        }
    }
}
