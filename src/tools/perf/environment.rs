//! The circumstances of a run: machine, disk, client, broker, and the durability of its acknowledgements.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Target;
use super::isolation::is_local;
use crate::model::counted;
use crate::runtime::cpu;
use crate::tools::Failure;
use crate::tools::client::Client;
use crate::tools::client::admin::TopicSetting;
use crate::tools::time;
use crate::tools::tune::machine::{Roots, core_fingerprint, disk_fingerprint};
use crate::wire::ApiKey;

/// Names and values about one subject.
pub struct Section {
    pub name: &'static str,
    pub facts: Vec<(String, String)>,
}

/// All that is known, for the report.
pub struct Environment {
    pub sections: Vec<Section>,
}

impl Environment {
    pub fn to_json(&self) -> Value {
        let object = |section: &Section| {
            let facts = section.facts.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
            (section.name.to_owned(), Value::Object(facts.collect()))
        };
        Value::Object(self.sections.iter().map(object).collect::<Map<_, _>>())
    }

    /// The value of a fact.
    pub fn get(&self, section: &str, name: &str) -> Option<&str> {
        let section = self.sections.iter().find(|one| one.name == section)?;
        section.facts.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }
}

fn fact(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// The machine of the client. Call it before the client is restricted to some of its cores.
pub fn machine(roots: &Roots) -> Section {
    let found = core_fingerprint(roots);
    let of = |name: &str| found.get(name).unwrap_or("unknown").to_owned();
    let memory = roots.read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    });
    let mut facts = vec![
        fact("CPU", of("cpu_model")),
        fact("cores", cpu::cores().len().to_string()),
        fact("memory", memory.map_or("unknown".into(), |kib| format!("{:.1} GiB", kib / f64::from(1 << 20)))),
        fact("kernel", of("kernel")),
        fact("hypervisor", of("hypervisor")),
    ];
    if let Some(load) = roots.read("/proc/loadavg").and_then(|text| text.split(' ').next().map(str::to_owned)) {
        facts.push(fact("load average before", load));
    }
    Section { name: "machine of the client", facts }
}

/// The client: its version and its cores.
pub fn client(cores: &str) -> Section {
    let facts = vec![
        fact("software", format!("tidemill perf {}", env!("CARGO_PKG_VERSION"))),
        fact("threads", "1"),
        fact("cores", cores),
        fact("date", time::format_utc(time::now_ms())),
    ];
    Section { name: "client", facts }
}

/// The broker, its disk, and the durability class of the topic. `acks` is that of the producers. A fact that the broker
/// does not give is marked as unknown; the run has succeeded, so no fact is worth an error.
pub fn broker(target: &Target, acks: Option<i16>) -> Result<Vec<Section>, Failure> {
    let mut client = target.connect.client()?;
    let topic = client.topic(&target.topic)?.clone();
    let replicas = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
    let settings = client.topic_settings(&target.topic).map_err(|error| error.to_string());
    let of = |name: &str| {
        let settings = settings.as_ref().ok()?;
        settings.iter().find(|setting| setting.name == name)?.value.clone()
    };
    let is_tidemill = of("tidemill.flush.ack").is_some();
    let disk = disk(&mut client, target);
    let versions = client.api_versions()?;
    let highest = |key: ApiKey| {
        let found = versions.api_keys.iter().find(|api| api.api_key == key.code());
        found.map_or("-".into(), |api| api.max_version.to_string())
    };
    let level = versions.finalized_features.iter().find(|feature| feature.name == "metadata.version");
    let release = match level.map(|level| level.max_version_level) {
        Some(level) => format!("metadata.version {level}: the protocol of {}", kafka_release(level)),
        None => "unknown: the broker has no metadata.version".into(),
    };
    let brokers = &client.cluster().brokers;
    let addresses: Vec<String> = brokers.values().map(|broker| broker.address()).collect();
    let facts = vec![
        fact("software", if is_tidemill { "Tidemill" } else { "Apache Kafka or a compatible broker" }),
        fact("version", release),
        fact("highest versions", format!("Produce {}, Fetch {}", highest(ApiKey::Produce), highest(ApiKey::Fetch))),
        fact("brokers", format!("{}: {}", counted(addresses.len(), "broker"), addresses.join(", "))),
        fact("cluster id", client.cluster().cluster_id.clone().unwrap_or("unknown".into())),
        fact(
            "topic",
            format!("{}, {replicas} in each", counted(topic.partitions.len(), "partition"))
                .replace(" in each", if replicas == 1 { " replica each" } else { " replicas each" }),
        ),
    ];
    let mut durability = vec![fact("class", durability(settings.as_deref(), acks))];
    for name in ["tidemill.flush.ack", "flush.messages", "flush.ms", "min.insync.replicas"] {
        durability.extend(of(name).map(|value| fact(name, value)));
    }
    durability.extend(acks.map(|acks| fact("acks", acks.to_string())));
    Ok(vec![Section { name: "broker", facts }, Section { name: "durability", facts: durability }, disk])
}

/// The release of Kafka with this level of `metadata.version`. A broker may be newer than its level.
fn kafka_release(level: i16) -> String {
    let release = match level {
        ..=6 => "before 3.3",
        7 => "3.3",
        8 => "3.4",
        9..=11 => "3.5",
        12..=14 => "3.6",
        15..=19 => "3.7",
        20 => "3.8",
        21 => "3.9",
        22..=25 => "4.0",
        26..=27 => "4.1",
        28..=29 => "4.2",
        30 => "4.3",
        31..=33 => "4.4",
        34.. => "after 4.4",
    };
    format!("Apache Kafka {release}")
}

/// The failures that an acknowledged record survives.
fn durability(settings: Result<&[TopicSetting], &String>, acks: Option<i16>) -> String {
    if acks == Some(0) {
        return "none: with acks=0 the broker does not acknowledge".into();
    }
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return format!("unknown: {error}"),
    };
    let of = |name: &str| settings.iter().find(|setting| setting.name == name)?.value.as_deref();
    match (of("tidemill.flush.ack"), of("flush.messages")) {
        (Some("true"), _) => "flushed: a record is on stable storage before it is acknowledged".into(),
        (Some(_), _) => "written, not flushed: a crash of the machine can lose acknowledged records".into(),
        (None, Some("1")) => "flushed: each append is flushed before it is acknowledged (flush.messages=1)".into(),
        (None, Some(_)) => {
            "page cache: a crash of the machines with all in-sync replicas can lose acknowledged records \
                            (flush.messages is not 1)"
                .into()
        }
        (None, None) => "unknown: the broker names no setting for flushes".into(),
    }
}

/// The disk of `--data`, or of the directory that a broker on this machine names.
fn disk(client: &mut Client, target: &Target) -> Section {
    let unknown =
        |why: String| Section { name: "disk of the broker", facts: vec![fact("device", format!("unknown: {why}"))] };
    let directory = match &target.data {
        Some(directory) => directory.clone(),
        None if !is_local(&target.connect.bootstrap) => return unknown("the broker is on another machine".into()),
        None => match log_directory(client) {
            Some(directory) => directory,
            None => return unknown("name the data directory of the broker with --data".into()),
        },
    };
    match describe_disk(&Roots::new(None), &directory) {
        Ok(facts) => Section { name: "disk of the broker", facts },
        Err(error) => unknown(format!("cannot read {}: {error}", directory.display())),
    }
}

/// The first log directory of a broker, if it is a directory of this machine.
fn log_directory(client: &mut Client) -> Option<PathBuf> {
    client.refresh(None).ok()?;
    let broker_id = *client.cluster().brokers.keys().next()?;
    let directories = client.log_dirs(broker_id, &[]).ok()?;
    let paths = directories.into_iter().map(|directory| PathBuf::from(directory.log_dir));
    paths.filter(|path| path.is_absolute()).find(|path| path.is_dir())
}

fn describe_disk(roots: &Roots, directory: &Path) -> std::io::Result<Vec<(String, String)>> {
    let found = disk_fingerprint(roots, directory)?;
    let mut facts = vec![fact("directory", directory.display().to_string())];
    let names = [
        ("device", "device"),
        ("model", "device_model"),
        ("transport", "device_transport"),
        ("file system", "file_system"),
        ("mount options", "mount_options"),
        ("scheduler", "scheduler"),
        ("write cache", "write_cache"),
        ("the device's own cache", "own_cache"),
    ];
    for (name, property) in names {
        facts.extend(found.get(property).map(|value| fact(name, value)));
    }
    if let Some(bytes) = found.get("device_bytes").and_then(|bytes| bytes.parse::<f64>().ok()) {
        facts.push(fact("size", format!("{:.0} GB", bytes / 1e9)));
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tune::machine::tests::MadeUp;

    #[test]
    fn the_durability_class_follows_from_the_settings_and_acks() {
        let setting =
            |name: &str, value: &str| TopicSetting { name: name.into(), value: Some(value.into()), is_own: false };
        let kafka = [setting("flush.messages", "9223372036854775807")];
        let flushed = [setting("flush.messages", "1")];
        let tidemill = [setting("flush.messages", "9223372036854775807"), setting("tidemill.flush.ack", "true")];
        let unflushed = [setting("tidemill.flush.ack", "false")];
        for (settings, acks, class) in [
            (&kafka[..], -1, "page cache"),
            (&flushed, -1, "flushed"),
            (&tidemill, 1, "flushed"),
            (&tidemill, 0, "none"),
            (&unflushed, -1, "written, not flushed"),
            (&[], -1, "unknown"),
        ] {
            let found = durability(Ok(settings), Some(acks));
            assert!(found.starts_with(&format!("{class}:")), "{found}");
        }
        let refused = durability(Err(&"CLUSTER_AUTHORIZATION_FAILED".into()), None);
        assert_eq!(refused, "unknown: CLUSTER_AUTHORIZATION_FAILED");
    }

    #[test]
    fn a_level_of_metadata_names_the_release() {
        for (level, release) in [(7, "3.3"), (25, "4.0"), (30, "4.3"), (33, "4.4"), (99, "after 4.4")] {
            assert_eq!(kafka_release(level), format!("Apache Kafka {release}"));
        }
    }

    #[test]
    fn machine_and_disk_are_described() {
        let made_up = MadeUp::with_disk("perf-report", "nvme0n1");
        made_up.file("/proc/cpuinfo", "model name\t: Fast CPU\n");
        made_up.file("/proc/meminfo", "MemTotal:       8388608 kB\n");
        made_up.file("/proc/sys/kernel/osrelease", "6.12\n");
        made_up.file("/sys/block/nvme0n1/queue/write_cache", "write back\n");
        let disk = describe_disk(made_up.roots(), made_up.directory()).expect("read");
        let sections = vec![machine(made_up.roots()), Section { name: "disk", facts: disk }];
        let environment = Environment { sections };
        for (section, name, value) in [
            ("machine of the client", "CPU", "Fast CPU"),
            ("machine of the client", "memory", "8.0 GiB"),
            ("machine of the client", "kernel", "6.12"),
            ("disk", "device", "nvme0n1"),
            ("disk", "file system", "xfs"),
            ("disk", "write cache", "write back"),
        ] {
            assert_eq!(environment.get(section, name), Some(value), "{name}");
            assert_eq!(environment.to_json()[section][name], value, "{name}");
        }
    }
}
