//! `tidemill tune disk`: measures the disk of a directory, through the runtime that a node uses.
//!
//! The file is prewritten, as a journal is, and has lost its name before the first write: the space is free again when
//! the command ends, also if it is killed.

mod file;
mod io_properties;
mod measure;
mod report;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::machine::{disk_fingerprint, mount_point};
use super::progress::Progress;
use super::provenance::Begun;
use super::svg::Panel;
use super::{Measure, host, store};
use crate::config::profile::{
    Bandwidth, DISK_FILE, DiskProfile, Drift, Flush, Form, MeasuredDisk, Profile, VERSION, WriteCell,
};
use crate::runtime::{self, dir};
use crate::tools::Failure;
use file::TestFile;
use measure::{Load, Pattern};

/// The sizes of durable writes.
const SIZES: [u64; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// The depths of durable writes.
const DEPTHS: [u32; 4] = [1, 2, 4, 8];

/// The lengths of the parts of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The bytes of the file.
    pub file_bytes: u64,
    /// The length of each cell of durable writes, and of each other measurement.
    pub cell: Duration,
    /// The length of an interval of the drift.
    pub interval: Duration,
    /// The number of intervals; 0 in the quick form.
    pub intervals: u64,
}

impl Plan {
    fn of(form: Form) -> Plan {
        match form {
            Form::Quick => {
                Plan { file_bytes: 256 << 20, cell: Duration::from_millis(500), interval: Duration::ZERO, intervals: 0 }
            }
            Form::Full => Plan {
                file_bytes: 1 << 30,
                cell: Duration::from_secs(4),
                interval: Duration::from_secs(10),
                intervals: 18,
            },
        }
    }

    /// The length of the whole measurement without the writing of the file.
    fn length(&self) -> Duration {
        let cells = SIZES.len() * DEPTHS.len() + OTHERS;
        self.cell * cells as u32 + self.interval * self.intervals as u32
    }
}

/// Measurements besides the durable writes: flushes, reads, reads beside writes, and four of bandwidth.
const OTHERS: usize = 7;

/// The arguments of `tidemill tune disk`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    measure: Measure,
    /// Also write the rates of the disk in the format of Seastar's iotune, for Redpanda or ScyllaDB on the same disk
    #[arg(long, value_name = "FILE")]
    io_properties: Option<PathBuf>,
}

/// Runs `tidemill tune disk`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let Args { measure: args, io_properties } = args;
    let form = args.form();
    let plan = Plan::of(form);
    let roots = args.roots();
    let directory = &args.dir;
    std::fs::create_dir_all(directory)
        .map_err(|error| Failure::new(format!("cannot create {}: {error}", directory.display())))?;
    let unreadable = |error| Failure::new(format!("cannot inspect {}: {error}", directory.display()));
    let fingerprint = disk_fingerprint(&roots, directory).map_err(unreadable)?;
    let volume = dir::volume(directory).map_err(unreadable)?;
    require_space(directory, volume.usable_bytes, plan.file_bytes)?;
    let beside_a_node = is_node_running(directory);
    if beside_a_node {
        eprintln!("warning: a node runs in {}: its load is part of the figures", directory.display());
    }
    if let Some(warning) = host::flushes_are_lost(&roots, directory) {
        eprintln!("warning: {warning}");
    }
    if let Some(kind @ ("tmpfs" | "ramfs")) = fingerprint.get("file_system") {
        eprintln!("warning: {} is in memory ({kind}), and no disk is measured", directory.display());
    }
    let begun = Begun::now(&roots);
    let fill_percent = volume.used_percent().round();
    let measured = measure_disk(directory, plan).map(|measured| MeasuredDisk { fill_percent, ..measured });
    let measured = measured.map_err(|error| explain(directory, plan.file_bytes, &error))?;
    let profile =
        DiskProfile { version: VERSION, fingerprint, measured, provenance: begun.end(&roots, form, beside_a_node) };
    profile.check().map_err(|problem| Failure::new(format!("the measurement is not plausible: {problem}")))?;
    let path = store::write_profile(&args.target(), DISK_FILE, &profile)?;
    if let Some(file) = io_properties {
        let mount_point = mount_point(&roots, directory).map_err(unreadable)?.unwrap_or_else(|| "/".into());
        let text = io_properties::render(&mount_point, &profile);
        store::replace_file(file, text.as_bytes()).map_err(|error| store::cannot_write(file, &error))?;
        eprintln!("{}: for Seastar's --io-properties-file; a Tidemill node does not read it", file.display());
    }
    let cells = profile.measured.writes.iter().map(|cell| Panel {
        title: format!("{} KiB, {} in flight, {:.0} MB/s", cell.bytes >> 10, cell.depth, cell.mb_per_second),
        latency: &cell.latency,
    });
    let device = profile.fingerprint.get("device").unwrap_or("the disk");
    let title = format!("Durable writes to {device} by size and depth, {}", profile.provenance.date);
    args.draw(&title, &cells.collect::<Vec<_>>(), DEPTHS.len())?;
    let mut out = std::io::stdout().lock();
    report::print(&profile, &path, args.json, &mut out)?;
    Ok(())
}

/// Whether a process holds the lock of the data directory.
pub fn is_node_running(directory: &Path) -> bool {
    // Locking creates the file, so a directory without one stays as it is.
    directory.join(".lock").exists()
        && dir::lock(directory).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// The measurement takes a file, and leaves as much free for a node that is running.
fn require_space(directory: &Path, free: u64, need: u64) -> Result<(), Failure> {
    if free >= 2 * need {
        return Ok(());
    }
    let (free, need) = (free >> 20, (2 * need) >> 20);
    Err(Failure::with_hint(
        format!("{} has {free} MiB free, and the measurement needs {need} MiB", directory.display()),
        "free some space, or name a directory on the same disk with --dir; nothing was written",
    ))
}

/// The reason why a measurement failed. Its file is gone already.
fn explain(directory: &Path, file_bytes: u64, error: &io::Error) -> Failure {
    let place = directory.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::with_hint(
            format!("the disk of {place} became full while a file of {} MiB was written: {error}", file_bytes >> 20),
            "free some space and measure again; the file was removed, and no profile was written",
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Failure::with_hint(
            format!("cannot write to {place}: {error}"),
            "run the command as the user that the node runs as, or name another directory with --dir",
        ),
        _ => Failure::new(format!("measuring {place} failed: {error}; the file was removed")),
    }
}

/// Takes all measurements on a shard of its own.
pub fn measure_disk(directory: &Path, plan: Plan) -> io::Result<MeasuredDisk> {
    let directory = directory.to_owned();
    let settings = runtime::Config { arena_bytes_max: 256 << 20, ..runtime::Config::default() };
    runtime::run(settings, move || async move {
        let progress = Progress::new(plan.length());
        let measured = measure_all(&directory, plan, &progress).await;
        progress.finish();
        measured
    })?
}

/// The 90th percentile of durable writes of 16 KiB, two in flight, in microseconds.
pub fn measure_journal(directory: &Path, length: Duration) -> io::Result<f64> {
    let directory = directory.to_owned();
    runtime::run(runtime::Config::default(), move || async move {
        let file = TestFile::create(&directory, 64 << 20).await?;
        let load = Load { bytes: 16 << 10, depth: 2, pattern: Pattern::DurableWrite, length };
        io::Result::Ok(measure::run(&file, load).await?.recorder.latency().p90_us)
    })?
}

async fn measure_all(directory: &Path, plan: Plan, progress: &Progress) -> io::Result<MeasuredDisk> {
    progress.step("writing a file");
    let file = TestFile::create(directory, plan.file_bytes).await?;
    let writes = measure_writes(&file, plan, progress).await?;
    let load = |bytes, depth, pattern| Load { bytes, depth, pattern, length: plan.cell };
    progress.step("flushes");
    let (write, flush) = measure::flushes(&file, plan.cell).await?;
    progress.advance(plan.cell);
    progress.step("reads");
    let read_idle = measure::run(&file, load(16 << 10, 1, Pattern::RandomRead)).await?;
    progress.advance(plan.cell);
    progress.step("reads beside writes");
    let read_beside_writes = measure::reads_beside_writes(&file, plan.cell).await?;
    progress.advance(plan.cell);
    let mut rates = Vec::new();
    for (name, bytes, depth, pattern) in [
        ("sequential writes", 1 << 20, 4, Pattern::PlainWrite),
        ("sequential reads", 1 << 20, 4, Pattern::Read),
        ("random writes", 4 << 10, 8, Pattern::RandomWrite),
        ("random reads", 4 << 10, 32, Pattern::RandomRead),
    ] {
        progress.step(name);
        let result = measure::run(&file, load(bytes, depth, pattern)).await?;
        rates.push((result.mb_per_second(bytes), result.per_second()));
        progress.advance(plan.cell);
    }
    let drift = measure_drift(&file, plan, progress).await?;
    let rounded = |value: f64| (value * 10.0).round() / 10.0;
    Ok(MeasuredDisk {
        file_bytes: plan.file_bytes,
        direct_io: file.file.is_direct(),
        fill_percent: 0.0,
        bandwidth: Bandwidth {
            write_mb_per_second: rounded(rates[0].0),
            read_mb_per_second: rounded(rates[1].0),
            random_writes_per_second: rates[2].1.round(),
            random_reads_per_second: rates[3].1.round(),
        },
        flush: Flush { write: write.latency(), flush: flush.latency() },
        read_idle: read_idle.recorder.latency(),
        read_beside_writes: read_beside_writes.latency(),
        writes,
        drift,
    })
}

/// Durable writes of each size at each depth.
async fn measure_writes(file: &TestFile, plan: Plan, progress: &Progress) -> io::Result<Vec<WriteCell>> {
    let mut cells = Vec::new();
    for bytes in SIZES {
        for depth in DEPTHS {
            progress.step(&format!("durable writes of {} KiB, {depth} in flight", bytes >> 10));
            let load = Load { bytes, depth, pattern: Pattern::DurableWrite, length: plan.cell };
            let result = measure::run(file, load).await?;
            let mb_per_second = (result.mb_per_second(bytes) * 10.0).round() / 10.0;
            cells.push(WriteCell { bytes, depth, mb_per_second, latency: result.recorder.latency() });
            progress.advance(plan.cell);
        }
    }
    Ok(cells)
}

/// Durable writes of 64 KiB, interval by interval.
async fn measure_drift(file: &TestFile, plan: Plan, progress: &Progress) -> io::Result<Vec<Drift>> {
    let mut drift = Vec::new();
    let bytes = 64 << 10;
    for interval in 1..=plan.intervals {
        progress.step("drift of durable writes");
        let load = Load { bytes, depth: 2, pattern: Pattern::DurableWrite, length: plan.interval };
        let result = measure::run(file, load).await?;
        let latency = result.recorder.latency();
        drift.push(Drift {
            second: interval * plan.interval.as_secs(),
            mb_per_second: (result.mb_per_second(bytes) * 10.0).round() / 10.0,
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
        });
        progress.advance(plan.interval);
    }
    Ok(drift)
}
