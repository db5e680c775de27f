//! Two workers of one Connect cluster, and requests to their REST interface.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::jvm::Jvm;
use crate::support::scratch::Ports;
use crate::support::{rest, wait_for};

/// Deadline of a worker's start or a group's rebalance on a machine with other load.
pub const WITHIN: Duration = Duration::from_secs(120);

pub struct Worker {
    pub jvm: Jvm,
    port: u16,
}

impl Worker {
    pub fn start(n: u16, dir: &Path, bootstrap: &str, class_path: &str, ports: &Ports) -> Worker {
        let port = ports.first() + n;
        let name = format!("worker-{n}");
        let properties = dir.join(format!("{name}.properties"));
        // Kafka's default partition counts of the internal topics, and short delays.
        let text = format!(
            "bootstrap.servers={bootstrap}\ngroup.id=connect\nlisteners=HTTP://127.0.0.1:{port}\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=org.apache.kafka.connect.storage.StringConverter\n\
             config.storage.topic=connect-configs\nconfig.storage.replication.factor=1\n\
             offset.storage.topic=connect-offsets\noffset.storage.replication.factor=1\n\
             status.storage.topic=connect-status\nstatus.storage.replication.factor=-1\n\
             exactly.once.source.support=enabled\nconsumer.isolation.level=read_committed\n\
             offset.flush.interval.ms=1000\nscheduled.rebalance.max.delay.ms=500\n\
             session.timeout.ms=6000\nheartbeat.interval.ms=1000\nconsumer.session.timeout.ms=6000\n\
             plugin.discovery=service_load\n"
        );
        fs::write(&properties, text).expect("the scratch directory can be written");
        let properties = properties.to_str().expect("the work tree's path is UTF-8");
        let main = "org.apache.kafka.connect.cli.ConnectDistributed";
        let mut jvm = Jvm::new(&name, dir, class_path, main, &[properties]);
        jvm.start();
        Worker { jvm, port }
    }

    /// The worker's id in the status of its tasks.
    pub fn id(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Repeats a request until its status is `wanted`: starting workers and rebalancing groups refuse for a while.
    pub fn asks(&self, method: &str, path: &str, body: Option<&Value>, wanted: &[u16]) -> Value {
        let mut last = None;
        let until = Instant::now() + WITHIN;
        loop {
            match rest::ask(self.port, method, path, body) {
                Ok((status, value)) if wanted.contains(&status) => return value,
                other => last = Some(other).or(last),
            }
            assert!(Instant::now() < until, "{method} {path} at {}: {last:?}", self.id());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn gets(&self, path: &str) -> Value {
        self.asks("GET", path, None, &[200])
    }

    /// Creates the connector, or replaces its configuration.
    pub fn configures(&self, connector: &str, config: &Value) {
        self.asks("PUT", &format!("/connectors/{connector}/config"), Some(config), &[200, 201]);
    }

    /// Stops a connector, deletes its offsets, and resumes it; returns the deleted offsets.
    pub fn forgets(&self, connector: &str) -> Vec<Value> {
        let path = |what: &str| format!("/connectors/{connector}/{what}");
        self.asks("PUT", &path("stop"), None, &[202, 204]);
        self.waits_for("STOPPED", &[(connector, 0)], &[]);
        let offsets = self.gets(&path("offsets"))["offsets"].as_array().cloned().unwrap_or_default();
        self.asks("DELETE", &path("offsets"), None, &[200]);
        assert_eq!(self.gets(&path("offsets"))["offsets"], Value::Array(vec![]), "{connector}");
        self.asks("PUT", &path("resume"), None, &[202, 204]);
        offsets
    }

    /// Waits until every connector and `tasks` tasks of it are in `state`. Unless `workers` is empty, they must run on
    /// these workers only. Returns the worker of each task.
    pub fn waits_for(&self, state: &str, connectors: &[(&str, usize)], workers: &[String]) -> Vec<(String, String)> {
        let mut seen = Value::Null;
        let deadline = Instant::now() + WITHIN;
        loop {
            let mut places = Vec::new();
            let all = connectors.iter().all(|(connector, tasks)| {
                let Ok((200, status)) = rest::ask(self.port, "GET", &format!("/connectors/{connector}/status"), None)
                else {
                    return false;
                };
                seen = status;
                let is_there = |part: &Value| {
                    let is_on = workers.is_empty() || workers.iter().any(|worker| part["worker_id"] == worker.as_str());
                    part["state"] == state && is_on
                };
                let parts = seen["tasks"].as_array().cloned().unwrap_or_default();
                for part in &parts {
                    let worker = part["worker_id"].as_str().unwrap_or_default().to_string();
                    places.push((format!("{connector}-{}", part["id"]), worker));
                }
                is_there(&seen["connector"]) && parts.len() == *tasks && parts.iter().all(is_there)
            });
            if all {
                return places;
            }
            assert!(Instant::now() < deadline, "not {state} on {workers:?} within {WITHIN:?}: {seen:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Waits until each worker answers and knows the cluster.
pub fn ready(workers: &[Worker]) {
    for worker in workers {
        wait_for(&format!("{} answers", worker.jvm.name()), WITHIN, || {
            let root = rest::ask(worker.port, "GET", "/", None).ok()?;
            (root.0 == 200 && root.1["kafka_cluster_id"].is_string()).then_some(())
        });
    }
}
