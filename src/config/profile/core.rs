//! `core.toml`: the costs of the cores.

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::latency::Latency;
use super::parse::{Head, Profile, require};
use super::provenance::Provenance;

/// The measurements of the cores of one machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CoreProfile {
    /// The version of the format.
    pub version: u32,
    /// The machine.
    pub fingerprint: Fingerprint,
    /// The shards of a node with default settings.
    pub shards: Vec<Shard>,
    /// The measurements.
    pub measured: MeasuredCores,
    /// The circumstances.
    pub provenance: Provenance,
}

/// The place of one shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shard {
    /// The number of the shard.
    pub id: u16,
    /// Its core.
    pub cpu: usize,
    /// The memory node of the core.
    pub numa: u32,
}

/// The costs that a node's settings depend on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MeasuredCores {
    /// Reading the monotonic clock.
    pub clock_ns: f64,
    /// The cheapest system call.
    pub syscall_ns: f64,
    /// CRC-32C of 64 KiB in the cache.
    pub crc_gb_per_second: f64,
    /// A copy of 64 KiB in the cache.
    pub copy_cached_gb_per_second: f64,
    /// A copy of 64 MiB from memory to memory.
    pub copy_memory_gb_per_second: f64,
    /// The time that the hypervisor took from the cores during the measurement.
    pub steal_percent: f64,
    /// The CPU time of the control group, in cores; absent without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_cores: Option<f64>,
    /// How late a timer of one millisecond fires.
    pub timer_late: Latency,
    /// A round trip of 64 bytes over a TCP connection on the loopback interface, between two shards.
    pub loopback: Latency,
    /// The latency of a message to another core; absent with one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake: Option<Wake>,
}

/// One way of a message between two shards: half of the round trip.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Wake {
    /// The receiver is parked in the kernel, and the message wakes it (`IORING_OP_MSG_RING`).
    pub parked: Latency,
    /// The receiver spins.
    pub spinning: Latency,
}

impl Profile for CoreProfile {
    const COMMAND: &'static str = "tidemill tune cores";

    fn head(&self) -> Head<'_> {
        Head { version: self.version, fingerprint: &self.fingerprint, provenance: &self.provenance }
    }

    fn check(&self) -> Result<(), String> {
        let measured = &self.measured;
        for (name, value, max) in [
            ("clock_ns", measured.clock_ns, 1e6),
            ("syscall_ns", measured.syscall_ns, 1e6),
            ("crc_gb_per_second", measured.crc_gb_per_second, 1e4),
            ("copy_cached_gb_per_second", measured.copy_cached_gb_per_second, 1e4),
            ("copy_memory_gb_per_second", measured.copy_memory_gb_per_second, 1e4),
            ("steal_percent", measured.steal_percent, 100.0),
            ("quota_cores", measured.quota_cores.unwrap_or(1.0), 1e5),
        ] {
            require(name, value, max)?;
        }
        let wake = measured.wake.iter().flat_map(|wake| [("parked", &wake.parked), ("spinning", &wake.spinning)]);
        let latencies = [("timer_late", &measured.timer_late), ("loopback", &measured.loopback)];
        for (name, latency) in wake.chain(latencies) {
            latency.problem().map_or(Ok(()), |problem| Err(format!("{name}: {problem}")))?;
        }
        match self.shards.is_empty() {
            true => Err("shards is empty".into()),
            false => Ok(()),
        }
    }
}
