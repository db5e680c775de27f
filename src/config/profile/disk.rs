//! `disk.toml`: the costs of a device and its file system.

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::latency::Latency;
use super::parse::{Head, Profile, require};
use super::provenance::Provenance;

/// The measurements of the volume of one data directory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DiskProfile {
    /// The version of the format.
    pub version: u32,
    /// The device, its queue and its file system.
    pub fingerprint: Fingerprint,
    /// The measurements.
    pub measured: MeasuredDisk,
    /// The circumstances.
    pub provenance: Provenance,
}

/// Latencies and rates, with O_DIRECT if the file system has it, in a file that was written before.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MeasuredDisk {
    /// The size of the file.
    pub file_bytes: u64,
    /// The file system has O_DIRECT. Without it, writes went through the page cache and were flushed.
    pub direct_io: bool,
    /// The used share of the volume.
    pub fill_percent: f64,
    /// Bandwidth and operations per second.
    pub bandwidth: Bandwidth,
    /// A write of 4 KiB and a flush, as two operations.
    pub flush: Flush,
    /// A read of 16 KiB while the device is idle.
    pub read_idle: Latency,
    /// The same, beside durable writes of 64 KiB, two in flight.
    pub read_beside_writes: Latency,
    /// Durable writes by size and depth.
    pub writes: Vec<WriteCell>,
    /// Durable writes of 64 KiB over minutes, in the full form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
}

/// Rates without a flush, except for `random_writes_per_second`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Bandwidth {
    /// 1 MiB, four in flight.
    pub write_mb_per_second: f64,
    /// 1 MiB, four in flight.
    pub read_mb_per_second: f64,
    /// Durable writes of 4 KiB at random positions, eight in flight.
    pub random_writes_per_second: f64,
    /// Reads of 4 KiB at random positions, 32 in flight.
    pub random_reads_per_second: f64,
}

/// The two parts of a durable write that is not one operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Flush {
    /// The write without a flush.
    pub write: Latency,
    /// fdatasync after it.
    pub flush: Latency,
}

/// Durable writes (RWF_DSYNC) of one size at one depth.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WriteCell {
    /// The bytes of a write.
    pub bytes: u64,
    /// Writes in flight.
    pub depth: u32,
    /// Bytes per second, in millions.
    pub mb_per_second: f64,
    /// The time of a write.
    pub latency: Latency,
}

/// One interval of a long measurement.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Drift {
    /// The end of the interval, from the start of the measurement.
    pub second: u64,
    /// Bytes per second, in millions.
    pub mb_per_second: f64,
    /// The median latency.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
}

impl MeasuredDisk {
    /// The durable writes of this size at this depth.
    pub fn cell(&self, bytes: u64, depth: u32) -> Option<&WriteCell> {
        self.writes.iter().find(|cell| cell.bytes == bytes && cell.depth == depth)
    }

    /// The measured depths for a size, in ascending order.
    pub fn depths(&self, bytes: u64) -> Vec<&WriteCell> {
        let mut cells: Vec<_> = self.writes.iter().filter(|cell| cell.bytes == bytes).collect();
        cells.sort_by_key(|cell| cell.depth);
        cells
    }
}

impl Profile for DiskProfile {
    const COMMAND: &'static str = "tidemill tune disk";

    fn head(&self) -> Head<'_> {
        Head { version: self.version, fingerprint: &self.fingerprint, provenance: &self.provenance }
    }

    fn check(&self) -> Result<(), String> {
        let MeasuredDisk { bandwidth, flush, read_idle, read_beside_writes, writes, drift, .. } = &self.measured;
        require("fill_percent", self.measured.fill_percent, 100.0)?;
        for (name, value) in [
            ("write_mb_per_second", bandwidth.write_mb_per_second),
            ("read_mb_per_second", bandwidth.read_mb_per_second),
            ("random_writes_per_second", bandwidth.random_writes_per_second),
            ("random_reads_per_second", bandwidth.random_reads_per_second),
        ] {
            require(name, value, 1e9)?;
        }
        let mut latencies = vec![
            ("flush.write".to_owned(), &flush.write),
            ("flush.flush".to_owned(), &flush.flush),
            ("read_idle".to_owned(), read_idle),
            ("read_beside_writes".to_owned(), read_beside_writes),
        ];
        if writes.is_empty() {
            return Err("writes is empty".into());
        }
        for cell in writes {
            let name = format!("writes of {} bytes at depth {}", cell.bytes, cell.depth);
            if cell.bytes == 0 || !cell.bytes.is_multiple_of(4096) || !(1..=1024).contains(&cell.depth) {
                return Err(format!("{name}: a direct write has whole blocks of 4096 bytes, and a depth up to 1024"));
            }
            require(&name, cell.mb_per_second, 1e9)?;
            latencies.push((name, &cell.latency));
        }
        for interval in drift {
            require("drift", interval.mb_per_second, 1e9)?;
        }
        for (name, latency) in latencies {
            latency.problem().map_or(Ok(()), |problem| Err(format!("{name}: {problem}")))?;
        }
        Ok(())
    }
}
