//! `/metrics`: the node's own names, of low cardinality.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::shard::ShardFigures;
use super::text::{Exposition, Family, seconds};
use super::{Edge, partitions, process, topics};
use crate::model::Distribution;
use crate::runtime::dir;

/// The counters of one API on all shards.
#[derive(Default)]
pub(super) struct ApiSum {
    pub requests: u64,
    /// By Kafka's name of the code.
    pub errors: BTreeMap<&'static str, u64>,
    pub closes: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub time: Distribution,
}

/// The sums over all shards, by the name of the API.
pub(super) fn by_api(shards: &[Box<ShardFigures>]) -> BTreeMap<&'static str, ApiSum> {
    let mut apis: BTreeMap<&str, ApiSum> = BTreeMap::new();
    for api in shards.iter().flat_map(|shard| &shard.apis) {
        let sum = apis.entry(api.api).or_default();
        sum.requests += api.requests;
        for (error, count) in &api.errors {
            *sum.errors.entry(error.name()).or_default() += count;
        }
        sum.closes += api.closes;
        sum.request_bytes += api.request_bytes;
        sum.response_bytes += api.response_bytes;
        sum.time.add(&api.time);
    }
    apis
}

/// The whole text.
pub(super) fn render(edge: &Edge, shards: &[Box<ShardFigures>]) -> String {
    let mut text = Exposition::default();
    node(&mut text, edge, shards);
    process(&mut text);
    requests(&mut text, shards);
    for_shards(&mut text, shards);
    journals(&mut text, shards);
    let all = partitions::by_name(shards);
    topics::shards(&mut text, shards);
    topics::topics(&mut text, &all);
    let mut history = edge.history.lock().unwrap_or_else(PoisonError::into_inner);
    topics::groups(&mut text, shards, &all, &mut history);
    text.into_text()
}

fn node(text: &mut Exposition, edge: &Edge, shards: &[Box<ShardFigures>]) {
    let facts = &edge.facts;
    let id = facts.node_id.to_string();
    if let Some(controller) = shards.iter().find_map(|shard| shard.controller.as_ref()) {
        let help = "Changes of the metadata, from their plan until they are on stable storage.";
        text.histogram("tidemill_metadata_commit_duration_seconds", help).distribution(&[], &controller.commits);
    }
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("node", &*id), ("routing", facts.routing)];
    text.gauge("tidemill_build_info", "The version and the configuration of the node; always 1.").sample(&labels, 1);
    text.gauge("tidemill_uptime_seconds", "The time since the process started.")
        .sample(&[], facts.started.elapsed().as_secs_f64());
    text.gauge("tidemill_shards", "The shards of the node.").sample(&[], edge.shards.links().len());
    text.gauge("tidemill_shards_answering", "The shards whose numbers are in this response.").sample(&[], shards.len());
    let class = if facts.is_flushed { "flushed" } else { "written" };
    let help = "flushed: an acknowledged record is on stable storage. written: a crash of the machine can lose it. \
        The default of topics; always 1.";
    text.gauge("tidemill_durability_info", help).sample(&[("class", class)], 1);
    let volumes: Vec<_> = ["data", "journal"]
        .into_iter()
        .zip(&facts.directories)
        .filter_map(|(name, path)| Some((name, dir::volume(path).ok()?)))
        .collect();
    let mut family = text.gauge("tidemill_disk_size_bytes", "The size of the volume that has the directory.");
    for (name, volume) in &volumes {
        family.sample(&[("directory", name)], volume.total_bytes);
    }
    let mut family = text.gauge("tidemill_disk_free_bytes", "The free bytes of the volume that the node may use.");
    for (name, volume) in &volumes {
        family.sample(&[("directory", name)], volume.usable_bytes);
    }
}

/// The names that Prometheus' client libraries give the process.
fn process(text: &mut Exposition) {
    let process = process::read();
    if let Some(seconds) = process.cpu_seconds {
        text.counter("process_cpu_seconds_total", "User and system time of the process.").sample(&[], seconds);
    }
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory of the process.", process.resident_bytes),
        ("process_open_fds", "Open file descriptors.", process.open_fds.map(|count| count as u64)),
        ("process_max_fds", "The limit of open file descriptors.", process.max_fds),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            text.gauge(name, help).sample(&[], value);
        }
    }
    let counters = [
        ("tidemill_storage_read_bytes_total", "Bytes that the storage delivered to the process.", process.read_bytes),
        (
            "tidemill_storage_written_bytes_total",
            "Bytes of the process that went to the storage.",
            process.written_bytes,
        ),
    ];
    for (name, help, value) in counters {
        if let Some(value) = value {
            text.counter(name, help).sample(&[], value);
        }
    }
}

fn requests(text: &mut Exposition, shards: &[Box<ShardFigures>]) {
    let apis = by_api(shards);
    type Field = fn(&ApiSum) -> u64;
    let counters: [(&str, &str, Field); 4] = [
        ("tidemill_requests_total", "Requests of clients, by API.", |api| api.requests),
        (
            "tidemill_request_closes_total",
            "Requests that closed their connection: malformed, or with a refused batch and acks=0.",
            |api| api.closes,
        ),
        ("tidemill_request_received_bytes_total", "Bytes of requests.", |api| api.request_bytes),
        ("tidemill_request_sent_bytes_total", "Bytes of responses.", |api| api.response_bytes),
    ];
    for (name, help, field) in counters {
        let mut family = text.counter(name, help);
        for (name, api) in &apis {
            family.sample(&[("api", name)], field(api));
        }
    }
    let help = "Error codes in responses, of Kafka's names: one for each partition, topic or group with an error.";
    let mut family = text.counter("tidemill_request_errors_total", help);
    for (name, api) in &apis {
        for (error, count) in &api.errors {
            family.sample(&[("api", name), ("error", error)], count);
        }
    }
    let help = "From the last received byte of a request until its response is ready to be sent.";
    let mut family = text.histogram("tidemill_request_duration_seconds", help);
    for (name, api) in &apis {
        family.distribution(&[("api", name)], &api.time);
    }
    let help = "Produce requests by stage. journal_wait and flush are of journal groups, which many requests share; \
        commit is the same time as each request sees it.";
    stages(text.histogram("tidemill_produce_stage_duration_seconds", help), shards, |shard| &shard.produce_stages);
    let help = "Fetch requests by stage. wait: for records, only of the requests that waited; send: with the read of \
        records that are not in memory.";
    stages(text.histogram("tidemill_fetch_stage_duration_seconds", help), shards, |shard| &shard.fetch_stages);
    let help = "Requests that wait: Produce for the commit, Fetch for records.";
    let mut family = text.gauge("tidemill_requests_waiting", help);
    for shard in shards {
        let id = shard.shard.to_string();
        for (api, count) in [("Produce", shard.produces_waiting), ("Fetch", shard.fetches_waiting)] {
            family.sample(&[("shard", &id), ("api", api)], count);
        }
    }
}

fn stages(
    mut family: Family<'_>,
    shards: &[Box<ShardFigures>],
    of: impl Fn(&ShardFigures) -> &[(&'static str, Distribution)],
) {
    for shard in shards {
        let id = shard.shard.to_string();
        for (stage, distribution) in of(shard) {
            family.distribution(&[("shard", &id), ("stage", stage)], distribution);
        }
    }
}

/// Adds one sample for each shard.
fn each(mut family: Family<'_>, shards: &[Box<ShardFigures>], value: impl Fn(&ShardFigures) -> f64) {
    for shard in shards {
        family.sample(&[("shard", &shard.shard.to_string())], value(shard));
    }
}

fn for_shards(text: &mut Exposition, shards: &[Box<ShardFigures>]) {
    let mut family = text.gauge("tidemill_connections", "Open connections of clients.");
    for shard in shards {
        for (listener, count) in &shard.connections.open {
            family.sample(&[("shard", &shard.shard.to_string()), ("listener", listener)], count);
        }
    }
    type Field = fn(&ShardFigures) -> f64;
    let gauges: [(&str, &str, Field); 9] = [
        ("tidemill_partitions", "Partitions that the shard serves.", |shard| shard.partitions.len() as f64),
        ("tidemill_offline_partitions", "Partitions that could not be opened.", |shard| {
            shard.beat.offline_partitions as f64
        }),
        ("tidemill_disk_full", "1 if the last write found the disk full.", |shard| {
            f64::from(u8::from(shard.beat.is_disk_full))
        }),
        ("tidemill_storage_failed", "1 if the shard takes no more writes because its storage failed.", |shard| {
            f64::from(u8::from(shard.beat.failure.is_some()))
        }),
        (
            "tidemill_memory_limit_bytes",
            "The most memory of each shard for buffers: memory.bytes, or its share of the machine.",
            |shard| shard.memory.arena_bytes_max as f64,
        ),
        ("tidemill_memory_used_bytes", "Buffers in use.", |shard| shard.memory.arena_bytes as f64),
        (
            "tidemill_memory_log_bytes",
            "Log data in memory: chunks that are not written back, and the cache.",
            |shard| shard.memory.log_bytes as f64,
        ),
        (
            "tidemill_memory_log_limit_bytes",
            "The share of log data now. It shrinks when the machine runs short.",
            |shard| shard.memory.log_bytes_max as f64,
        ),
        ("tidemill_operations_in_flight", "Operations of the ring that are not complete.", |shard| {
            shard.runtime.operations as f64
        }),
    ];
    for (name, help, field) in gauges {
        each(text.gauge(name, help), shards, field);
    }
    let counters: [(&str, &str, Field); 9] = [
        ("tidemill_connections_accepted_total", "Connections so far, with those moved from another shard.", |shard| {
            shard.connections.accepted as f64
        }),
        ("tidemill_connections_refused_total", "Connections that a limit refused.", |shard| {
            shard.connections.refused as f64
        }),
        ("tidemill_task_polls_total", "Polls of tasks.", |shard| shard.runtime.polls as f64),
        ("tidemill_ring_enters_total", "Calls of io_uring_enter.", |shard| shard.runtime.enters as f64),
        ("tidemill_ring_completions_total", "Operations that the ring completed.", |shard| {
            shard.runtime.completions as f64
        }),
        ("tidemill_parks_total", "How often the idle shard slept.", |shard| shard.runtime.parks as f64),
        ("tidemill_shard_wakeups_total", "How often the shard woke another one for a message.", |shard| {
            shard.runtime.rings as f64
        }),
        ("tidemill_stalls_total", "Polls that blocked the shard for more than 10 ms.", |shard| {
            shard.runtime.stalls as f64
        }),
        ("tidemill_hangs_total", "Polls that blocked the shard for more than 1 s.", |shard| shard.runtime.hung as f64),
    ];
    for (name, help, field) in counters {
        each(text.counter(name, help), shards, field);
    }
    let mut family = text.counter("tidemill_task_seconds_total", "The time in which tasks ran, by class.");
    for shard in shards {
        let id = shard.shard.to_string();
        for (class, ns) in ["foreground", "replication", "background"].iter().zip(shard.runtime.class_ns) {
            family.sample(&[("shard", &id), ("class", class)], seconds(ns));
        }
    }
}

fn journals(text: &mut Exposition, shards: &[Box<ShardFigures>]) {
    type Field = fn(&ShardFigures) -> f64;
    let counters: [(&str, &str, Field); 4] = [
        ("tidemill_journal_groups_total", "Groups, one write each.", |shard| shard.journal.groups as f64),
        ("tidemill_journal_written_bytes_total", "Bytes of groups, with headers and padding.", |shard| {
            shard.journal.bytes as f64
        }),
        ("tidemill_journal_batches_total", "Batches in groups.", |shard| shard.journal.batches as f64),
        ("tidemill_journal_space_waits_total", "How often a group waited for a free file.", |shard| {
            shard.journal.waits_for_space as f64
        }),
    ];
    for (name, help, field) in counters {
        each(text.counter(name, help), shards, field);
    }
    let gauges: [(&str, &str, Field); 7] = [
        ("tidemill_journal_files", "Files of the journal.", |shard| f64::from(shard.journal.files)),
        ("tidemill_journal_files_in_use", "Files that a replay would read now.", |shard| {
            shard.journal.files_in_use as f64
        }),
        ("tidemill_journal_files_limit", "The number of files that the journal grows to.", |shard| {
            shard.journal.files_max as f64
        }),
        ("tidemill_journal_pending_bytes", "Bytes that were appended and are not durable yet.", |shard| {
            shard.journal.pending_bytes as f64
        }),
        ("tidemill_journal_pending_age_seconds", "The age of the oldest of the pending bytes.", |shard| {
            seconds(shard.journal.pending_age_ns)
        }),
        ("tidemill_journal_unflushed_bytes", "Bytes written without a flush, which no later flush covers.", |shard| {
            shard.journal.unflushed_bytes as f64
        }),
        ("tidemill_journal_unflushed_age_seconds", "The age of the oldest of the unflushed bytes.", |shard| {
            seconds(shard.journal.unflushed_age_ns)
        }),
    ];
    for (name, help, field) in gauges {
        each(text.gauge(name, help), shards, field);
    }
    let mut family = text.histogram("tidemill_checkpoint_duration_seconds", "Checkpoints that were stored.");
    for shard in shards {
        family.distribution(&[("shard", &shard.shard.to_string())], &shard.checkpoints.duration);
    }
    let help = "Checkpoints that failed, also because the disk was full.";
    each(text.counter("tidemill_checkpoint_failures_total", help), shards, |shard| shard.checkpoints.failed as f64);
    let mut family = text.gauge("tidemill_checkpoint_age_seconds", "The time since the latest checkpoint.");
    for shard in shards {
        if let Some(age_ns) = shard.checkpoints.age_ns {
            family.sample(&[("shard", &shard.shard.to_string())], seconds(age_ns));
        }
    }
}
