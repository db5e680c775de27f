//! Power failures: all records acknowledged before one survive it, once, in order, at their offsets.
//!
//! A story is several lives of one shard on one disk, each under load. A life ends with a kill (all written data stays)
//! or with a power failure (any part of the unflushed data stays). The test takes random moments of each life. For each
//! it rebuilds the disk after a power failure at that moment, and opens it.
//!
//! `TIDEMILL_POWER_SEED` and `TIDEMILL_POWER_MOMENTS` set the seed and the number of moments.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemill::runtime::fault::FaultPlan;
use tidemill::runtime::record::Recorder;
use tidemill::shard::open::ShardLocation;

use super::disk::{Disk, Luck};
use super::load::{self, Ledger, Load};
use super::report;
use crate::support::chance::{Chance, number};
use crate::support::scratch::Dir;
use crate::support::turn;

const LIVES: usize = 4;
const MOMENTS: u64 = 14;
const TELLERS: u64 = 2;

/// The totals of all stories.
#[derive(Default)]
struct Sum {
    moments: AtomicU64,
    groups_replayed: AtomicU64,
    groups_replayed_max: AtomicU64,
    acknowledged: AtomicU64,
    image_bytes: AtomicU64,
    lives: AtomicU64,
}

#[test]
fn acknowledged_records_survive_a_power_failure_at_any_moment() {
    let _turn = turn::of("faults");
    let seed = number("TIDEMILL_POWER_SEED", 1);
    let wanted = number("TIDEMILL_POWER_MOMENTS", 1000);
    let began = Instant::now();
    let (sum, next) = (Sum::default(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let tellers: Vec<_> = (0..TELLERS)
            .map(|_| {
                scope.spawn(|| {
                    while sum.moments.load(Ordering::Relaxed) < wanted {
                        story(seed, next.fetch_add(1, Ordering::Relaxed), &sum);
                    }
                })
            })
            .collect();
        for teller in tellers {
            teller.join().expect("a failed moment is reported above");
        }
    });
    let moments = sum.moments.load(Ordering::Relaxed);
    let took = began.elapsed();
    let image_bytes = sum.image_bytes.load(Ordering::Relaxed);
    assert!(image_bytes > 0, "the journal writes large batches from the memory of their logs");
    report::table(
        "power failures",
        &[
            "seed",
            "moments",
            "per second",
            "lives",
            "batches acknowledged",
            "MB from memory",
            "groups replayed",
            "most",
            "lost",
            "torn",
        ],
        &[vec![
            seed.to_string(),
            moments.to_string(),
            format!("{:.0}", moments as f64 / took.as_secs_f64()),
            sum.lives.load(Ordering::Relaxed).to_string(),
            sum.acknowledged.load(Ordering::Relaxed).to_string(),
            (image_bytes / 1_000_000).to_string(),
            sum.groups_replayed.load(Ordering::Relaxed).to_string(),
            sum.groups_replayed_max.load(Ordering::Relaxed).to_string(),
            "0".into(),
            "0".into(),
        ]],
    );
}

fn story(seed: u64, number: u64, sum: &Sum) {
    let mut chance = Chance::new(seed << 20 | number);
    let own_journal_dir = number % 2 == 1;
    let mut dir = Dir::new("power");
    let mut place = load::place(dir.path(), own_journal_dir);
    // In every second pair of stories, closing groups follow each pause.
    let idle = if number % 4 < 2 { place.journal_idle } else { Duration::from_millis(1) };
    place.journal_idle = idle;
    let mut disk = Disk::of(dir.path());
    // Not always: a compaction stores checkpoints of its own, which leave less work to recovery.
    let fourth = if number.is_multiple_of(3) { "compact" } else { "loose" };
    let mut topics = vec!["plain", "kept", "purged", "txn", fourth];
    // A round of a checkpoint then stores several, each with a part of the partitions' states.
    topics.extend((number % 5 == 2).then_some("many"));
    let ledger = Rc::new(RefCell::new(Ledger::of(load::image_with(&topics))));
    let images = load::images(&format!("power-{number}"));
    for life in 0..LIVES {
        let explain = |moment: usize, why: String| {
            format!("TIDEMILL_POWER_SEED={seed}: story {number}, life {life}, moment {moment}: {why}")
        };
        let load = Load {
            seed: chance.next(),
            batches: 40 + chance.below(80) as usize,
            batch_bytes_max: 24_000,
            large_one_in: [0, 8, 3][number as usize % 3],
            with_topics: true,
            stops: chance.one_in(4),
            ..Load::default()
        };
        let recorder = Recorder::default();
        let lived = load::live(&place, &ledger, &load, &recorder, FaultPlan::default());
        if let Some(failure) = lived.failure {
            panic!("{}", explain(lived.ended_at, failure));
        }
        sum.lives.fetch_add(1, Ordering::Relaxed);
        sum.image_bytes.fetch_add(lived.image_bytes, Ordering::Relaxed);
        sum.acknowledged.fetch_add(ledger.borrow().acknowledged_count() as u64, Ordering::Relaxed);
        let events = recorder.take();
        let moments: BTreeSet<usize> = (0..MOMENTS).map(|_| chance.below(lived.ended_at as u64 + 1) as usize).collect();
        // The next life starts on the disk that one of these power failures left, or that a kill left.
        let last = chance.one_in(2).then(|| chance.below(moments.len() as u64) as usize);
        let mut continued = None;
        for (at, moment) in moments.iter().copied().enumerate() {
            let seen = disk.seen();
            events[seen..moment].iter().for_each(|event| disk.apply(event));
            let image = images.join(at.to_string());
            disk.leave(&image, Luck::Some(&mut chance));
            if Some(at) == last {
                let kept = Dir::new("power");
                load::copy(&image, kept.path());
                continued = Some((kept, moment));
            }
            let found = load::reopen(&load::place(&image, own_journal_dir), &ledger.borrow().image_at(moment))
                .and_then(|(found, report)| {
                    ledger.borrow().check(&found, moment, false)?;
                    Ok(report)
                });
            let report = found.unwrap_or_else(|why| panic!("{}", explain(moment, why)));
            sum.groups_replayed.fetch_add(report.groups_replayed, Ordering::Relaxed);
            sum.groups_replayed_max.fetch_max(report.groups_replayed, Ordering::Relaxed);
            sum.moments.fetch_add(1, Ordering::Relaxed);
            fs::remove_dir_all(&image).expect("an image of ours");
        }
        let (moment, is_flushed) = match continued {
            Some((kept, moment)) => {
                disk = Disk::of(kept.path());
                place = ShardLocation { journal_idle: idle, ..load::place(kept.path(), own_journal_dir) };
                dir = kept;
                (moment, true)
            }
            None => {
                let seen = disk.seen();
                events[seen..].iter().for_each(|event| disk.apply(event));
                disk.reopened();
                (lived.ended_at, false)
            }
        };
        // Read the start of the next life from a copy, because opening changes the disk.
        let look = images.join("look");
        load::copy(dir.path(), &look);
        let image = ledger.borrow().image_at(moment);
        let found = load::reopen(&load::place(&look, own_journal_dir), &image)
            .and_then(|(found, _)| ledger.borrow().check(&found, moment, !is_flushed).map(|()| found));
        let found = found.unwrap_or_else(|why| panic!("{}", explain(moment, why)));
        ledger.borrow_mut().begin_anew(&found, moment, is_flushed);
        fs::remove_dir_all(&look).expect("a copy of ours");
    }
    let _ = fs::remove_dir_all(&images);
}
