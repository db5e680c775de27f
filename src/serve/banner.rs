//! The lines that a start prints.

use std::io::Write;
use std::time::Instant;

use super::node::{Bound, Machine, Started};
use crate::config::{BrokerConfig, Routing};
use crate::disk::layout::DataDirectory;
use crate::router::broker::has_host_per_shard;
use crate::runtime::probe;
use crate::tools::Failure;

/// Probes the machine, prints the findings, and returns those that the shards use.
pub(super) fn report_probes(out: &mut impl Write, data: &DataDirectory) -> Result<Machine, Failure> {
    let probed = probe::probe(&data.root).map_err(|refusal| Failure::new(refusal.to_string()))?;
    let _ = writeln!(out, "tidemill {}", env!("CARGO_PKG_VERSION"));
    for finding in &probed.findings {
        let _ = writeln!(out, "  {finding}");
    }
    let mut buffered_devices: Vec<u64> = (!probed.direct_io).then_some(probed.device).into_iter().collect();
    if data.journal_root != data.root {
        let journal = probe::probe(&data.journal_root).map_err(|refusal| Failure::new(refusal.to_string()))?;
        if !journal.stable_storage {
            let _ = writeln!(
                out,
                "  journal.dir is not stable storage; an acknowledgement survives a crash of the process only"
            );
        }
        buffered_devices.extend((!journal.direct_io).then_some(journal.device));
    }
    Ok(Machine { ring_entries: probed.ring_entries, buffered_devices })
}

/// Prints the directory, the shards and the listeners.
pub(super) fn describe(
    out: &mut impl Write,
    config: &BrokerConfig,
    data: &DataDirectory,
    shards: u16,
    bound: &[Bound],
) {
    let _ = writeln!(out, "  data       {}", data.root.display());
    let routing = match config.routing {
        Routing::Direct => "direct: each core is a broker with a port of its own",
        Routing::Steer => "steer: each core is a broker, and connections move from the shared port to their core",
        Routing::Forward => "forward: one broker, requests cross to the core that owns the partition",
    };
    let _ = writeln!(out, "  shards     {shards} ({routing})");
    for listener in bound {
        let port = listener.address.port();
        let own = match config.routing {
            Routing::Direct => format!(", shards on {}-{}", port + 1, port + shards),
            Routing::Steer | Routing::Forward => String::new(),
        };
        let _ = writeln!(out, "  {:<10} {}{own}", listener.name.to_lowercase(), listener.address);
        let host = &listener.advertised.host;
        if config.routing == Routing::Steer && shards > 1 && !has_host_per_shard(host) {
            let note = "kafkajs and librdkafka before 2.10 (kcat) take brokers with one address for one broker:";
            let _ = writeln!(out, "  note       {note}");
            let _ = writeln!(out, "             set advertised.listeners to a host name instead of {host}");
        }
    }
}

/// Prints the recovery, the commands to try, and that the node is ready.
pub(super) fn print_ready(out: &mut impl Write, reports: &[Started], started_at: Instant, bound: &[Bound]) {
    let partitions: usize = reports.iter().map(|started| started.report.partitions).sum();
    let replayed: u64 = reports.iter().map(|started| started.report.batches_replayed).sum();
    if partitions > 0 {
        let how = if reports.iter().all(|started| started.report.was_clean) {
            "after a clean stop".to_owned()
        } else {
            format!("{replayed} batches replayed from the journals")
        };
        let _ = writeln!(out, "  partitions {partitions}, {how}");
    }
    let address = bound.first().map_or_else(String::new, |bound| bound.address.to_string());
    let _ =
        writeln!(out, "  try        tidemill produce greetings --bootstrap {address}   (type lines, end with Ctrl-D)");
    let _ = writeln!(out, "             tidemill consume greetings --bootstrap {address}");
    let _ = writeln!(out, "ready in {} ms", started_at.elapsed().as_millis());
    let _ = out.flush();
}
