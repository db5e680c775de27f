//! The lines that a start and a stop print: for readers, or one JSON object each with `--json`.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};

use super::bind::range;
use super::node::{Bound, Started};
use super::profile::Line;
use crate::config::listener::SHARD_IN_HOST;
use crate::config::profile::Derived;
use crate::config::{BrokerConfig, Routing};
use crate::disk::layout::DataDirectory;
use crate::model::counted;
use crate::router::broker::has_host_per_shard;
use crate::runtime::probe::{Finding, Level};

/// Prints to standard output.
#[derive(Clone, Copy)]
pub(super) struct Banner {
    is_json: bool,
}

impl Banner {
    pub fn new(is_json: bool) -> Banner {
        Banner { is_json }
    }

    /// The version, at the start.
    pub fn version(self) {
        let version = env!("CARGO_PKG_VERSION");
        self.print(&format!("tidemill {version}"), &json!({ "event": "starting", "version": version }));
    }

    /// The settings are legal, and the node does not start.
    pub fn checked(self, warnings: usize) {
        let text = match warnings {
            0 => "the settings are valid".to_owned(),
            _ => format!("the settings are valid, with {}", counted(warnings, "warning")),
        };
        self.print(&text, &json!({ "event": "checked", "warnings": warnings }));
    }

    /// One check of the machine.
    pub fn finding(self, finding: &Finding) {
        let level = match finding.level {
            Level::Fine => "ok",
            Level::Degraded => "note",
            Level::Unsafe => "warning",
        };
        let Finding { name, found, consequence, .. } = finding;
        let event = json!({
            "event": "check", "level": level, "name": name, "found": found, "consequence": consequence,
        });
        self.print(&format!("  {finding}"), &event);
    }

    /// A profile, or a setting that follows from it.
    pub fn profile(self, line: &Line) {
        match line {
            Line::Used { path, date } => {
                let text = format!("  profile    {path}, measured {date}");
                self.print(&text, &json!({ "event": "profile", "path": path, "measured": date }));
            }
            Line::Setting { derived, kept } => {
                let Derived { setting, value, reason } = derived;
                let text = match kept {
                    None => format!("             {setting}={value}: {reason}"),
                    Some(kept) => {
                        format!("             {setting}={kept} is set; the profile suggests {value}: {reason}")
                    }
                };
                let event = json!({
                    "event": "setting", "name": setting, "value": value, "kept": kept, "reason": reason,
                });
                self.print(&text, &event);
            }
            Line::Prediction(text) => {
                let event = json!({ "event": "prediction", "message": text });
                self.print(&format!("             {text}"), &event);
            }
            Line::Warning(message) => self.warning(message),
        }
    }

    /// A warning: in the log, or an object of its own.
    pub fn warning(self, message: &str) {
        if self.is_json {
            self.print("", &json!({ "event": "warning", "message": message }));
        } else {
            tracing::warn!("{message}");
        }
    }

    /// The directory and the shards, before they open.
    pub fn opening(self, config: &BrokerConfig, data: &DataDirectory, shards: u16) {
        let (routing, meaning) = match config.routing {
            Routing::Direct => ("direct", "each core is a broker with a port of its own"),
            Routing::Steer => {
                ("steer", "each core is a broker, and connections move from the shared port to their core")
            }
            Routing::Forward => ("forward", "one broker, requests cross to the core that owns the partition"),
        };
        let directory = data.root.display().to_string();
        let memory = config.shard_memory();
        let why = match config.is_given("memory.bytes") {
            true => "memory.bytes",
            false => "most of what is free, and less if the machine runs short",
        };
        let text = format!(
            "  data       {directory}\n  shards     {shards} ({routing}: {meaning})\n  \
             memory     up to {} MiB per shard ({why})",
            memory >> 20
        );
        let event = json!({
            "event": "opening", "data": directory, "shards": shards, "routing": routing, "memory_per_shard": memory,
        });
        self.print(&text, &event);
    }

    /// The listeners and the recovery, when the node serves.
    pub fn ready(
        self,
        config: &BrokerConfig,
        reports: &[Started],
        started_at: Instant,
        bound: &[Bound],
        edge: Option<SocketAddr>,
    ) {
        for listener in bound {
            let port = listener.address.port();
            let shards = reports.len() as u16;
            let (own, first_and_last) = match config.routing {
                Routing::Direct => {
                    let ports = port + 1..=port + shards;
                    let noun = if shards == 1 { "shard" } else { "shards" };
                    (format!(", {noun} on {}", range(&ports)), json!([ports.start(), ports.end()]))
                }
                Routing::Steer | Routing::Forward => (String::new(), Value::Null),
            };
            let Bound { name, address, advertised } = listener;
            let event = json!({
                "event": "listening", "listener": name, "address": address.to_string(),
                "advertised": advertised.to_string(), "shard_ports": first_and_last,
            });
            self.print(&format!("  {:<10} {address}{own}", name.to_lowercase()), &event);
            let host = &advertised.host;
            if config.routing == Routing::Steer && shards > 1 && !has_host_per_shard(host) {
                let note = "kafkajs and librdkafka before 2.10 (kcat) take brokers with one address for one broker:";
                let advice = format!("set advertised.listeners to a host name instead of {host}");
                let event = json!({ "event": "note", "message": format!("{note} {advice}") });
                self.print(&format!("  note       {note}\n             {advice}"), &event);
            }
        }
        if let Some(address) = edge {
            let url = format!("http://{address}/metrics");
            self.print(&format!("  metrics    {url}"), &json!({ "event": "metrics", "url": url }));
        }
        let partitions: usize = reports.iter().map(|started| started.report.partitions).sum();
        let replayed: u64 = reports.iter().map(|started| started.report.batches_replayed).sum();
        let is_clean = reports.iter().all(|started| started.report.was_clean);
        let mut text = String::new();
        if partitions > 0 {
            let how = match (is_clean, replayed) {
                (true, _) => "after a clean stop".to_owned(),
                (false, 1) => "1 batch replayed from the journals".to_owned(),
                (false, replayed) => format!("{replayed} batches replayed from the journals"),
            };
            text = format!("  partitions {partitions}, {how}\n");
        }
        let try_at = bound.first().map_or_else(String::new, bootstrap);
        let ms = started_at.elapsed().as_millis() as u64;
        let text = format!(
            "{text}  try        tidemill produce greetings --bootstrap {try_at}   (type lines, end with Ctrl-D)\n\
             \x20            tidemill consume greetings --bootstrap {try_at}\n\
             ready in {ms} ms"
        );
        let event = json!({
            "event": "ready", "ms": ms, "bootstrap": try_at, "partitions": partitions, "clean": is_clean,
            "batches_replayed": replayed,
        });
        self.print(&text, &event);
    }

    /// A signal has arrived.
    pub fn stopping(self, signal: &str) {
        let text = format!("{signal}: finishing requests in flight, flushing");
        self.print(&text, &json!({ "event": "stopping", "signal": signal }));
    }

    /// All shards have stopped cleanly.
    pub fn stopped(self) {
        self.print("stopped", &json!({ "event": "stopped" }));
    }

    /// A closed pipe does not end the node.
    fn print(self, text: &str, event: &Value) {
        let mut out = std::io::stdout().lock();
        let _ = if self.is_json { writeln!(out, "{event}") } else { writeln!(out, "{text}") };
        let _ = out.flush();
    }
}

/// The address that clients connect to: the advertised one, because a node can listen on `0.0.0.0`.
fn bootstrap(bound: &Bound) -> String {
    let (host, port) = (bound.advertised.host.replace(SHARD_IN_HOST, "0"), bound.advertised.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listener;

    #[test]
    fn the_suggested_address_is_the_advertised_one() {
        for expected in ["broker1:9092", "[::1]:9"] {
            let advertised = Listener::parse(&format!("PLAINTEXT://{expected}")).expect("a listener");
            let address = "0.0.0.0:9092".parse().expect("an address");
            assert_eq!(bootstrap(&Bound { name: "PLAINTEXT".into(), address, advertised }), expected);
        }
    }
}
