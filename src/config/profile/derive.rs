//! Derives settings from profiles. Only settings that the node has, and only from figures that decide them.

use super::core::CoreProfile;
use super::disk::{DiskProfile, WriteCell};

/// A setting that follows from a profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Derived {
    /// The setting.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
    /// The figures, and the rule that they follow.
    pub reason: String,
}

/// The latency of a produce request with one record, one in flight, as the profiles predict it.
#[derive(Clone, PartialEq, Debug)]
pub struct Prediction {
    /// The median.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The terms of the sum.
    pub reason: String,
}

/// Longer spinning costs CPU and serves no more requests (`src/lib.rs`, "An idle core spins for 20 us").
const SPIN_US_MAX: f64 = 20.0;
/// With more steal, a core that spins takes time that the hypervisor gives to other machines.
const STEAL_PERCENT_MAX: f64 = 5.0;
/// The size of a journal group under load, for which the depth is chosen.
const GROUP_BYTES: u64 = 64 << 10;
/// The size of a group with one record.
const RECORD_BYTES: u64 = 4 << 10;
/// The gain in bandwidth that a deeper queue must bring, since it makes each write wait longer.
const DEPTH_GAIN: f64 = 1.15;
/// The largest `journal.depth`. Bare writes gain from 8, a node at full load does not (tuning/README.md).
const DEPTH_MAX: u32 = 4;

/// The settings that follow from these profiles.
pub fn derive(core: Option<&CoreProfile>, disk: Option<&DiskProfile>) -> Vec<Derived> {
    core.and_then(spin).into_iter().chain(disk.and_then(depth)).collect()
}

/// `spin.us`: as long as the wake-up that spinning saves. A core that spins so long and then parks has waited at most
/// twice as long as the better of the two choices.
fn spin(core: &CoreProfile) -> Option<Derived> {
    let measured = &core.measured;
    let setting = "spin.us";
    let zero = |reason| Some(Derived { setting, value: "0".into(), reason });
    if let Some(cores) = measured.quota_cores {
        return zero(format!("the control group may use {cores} cores, and spinning takes from that time"));
    }
    if measured.steal_percent > STEAL_PERCENT_MAX {
        let steal = measured.steal_percent;
        return zero(format!(
            "the hypervisor took {steal:.0}% of the time: a core that spins waits longer for its turn"
        ));
    }
    let wake = measured.wake.as_ref()?;
    let (parked, spinning) = (wake.parked.p50_us, wake.spinning.p50_us);
    let saved = (parked - spinning).max(0.0);
    let value = saved.min(SPIN_US_MAX).round();
    let bound = match saved > SPIN_US_MAX {
        true => format!("; more than {SPIN_US_MAX} us costs CPU and serves no more requests"),
        false => String::new(),
    };
    let reason =
        format!("a message reaches a parked core in {parked:.0} us, and a spinning one in {spinning:.1}{bound}");
    Some(Derived { setting, value: value.to_string(), reason })
}

/// `journal.depth`: deeper as long as the bandwidth grows by more than the waiting costs.
fn depth(disk: &DiskProfile) -> Option<Derived> {
    let cells = disk.measured.depths(GROUP_BYTES);
    let mut cells = cells.into_iter().filter(|cell| cell.depth <= DEPTH_MAX);
    let mut chosen = cells.next()?;
    let mut rejected: Option<&WriteCell> = None;
    for cell in cells {
        if cell.mb_per_second < chosen.mb_per_second * DEPTH_GAIN {
            rejected = Some(cell);
            break;
        }
        chosen = cell;
    }
    assert!(chosen.depth >= 1, "PROF-1: a parsed profile has possible depths");
    let describe = |cell: &WriteCell| {
        let (mb, p99) = (cell.mb_per_second, cell.latency.p99_us);
        format!("{} in flight: {mb:.0} MB/s and p99 {p99:.0} us", cell.depth)
    };
    let more = rejected.map(|cell| format!("; {}", describe(cell))).unwrap_or_default();
    let reason = format!("durable writes of 64 KiB, {}{more}", describe(chosen));
    Some(Derived { setting: "journal.depth", value: chosen.depth.to_string(), reason })
}

/// The latency of one produce request at a time: one durable write, and a round trip if the core profile has it.
pub fn predict(core: Option<&CoreProfile>, disk: &DiskProfile) -> Option<Prediction> {
    let write = &disk.measured.cell(RECORD_BYTES, 1)?.latency;
    let trip = core.map_or(0.0, |core| core.measured.loopback.p50_us);
    let term = if trip > 0.0 { format!(" and a round trip of {trip:.0} us") } else { String::new() };
    Some(Prediction {
        p50_us: write.p50_us + trip,
        p99_us: write.p99_us + trip,
        reason: format!("a durable write of 4 KiB ({:.0} us, p99 {:.0}){term}", write.p50_us, write.p99_us),
    })
}
