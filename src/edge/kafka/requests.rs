//! The part of `/metrics/kafka` for requests. Kafka's times are gauges with quantiles, in milliseconds.

use crate::edge::metrics::{ApiSum, by_api};
use crate::edge::shard::ShardFigures;
use crate::edge::text::{Exposition, Kind};
use crate::model::Distribution;

/// The quantiles that Kafka's JMX exporter shows.
const QUANTILES: [(&str, f64); 5] = [("0.50", 0.5), ("0.75", 0.75), ("0.95", 0.95), ("0.99", 0.99), ("0.999", 0.999)];

/// The families of requests.
pub(super) fn render(text: &mut Exposition, shards: &[Box<ShardFigures>]) {
    let apis: Vec<(&str, ApiSum)> = by_api(shards).into_iter().collect();
    let named: Vec<(&str, &ApiSum)> =
        apis.iter().flat_map(|(name, api)| names(name).map(move |name| (name, api))).collect();
    errors(text, &named);
    let total: Vec<_> = named.iter().map(|(name, api)| (*name, api.time.clone())).collect();
    let help = "From the last byte of a request until its response is ready, in milliseconds.";
    family(text, "kafka_network_requestmetrics_totaltimems", help, &total);
    let waits = |of_produce: Option<&str>, of_fetch: Option<&str>| {
        let produce = of_produce.map(|stage| ("Produce", sum(shards, |shard| &shard.produce_stages, stage)));
        let fetch = of_fetch.map(|stage| ("Fetch", sum(shards, |shard| &shard.fetch_stages, stage)));
        let all = produce.into_iter().chain(fetch).filter(|(_, time)| time.count() > 0);
        all.flat_map(|(api, time)| names(api).map(move |name| (name, time.clone()))).collect::<Vec<_>>()
    };
    let help = "From the last byte of a request until its first stage begins, in milliseconds.";
    family(text, "kafka_network_requestmetrics_requestqueuetimems", help, &waits(Some("queue"), Some("queue")));
    let help = "Produce: the append. Fetch: the search for records. In milliseconds.";
    family(text, "kafka_network_requestmetrics_localtimems", help, &waits(Some("append"), Some("read")));
    // Kafka counts a fetch that does not wait too: with a wait of zero.
    let mut remote = waits(Some("commit"), Some("wait"));
    let fetches = sum(shards, |shard| &shard.fetch_stages, "read").count();
    if fetches > 0 && !remote.iter().any(|(api, _)| *api == "Fetch") {
        remote.extend(names("Fetch").map(|name| (name, Distribution::default())));
    }
    for (_, time) in remote.iter_mut().filter(|(api, _)| api.starts_with("Fetch")) {
        *time = std::mem::take(time).with_zeros(fetches);
    }
    let help = "Produce: the wait until the batches are durable. Fetch: the wait for records. In milliseconds.";
    family(text, "kafka_network_requestmetrics_remotetimems", help, &remote);
    let help = "From the durable batches until the response is handed to the socket, in milliseconds.";
    family(text, "kafka_network_requestmetrics_responsequeuetimems", help, &waits(Some("answer"), None));
    let help = "From then until the socket has taken the response, in milliseconds.";
    family(text, "kafka_network_requestmetrics_responsesendtimems", help, &waits(Some("send"), Some("send")));
    purgatories(text, shards);
    let flush = sum(shards, |shard| &shard.produce_stages, "flush");
    let name = "kafka_log_logflushstats_logflushrateandtimems";
    let mut family = text.family(name, Kind::Gauge, "Durable writes of journal groups, in milliseconds.");
    for (name, quantile) in QUANTILES {
        family.sample(&[("quantile", name)], flush.quantile(quantile) * 1e3);
    }
    text.family(&format!("{name}_count"), Kind::Counter, "Durable writes.").sample(&[], flush.count());
}

/// Kafka's names of an API. Dashboards show consumers' fetches apart from brokers' fetches, which a single node does
/// not receive.
fn names(api: &str) -> impl Iterator<Item = &str> {
    std::iter::once(api).chain((api == "Fetch").then_some("FetchConsumer"))
}

/// Kafka counts responses without an error too, as NONE. This node does not.
fn errors(text: &mut Exposition, apis: &[(&str, &ApiSum)]) {
    let help = "Error codes in responses: one for each partition, topic or group with an error.";
    let mut family = text.counter("kafka_network_requestmetrics_errors_total", help);
    for (name, api) in apis {
        for (error, count) in &api.errors {
            family.sample(&[("request", name), ("error", error)], count);
        }
    }
}

fn purgatories(text: &mut Exposition, shards: &[Box<ShardFigures>]) {
    let help = "Requests that wait: Produce for the commit, Fetch for records.";
    let mut family = text.gauge("kafka_server_delayedoperationpurgatory_purgatorysize", help);
    let produces: usize = shards.iter().map(|shard| shard.produces_waiting).sum();
    let fetches: usize = shards.iter().map(|shard| shard.fetches_waiting).sum();
    family.sample(&[("delayedOperation", "Produce")], produces).sample(&[("delayedOperation", "Fetch")], fetches);
}

/// A stage on all shards.
fn sum(
    shards: &[Box<ShardFigures>],
    of: impl Fn(&ShardFigures) -> &[(&'static str, Distribution)],
    stage: &str,
) -> Distribution {
    let mut sum = Distribution::default();
    let stages = shards.iter().flat_map(|shard| of(shard));
    stages.filter(|(name, _)| *name == stage).for_each(|(_, time)| sum.add(time));
    sum
}

/// The quantiles and the count of each API's times.
fn family(text: &mut Exposition, name: &str, help: &str, times: &[(&str, Distribution)]) {
    let mut family = text.family(name, Kind::Gauge, help);
    for (api, time) in times {
        for (name, quantile) in QUANTILES {
            family.sample(&[("request", api), ("quantile", name)], time.quantile(quantile) * 1e3);
        }
    }
    let name = format!("{name}_count");
    let mut family = text.family(&name, Kind::Counter, "Requests.");
    for (api, time) in times {
        family.sample(&[("request", api)], time.count());
    }
}
