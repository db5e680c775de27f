//! `tidemill tune cores`: measures the costs of the cores, through the runtime that a node uses.

mod local;
mod pair;
mod report;

use std::time::Duration;

use super::machine::{Roots, core_fingerprint, numa_node, quota_cores, steal_ticks};
use super::progress::Progress;
use super::provenance::Begun;
use super::svg::Panel;
use super::{Measure, store};
use crate::config::profile::{CORE_FILE, CoreProfile, Form, MeasuredCores, Profile, Shard, VERSION, Wake};
use crate::runtime::cpu;
use crate::tools::Failure;

/// A long spin: the receiver of a message never parks between two messages.
const SPIN_ALWAYS: Duration = Duration::from_millis(5);
/// The number of measurements that take one length each.
const PARTS: u32 = 8;

/// Runs `tidemill tune cores`.
pub fn run(args: &Measure) -> Result<(), Failure> {
    let roots = args.roots();
    let form = args.form();
    let length = match form {
        Form::Quick => Duration::from_millis(700),
        Form::Full => Duration::from_secs(15),
    };
    let fingerprint = core_fingerprint(&roots);
    let begun = Begun::now(&roots);
    let progress = Progress::new(length * PARTS);
    let measured = measure(&roots, length, &progress);
    progress.finish();
    let measured = measured.map_err(|error| Failure::new(format!("measuring the cores failed: {error}")))?;
    let profile = CoreProfile {
        version: VERSION,
        fingerprint,
        shards: shards(&roots),
        measured,
        provenance: begun.end(&roots, form, super::disk::is_node_running(&args.dir)),
    };
    profile.check().map_err(|problem| Failure::new(format!("the measurement is not plausible: {problem}")))?;
    let path = store::write_profile(&args.target(), CORE_FILE, &profile)?;
    let panels = report::latencies(&profile.measured);
    let panels: Vec<_> = panels.into_iter().map(|(name, latency)| Panel { title: name.to_owned(), latency }).collect();
    args.draw("Latencies of the cores", &panels, 2)?;
    let mut out = std::io::stdout().lock();
    report::print(&profile, &path, args.json, &mut out)?;
    Ok(())
}

/// The median latency of a message to a parked core, in microseconds.
pub fn measure_wake(cores: [usize; 2], length: Duration) -> std::io::Result<f64> {
    Ok(pair::messages(cores, Duration::ZERO, length)?.latency().p50_us)
}

/// The median round trip over the loopback interface, in microseconds.
pub fn measure_loopback(length: Duration) -> std::io::Result<f64> {
    Ok(pair::round_trips(&cpu::cores(), length)?.latency().p50_us)
}

/// The shards of a node with default settings: one on each core that the process may use.
fn shards(roots: &Roots) -> Vec<Shard> {
    let cores = cpu::cores();
    let shard = |(id, cpu): (usize, &usize)| Shard { id: id as u16, cpu: *cpu, numa: numa_node(roots, *cpu) };
    cores.iter().enumerate().map(shard).collect()
}

/// Takes all measurements, each for this length.
fn measure(roots: &Roots, length: Duration, progress: &Progress) -> std::io::Result<MeasuredCores> {
    let steal_before = steal_ticks(roots);
    let step = |name: &str| progress.step(name);
    step("messages between cores");
    let cores = cpu::cores();
    let wake = match cores[..] {
        [first, second, ..] => {
            let parked = pair::messages([first, second], Duration::ZERO, length)?;
            progress.advance(length);
            let spinning = pair::messages([first, second], SPIN_ALWAYS, length)?;
            Some(Wake { parked: parked.latency(), spinning: spinning.latency() })
        }
        _ => None,
    };
    progress.advance(length);
    step("the loopback interface");
    let loopback = pair::round_trips(&cores, length)?;
    progress.advance(length);
    step("timers");
    let timer_late = local::timers(length)?;
    progress.advance(length);
    step("clock, system calls, checksums, copies");
    let clock_ns = local::clock(length / 2);
    let syscall_ns = local::syscall(length / 2);
    progress.advance(length);
    let crc_gb_per_second = local::crc(length);
    progress.advance(length);
    let copy_cached_gb_per_second = local::copy(64 << 10, length);
    progress.advance(length);
    let copy_memory_gb_per_second = local::copy(64 << 20, length);
    let steal_percent = match (steal_before, steal_ticks(roots)) {
        (Some((all, steal)), Some((all_now, steal_now))) if all_now > all => {
            100.0 * steal_now.saturating_sub(steal) as f64 / (all_now - all) as f64
        }
        _ => 0.0,
    };
    Ok(MeasuredCores {
        clock_ns,
        syscall_ns,
        crc_gb_per_second,
        copy_cached_gb_per_second,
        copy_memory_gb_per_second,
        steal_percent: (steal_percent * 100.0).round() / 100.0,
        quota_cores: quota_cores(roots),
        timer_late: timer_late.latency(),
        loopback: loopback.latency(),
        wake,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_fills_every_field_and_leaves_the_thread_its_cores() {
        let roots = Roots::new(None);
        let before = cpu::cores();
        // A round for each measurement.
        let measured =
            measure(&roots, Duration::from_micros(1), &Progress::new(Duration::ZERO)).expect("the cores work");
        assert_eq!(cpu::cores(), before);
        assert_eq!(measured.wake.is_some(), before.len() > 1);
        let provenance = crate::config::profile::tests::core().provenance;
        let (fingerprint, shards) = (core_fingerprint(&roots), shards(&roots));
        let profile = CoreProfile { version: VERSION, fingerprint, shards, measured, provenance };
        let text = toml::to_string(&profile).expect("TOML");
        assert_eq!(crate::config::profile::parse::<CoreProfile>(&text), Ok(profile));
    }
}
