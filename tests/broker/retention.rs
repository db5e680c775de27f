//! Segments are created, read back from the disk, and removed: by size, by age, and by DeleteRecords, with clean
//! restarts and kills in between.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::chance::Chance;
use crate::support::ledger::{Ledger, connect, connect_within};
use crate::support::node::Node;
use crate::support::wait_for;
use tidemill::model::ErrorCode;
use tidemill::tools::client::fetch::{FetchOptions, FetchPosition, is_out_of_range};
use tidemill::tools::client::offsets::{EARLIEST, LATEST};
use tidemill::tools::client::{Client, ClientError};

const WITHIN: Duration = Duration::from_secs(60);
/// Retention runs often and removes files at once.
const OFTEN: [&str; 10] = [
    "--shards",
    "2",
    "--set",
    "log.retention.check.interval.ms=100",
    "--set",
    "log.segment.delete.delay.ms=0",
    "--set",
    "memory.bytes=67108864",
    "--set",
    "journal.bytes=134217728",
];

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// The base offsets of a partition's segment files, and whether any file of a deleted segment is left.
fn segments(node: &Node, topic: &str, partition: usize) -> (Vec<i64>, bool) {
    let names = std::fs::read_dir(node.partition_dir(topic, partition)).expect("listed");
    let names: Vec<String> = names.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    let mut bases: Vec<i64> =
        names.iter().filter_map(|name| name.strip_suffix(".log")).map(|base| base.parse().expect("digits")).collect();
    bases.sort_unstable();
    (bases, names.iter().any(|name| name.ends_with(".deleted")))
}

fn check_below_the_start_is_out_of_range(client: &mut tidemill::tools::client::Client, topic: &str, start: i64) {
    for offset in [0, start - 1] {
        let error = client.fetch(topic, &[FetchPosition { partition: 0, offset }], FetchOptions::default());
        assert!(error.as_ref().is_err_and(is_out_of_range), "offset {offset}, the log starts at {start}: {error:?}");
    }
    let fetched = client.fetch(topic, &[FetchPosition { partition: 0, offset: start }], FetchOptions::default());
    let fetched = fetched.unwrap_or_else(|e| panic!("at the start, {start}: {e}"));
    assert_eq!(fetched[0].log_start_offset, start);
}

#[test]
fn old_segments_go_by_size_and_the_log_start_moves() {
    let mut node = Node::tidemill("by-size", &OFTEN);
    let mut client = connect(node.bootstrap());
    let configs = [("segment.bytes", "1048576"), ("retention.bytes", "4194304")];
    let mut ledger = Ledger::create(&mut client, "t", 1, &configs);
    for is_killed in [false, true, false] {
        // 64 batches of 200 kB: each segment takes five.
        ledger.fill(&mut client, 64, 4, 50_000, now_ms());
        let end = ledger.offsets(&mut client, LATEST)[0];
        let start = wait_for("retention by size", WITHIN, || {
            let start = ledger.offsets(&mut client, EARLIEST)[0];
            // At most the limit plus one segment stays; segments within the limit are not removed.
            let kept = (end - start) / 4 * 200_000;
            (kept <= 4_194_304 + 1_048_576).then_some(start)
        });
        assert!((end - start) / 4 * 200_000 >= 4_194_304 - 1_048_576, "too much is gone: {start}..{end}");
        check_below_the_start_is_out_of_range(&mut client, "t", start);
        wait_for("deleted files are gone", WITHIN, || {
            let (bases, has_deleted) = segments(&node, "t", 0);
            (!has_deleted && bases.first().is_some_and(|first| *first >= start)).then_some(())
        });
        if is_killed {
            node.kill();
        } else {
            node.stop();
        }
        node.restart();
        client = connect(node.bootstrap());
        let verified = ledger.verify(&mut client);
        assert!(verified.starts[0] >= start && verified.ends[0] == end, "{start}..{end} became {verified:?}");
        check_below_the_start_is_out_of_range(&mut client, "t", verified.starts[0]);
    }
}

#[test]
fn old_segments_go_by_age_even_the_active_one() {
    let mut node = Node::tidemill("by-age", &OFTEN);
    let mut client = connect(node.bootstrap());
    let hour = 3_600_000;
    let configs = [("segment.bytes", "1048576"), ("retention.ms", "3600000")];
    let mut ledger = Ledger::create(&mut client, "t", 1, &configs);
    ledger.fill(&mut client, 20, 4, 50_000, now_ms());
    let fresh = ledger.offsets(&mut client, LATEST)[0];
    assert_eq!(ledger.offsets(&mut client, EARLIEST)[0], 0, "what is fresh stays");
    // A log of expired records is removed whole, with its active segment.
    let mut old = Ledger::create(&mut client, "old", 1, &configs);
    old.fill(&mut client, 20, 4, 50_000, now_ms() - 2 * hour);
    let end = old.offsets(&mut client, LATEST)[0];
    wait_for("everything old is gone", WITHIN, || (old.offsets(&mut client, EARLIEST)[0] == end).then_some(()));
    for is_killed in [true, false] {
        if is_killed {
            node.kill();
        } else {
            node.stop();
        }
        node.restart();
        client = connect(node.bootstrap());
        assert_eq!((old.offsets(&mut client, EARLIEST)[0], old.offsets(&mut client, LATEST)[0]), (end, end));
        let verified = ledger.verify(&mut client);
        assert_eq!((verified.starts[0], verified.ends[0]), (0, fresh));
    }
    // The next append continues at the same log end.
    assert_eq!(old.append(&mut client, 0, 1, 10, now_ms()).expect("appended"), end);
    old.verify(&mut client);
}

#[test]
fn a_segment_is_closed_when_it_is_old_enough() {
    let node = Node::tidemill("roll", &OFTEN);
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 1, &[("segment.ms", "200")]);
    ledger.append(&mut client, 0, 1, 100, now_ms()).expect("appended");
    // An append more than 200 ms after the first of a segment rolls the segment.
    let rolled = wait_for("three more segments", WITHIN, || {
        ledger.append(&mut client, 0, 1, 100, now_ms()).expect("appended");
        let (bases, _) = segments(&node, "t", 0);
        (bases.len() >= 4).then_some(bases)
    });
    assert_eq!(rolled[0], 0);
    ledger.verify(&mut client);
}

#[test]
fn many_segments_are_read_back_from_the_disk_to_the_byte_and_times_are_found_in_them() {
    let mut node = Node::tidemill("cold", &OFTEN);
    let mut client = connect(node.bootstrap());
    // Three partitions of about 64 MB in segments of 4 MiB: far more than the memory of both shards.
    let mut ledger = Ledger::create(&mut client, "t", 3, &[("segment.bytes", "4194304")]);
    let (rounds, records, base) = (320, 8, now_ms() - 10_000_000);
    for round in 0..rounds {
        ledger.fill(&mut client, 1, records, 25_000, base + round * 1000);
    }
    for is_killed in [None, Some(true), Some(false)] {
        match is_killed {
            None => {}
            Some(true) => node.kill(),
            Some(false) => drop(node.stop()),
        }
        if is_killed.is_some() {
            node.restart();
            client = connect(node.bootstrap());
        }
        let verified = ledger.verify(&mut client);
        assert_eq!(verified.batches, ledger.acknowledged_count());
        for partition in 0..3 {
            assert!(segments(&node, "t", partition).0.len() >= 15, "partition {partition} has many segments");
        }
        let records = records as i64;
        for round in [0, 1, 2, 57, 118, 119, 200, rounds - 1] {
            // (a time, the record that is the first at or after it)
            for (time, expected) in [
                (base + round * 1000, round * records),
                (base + round * 1000 + 3, round * records + 3),
                (base + round * 1000 - 900, round * records),
            ] {
                assert_eq!(ledger.offsets(&mut client, time), [expected; 3], "{is_killed:?}, round {round}, {time}");
            }
        }
        assert_eq!(ledger.offsets(&mut client, base + rounds * 1000), [-1; 3], "nothing is that late");
        assert_eq!(ledger.offsets(&mut client, 0), [0; 3]);
    }
}

#[test]
fn retention_that_is_turned_off_leaves_a_log_that_every_restart_understands() {
    let mut node = Node::tidemill("turned-off", &OFTEN);
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 1, &[("segment.bytes", "1048576"), ("retention.ms", "-1")]);
    let set = |client: &mut Client, name: &str, value: &str| {
        client.alter_topic("t", &[(name.into(), value.into())], &[]).unwrap_or_else(|e| panic!("{e}"));
    };
    for round in 0..4 {
        ledger.fill(&mut client, 40, 4, 50_000, now_ms());
        let before = ledger.offsets(&mut client, EARLIEST)[0];
        set(&mut client, "retention.bytes", "2000000");
        let start = wait_for("retention by size", WITHIN, || {
            let start = ledger.offsets(&mut client, EARLIEST)[0];
            (start > before).then_some(start)
        });
        // From here on the settings do not explain the missing segments.
        set(&mut client, "retention.bytes", "-1");
        node.kill();
        node.restart();
        client = connect(node.bootstrap());
        let verified = ledger.verify(&mut client);
        assert!(
            verified.starts[0] >= start,
            "round {round}: {start} was seen, now it begins at {}",
            verified.starts[0]
        );
        check_below_the_start_is_out_of_range(&mut client, "t", verified.starts[0]);
    }
}

#[test]
fn deleted_records_stay_deleted_through_kills_and_stops_and_their_segments_go() {
    for routing in ["routing=direct", "routing=forward"] {
        let mut node = Node::tidemill("deleted", &[&OFTEN[..], &["--set", routing]].concat());
        let mut client = connect(node.bootstrap());
        let mut ledger = Ledger::create(&mut client, "t", 3, &[("segment.bytes", "1048576"), ("retention.ms", "-1")]);
        let mut starts = vec![0; 3];
        for ending in ["kill", "kill", "stop", "kill"] {
            // 20 batches of 200 kB to each partition: a segment takes five.
            ledger.fill(&mut client, 20, 4, 50_000, now_ms());
            let ends = ledger.offsets(&mut client, LATEST);
            let below = [(0, Some(starts[0] + 48)), (1, Some(starts[1] + 4)), (2, None)].into();
            let deleted = client.delete_records("t", &below).unwrap_or_else(|e| panic!("{routing}: {e}"));
            let expected = [starts[0] + 48, starts[1] + 4, ends[2]];
            assert_eq!(deleted.into_values().collect::<Vec<_>>(), expected);
            starts = expected.to_vec();
            if ending == "stop" {
                node.stop();
            } else {
                // Check at once: the response was the promise.
                node.kill();
            }
            node.restart();
            client = connect(node.bootstrap());
            let verified = ledger.verify(&mut client);
            assert_eq!((verified.starts, verified.ends), (starts.clone(), ends), "{routing}, {ending}");
            wait_for("segments below the start are gone", WITHIN, || {
                let (bases, has_deleted) = segments(&node, "t", 0);
                let second = bases.get(1).copied().unwrap_or(i64::MAX);
                (!has_deleted && second > starts[0]).then_some(())
            });
        }
        assert_eq!(ledger.append(&mut client, 2, 1, 10, now_ms()).expect("appended"), starts[2]);
        ledger.verify(&mut client);
    }
}

/// Several clients delete and write while the node is killed at random moments. Each response holds afterwards.
#[test]
fn kills_in_the_middle_of_deletions_take_nothing_back_and_nothing_else_away() {
    let mut node = Node::tidemill("deletions", &OFTEN);
    let mut chance = Chance::new(11);
    let mut ledger = None;
    let acknowledged: Vec<AtomicI64> = (0..3).map(|_| AtomicI64::new(0)).collect();
    for round in 0..6 {
        let mut client = connect(node.bootstrap());
        let mut writes = ledger.take().unwrap_or_else(|| {
            Ledger::create(&mut client, "t", 3, &[("segment.bytes", "1048576"), ("retention.ms", "-1")])
        });
        let (bootstrap, stop) = (node.bootstrap().to_string(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for partition in 0..3 {
                let (bootstrap, stop, acknowledged) = (&bootstrap, &stop, &acknowledged[partition as usize]);
                let mut chance = Chance::new(chance.next());
                scope.spawn(move || {
                    let mut client = connect_within(bootstrap, Duration::from_secs(5));
                    while !stop.load(Ordering::Relaxed) {
                        let start = acknowledged.load(Ordering::Relaxed);
                        // The writer's batches are of four records.
                        let offset = start + 4 * chance.below(4) as i64;
                        match client.delete_records("t", &[(partition, Some(offset))].into()) {
                            Ok(starts) => {
                                assert_eq!(starts[&partition], offset, "partition {partition}");
                                acknowledged.store(offset, Ordering::Relaxed);
                            }
                            Err(ClientError::Refused { code: ErrorCode::OffsetOutOfRange, .. }) => {}
                            Err(_) => return,
                        }
                    }
                });
            }
            writes.fill(&mut client, 10 + chance.below(20) as usize, 4, 20_000, now_ms());
            node.kill();
            stop.store(true, Ordering::Relaxed);
        });
        node.restart();
        client = connect(node.bootstrap());
        let verified = writes.verify(&mut client);
        for (partition, start) in verified.starts.iter().enumerate() {
            let seen = acknowledged[partition].load(Ordering::Relaxed);
            assert!((seen..=seen + 12).contains(start), "round {round}, partition {partition}: {seen} became {start}");
            acknowledged[partition].store(*start, Ordering::Relaxed);
        }
        ledger = Some(writes);
    }
}
