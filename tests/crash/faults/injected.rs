//! An error, a full disk or a short write at every point where a shard changes the disk: at the first operation of a
//! kind, at the second, and so on. Acknowledged records survive a restart, and also a power failure that loses all
//! unflushed data. That failure detects a flush that was retried after an error.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidemill::runtime::fault::{Fault, FaultPlan, Rule, Target};
use tidemill::runtime::record::Recorder;

use super::disk::{Disk, Luck};
use super::load::{self, Ledger, Load};
use super::report;
use crate::support::turn;

/// Errno 5, 1 and 28, as Linux numbers them everywhere.
const EIO: Fault = Fault::Errno(5);
/// The errno of a file system without hard links.
const EPERM: Fault = Fault::Errno(1);
const ENOSPC: Fault = Fault::Errno(28);
const SHORT: Fault = Fault::Short(4096);

const FAULTS: [(Target, Fault); 17] = [
    (Target::Write, EIO),
    (Target::Write, ENOSPC),
    (Target::Write, SHORT),
    (Target::WriteSync, EIO),
    (Target::WriteSync, ENOSPC),
    (Target::WriteSync, SHORT),
    (Target::Sync, EIO),
    (Target::Sync, ENOSPC),
    (Target::Open, EIO),
    (Target::Open, ENOSPC),
    (Target::Truncate, EIO),
    (Target::Rename, EIO),
    (Target::Rename, ENOSPC),
    (Target::Link, EIO),
    (Target::Link, EPERM),
    (Target::Remove, EIO),
    (Target::MakeDirectory, EIO),
];
/// More points than any load has.
const POINTS_MAX: u64 = 2_000;

/// The outcomes over all points.
#[derive(Default)]
struct Counts {
    points: usize,
    refused: usize,
    failed: usize,
    went_on: usize,
    acknowledged: usize,
}

#[test]
fn a_failure_at_any_point_loses_nothing_that_was_acknowledged() {
    let _turn = turn::of("faults");
    let next = AtomicUsize::new(0);
    let mut rows: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut rows = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some((target, fault)) = FAULTS.get(at).copied() else { return rows };
                        let counts = everywhere(at as u64, target, fault);
                        assert!(counts.points > 0, "{target:?} is never done");
                        let name = match fault {
                            EIO => "EIO",
                            ENOSPC => "ENOSPC",
                            EPERM => "EPERM",
                            _ => "short",
                        };
                        let Counts { points, refused, failed, went_on, acknowledged } = counts;
                        let counts = [points, refused, failed, went_on, acknowledged, 0].map(|count| count.to_string());
                        rows.push((at, [format!("{target:?}"), name.into()].into_iter().chain(counts).collect()));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a failed point is reported above")).collect()
    });
    rows.sort();
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let columns =
        ["operation", "fault", "points", "did not open", "took no more", "went on", "batches acknowledged", "lost"];
    report::table("errors at every point", &columns, &rows);
}

/// SHARD-3 keeps the journal full: appends that wait for its space fail instead of waiting forever.
#[test]
fn a_shard_that_failed_with_a_full_journal_answers_and_stops() {
    let _turn = turn::of("faults");
    let root = load::images("injected-full");
    for (target, fault) in [(Target::Write, EIO), (Target::Sync, EIO), (Target::Rename, EIO)] {
        let mut counts = Counts::default();
        for nth in 1..=6 {
            let _ = fs::remove_dir_all(&root);
            // Batches that fill a journal of three files before the first checkpoint is stored.
            let load = Load {
                seed: nth,
                batches: 6,
                batch_bytes_max: 900_000,
                stops: true,
                opens_without_faults: true,
                ..Load::default()
            };
            let rule = Rule { target, nth, and_after: false, fault };
            once(&root, &load, rule, &mut counts)
                .unwrap_or_else(|why| panic!("{target:?} number {nth}, {fault:?}: {why}"));
        }
        // The load is larger than the journal, so a checkpoint writes, flushes and renames during each life.
        assert!(counts.failed > 0, "{target:?}: no shard failed");
    }
    let _ = fs::remove_dir_all(&root);
}

fn everywhere(number: u64, target: Target, fault: Fault) -> Counts {
    let mut counts = Counts::default();
    let root = load::images(&format!("injected-{number}"));
    for nth in 1..=POINTS_MAX {
        let _ = fs::remove_dir_all(&root);
        let explain = |why: String| format!("{target:?} number {nth}, {fault:?}: {why}");
        let seed = number << 16 | nth;
        let load = Load {
            seed,
            batches: 20,
            batch_bytes_max: 8_000,
            large_one_in: 12,
            with_topics: true,
            stops: true,
            awaits_compaction: nth == 1,
            ..Load::default()
        };
        if !once(&root, &load, Rule { target, nth, and_after: false, fault }, &mut counts)
            .unwrap_or_else(|why| panic!("{}", explain(why)))
        {
            let _ = fs::remove_dir_all(&root);
            return counts;
        }
    }
    panic!("{target:?}: no end after {POINTS_MAX} points");
}

/// A failure contains the system's error. An append that waits for space while the disk is full is refused in words.
fn names_the_error(why: &str) -> bool {
    why.contains("os error") || why.contains("No space left on the device")
}

/// Whether the rule struck.
fn once(root: &Path, load: &Load, rule: Rule, counts: &mut Counts) -> Result<bool, String> {
    let (live, left) = (root.join("live"), root.join("left"));
    let own_journal_dir = load.seed.is_multiple_of(2);
    let place = load::place(&live, own_journal_dir);
    let mut disk = Disk::of(&live);
    let ledger = Rc::new(RefCell::new(Ledger::of(load::image_with(&["plain", "kept", "purged", "compact", "txn"]))));
    let recorder = Recorder::default();
    let lived = load::live(&place, &ledger, load, &recorder, FaultPlan::new([rule]));
    let acknowledged = ledger.borrow().acknowledged_count();
    match &lived.failure {
        Some(why) if why.contains("hangs") => return Err(why.clone()),
        Some(why) if !lived.has_struck => return Err(format!("nothing was injected, and yet: {why}")),
        None if !lived.has_struck => return Ok(false),
        Some(why) if matches!(rule.fault, Fault::Errno(_)) && !names_the_error(why) => {
            return Err(format!("the failure does not contain the system's error: {why}"));
        }
        Some(_) if !lived.has_opened => counts.refused += 1,
        Some(_) => counts.failed += 1,
        None => counts.went_on += 1,
    }
    counts.points += 1;
    counts.acknowledged += acknowledged;
    // A power failure loses all unflushed data.
    recorder.take()[..lived.ended_at].iter().for_each(|event| disk.apply(event));
    disk.leave(&left, Luck::AllIsLost);
    for (what, root) in [("after a power failure", &left), ("after a restart", &live)] {
        let place = load::place(root, own_journal_dir);
        let image = ledger.borrow().image_at(lived.ended_at);
        load::reopen(&place, &image)
            .and_then(|(found, _)| ledger.borrow().check(&found, lived.ended_at, true))
            .map_err(|why| format!("{what}: {why} (it had reported {:?})", lived.failure))?;
    }
    Ok(true)
}
