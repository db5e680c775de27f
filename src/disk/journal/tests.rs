//! The journal under crashes, torn writes, damage and failing disks.

mod images;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::group::{EntryKind, HEADER_BYTES, JournalEntry};
use super::recover::Replay;
use super::{Journal, JournalSettings, ReplayStart, Sequence};
use crate::disk::StorageError;
use crate::model::{LeaderEpoch, Offset, TopicId, TopicPartition};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::runtime::{self, Class, fault};
use images::Tail;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tidemill-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings(directory: &Path) -> JournalSettings {
    JournalSettings {
        directory: directory.to_owned(),
        file_bytes: 1 << 20,
        files_max: 3,
        group_bytes_max: 64 << 10,
        depth: 2,
        // Longer than any test, so that only the groups of the test are written.
        idle: Duration::from_secs(3600),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    runtime::run(runtime::Config::default(), || future).expect("io_uring is available")
}

/// Batch number `n`: one record at offset `n`.
fn batch(n: i64) -> (JournalEntry, Vec<u8>) {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: Offset(n),
        leader_epoch: LeaderEpoch(3),
        ..BatchOptions::default()
    });
    builder.append(n, None, Some(&vec![n as u8; 1 + (n as usize * 7919) % 30_000]), []);
    let partition = TopicPartition { topic: TopicId([9; 16]), partition: 1 };
    (
        JournalEntry { kind: EntryKind::Batch, partition, leader_epoch: LeaderEpoch(3), base_offset: Offset(n) },
        builder.finish(),
    )
}

/// Appends the batches of `range`. Each is durable before the next is appended.
async fn append(journal: &Rc<Journal>, range: std::ops::Range<i64>) {
    for n in range {
        let (entry, bytes) = batch(n);
        journal.reserve(bytes.len()).await.expect("the journal has not failed");
        let sequence = journal.append(entry, &bytes[..61], &bytes[61..], true);
        journal.wait_durable(sequence).await.expect("the journal has not failed");
    }
}

fn start(journal: &Rc<Journal>) -> runtime::JoinHandle<()> {
    runtime::spawn(Class::Foreground, "journal", journal.clone().run())
}

/// Stops the writer. During a replay, no task may add files to the directory.
async fn end(journal: &Rc<Journal>, writer: runtime::JoinHandle<()>) {
    journal.close();
    writer.await;
}

/// Replays from `start`. Returns the numbers of the batches, each compared to its last byte.
async fn replay(directory: &Path, id: u64, start: ReplayStart) -> Result<(Vec<i64>, Replay), StorageError> {
    let mut replay = Replay::open(settings(directory), id, start).await?;
    let mut found = Vec::new();
    while let Some(group) = replay.next_group().await? {
        for (entry, bytes) in group.entries() {
            assert_eq!((*entry, bytes.to_vec()), batch(entry.base_offset.0));
            found.push(entry.base_offset.0);
        }
    }
    Ok((found, replay))
}

fn start_of_first_session() -> ReplayStart {
    ReplayStart { session: 1, ..ReplayStart::BEGINNING }
}

#[test]
fn durable_batches_are_replayed_in_order_across_sessions() {
    let scratch = Scratch::new("order");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        append(&journal, 0..20).await;
        end(&journal, writer).await;
        let (found, replay) = self::replay(&scratch.0, journal.id(), start_of_first_session()).await.unwrap();
        assert_eq!(found, (0..20).collect::<Vec<_>>());
        let again = replay.into_journal(2).await.unwrap();
        let writer = start(&again);
        append(&again, 20..40).await;
        end(&again, writer).await;
        let (found, _) = self::replay(&scratch.0, journal.id(), start_of_first_session()).await.unwrap();
        assert_eq!(found, (0..40).collect::<Vec<_>>());
    });
}

#[test]
fn log_starts_are_replayed_in_order_with_the_batches() {
    let scratch = Scratch::new("starts");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        let start_at = |base_offset| JournalEntry { kind: EntryKind::LogStart, base_offset, ..batch(0).0 };
        for n in 0..6 {
            append(&journal, n..n + 1).await;
            journal.reserve(0).await.unwrap();
            // The log start gets its own group, which is flushed although no batch requires it, or joins the next
            // batch's group.
            let sequence = journal.append_log_start(start_at(Offset(n)));
            if n % 2 == 0 {
                journal.wait_durable(sequence).await.unwrap();
            }
        }
        end(&journal, writer).await;
        let mut replay = Replay::open(settings(&scratch.0), journal.id(), start_of_first_session()).await.unwrap();
        let mut found = Vec::new();
        while let Some(group) = replay.next_group().await.unwrap() {
            assert!(group.header.is_flushed);
            found.extend(group.entries().map(|(entry, payload)| (*entry, payload.is_empty())));
        }
        let expected: Vec<_> = (0..6).flat_map(|n| [(batch(n).0, false), (start_at(Offset(n)), true)]).collect();
        assert_eq!(found, expected);
    });
}

#[test]
fn groups_of_an_earlier_lap_are_not_replayed() {
    let scratch = Scratch::new("laps");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        // About 15 KiB per batch in 3 MiB of files: several laps, with a checkpoint every 50 batches.
        let (mut from, mut first) = (start_of_first_session(), 0);
        for n in 0..700 {
            if n % 50 == 0 {
                (from, first) = (journal.position(), n);
                journal.release(&from);
            }
            append(&journal, n..n + 1).await;
        }
        assert!(journal.position().lap >= 2, "{:?}", journal.position());
        end(&journal, writer).await;
        let (found, _) = self::replay(&scratch.0, journal.id(), from).await.unwrap();
        assert_eq!(found, (first..700).collect::<Vec<_>>());
    });
}

// JRN-2
#[test]
fn full_journal_waits_for_a_checkpoint_and_overwrites_nothing() {
    let scratch = Scratch::new("full");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let _writer = start(&journal);
        let appending = journal.clone();
        let task = runtime::spawn(Class::Foreground, "append", async move { append(&appending, 0..400).await });
        // The journal is full: a replay needs every file, and the waiting group does not fit into the rest of the last
        // one.
        let is_full = || {
            let state = journal.state.borrow();
            let waits = state.open.as_ref().is_some_and(|open| {
                let here = &state.files[state.next.file as usize];
                !open.is_empty() && state.next.position + open.total_bytes() as u64 > here.bytes
            });
            waits && state.in_flight.is_empty() && state.files_in_use() == 3
        };
        let filled = runtime::timeout(std::time::Duration::from_secs(300), async {
            while !is_full() {
                runtime::sleep(Duration::from_millis(5)).await;
            }
        });
        filled.await.expect("three files of 1 MiB hold fewer than 400 batches");
        runtime::sleep(Duration::from_millis(50)).await;
        assert!(
            is_full() && journal.counters.waits_for_space.get() > 0,
            "JRN-2: the group waits, and nothing was overwritten"
        );
        let durable = journal.durable();
        let (found, _) = self::replay(&scratch.0, journal.id(), start_of_first_session()).await.unwrap();
        assert_eq!(found.len() as u64, durable.0, "JRN-2: every durable batch is replayed");
        journal.release(&journal.position());
        while journal.durable() == durable {
            journal.wait_progress().await;
        }
        task.abort();
    });
}

#[test]
fn group_never_outgrows_a_file_even_with_a_larger_buffer() {
    let scratch = Scratch::new("outgrown");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        // Small batches follow the largest one while the journal has room.
        let partition = batch(0).0.partition;
        let entry =
            |base_offset| JournalEntry { kind: EntryKind::Batch, partition, leader_epoch: LeaderEpoch(3), base_offset };
        let large = vec![0; journal.batch_bytes_max()];
        assert!(journal.has_room(large.len()));
        let sequence = Tail::new(0).append(&journal, entry(Offset(0)), &large);
        for n in 1..10_000 {
            if !journal.has_room(100) {
                break;
            }
            journal.append(entry(Offset(n)), &[0; 61], &[0; 39], true);
        }
        assert!(!journal.has_room(100), "a file of 1 MiB is full");
        let _writer = start(&journal);
        journal.wait_durable(sequence).await.unwrap();
    });
}

#[test]
fn empty_open_group_does_not_limit_the_next_batch() {
    let scratch = Scratch::new("unused");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let _writer = start(&journal);
        // The group reserves room for a batch that is then refused or is a duplicate.
        assert!(journal.has_room(100));
        let large = vec![0; journal.batch_bytes_max()];
        runtime::timeout(Duration::from_secs(10), journal.reserve(large.len()))
            .await
            .expect("the journal has room")
            .unwrap();
        let partition = batch(0).0.partition;
        let entry =
            JournalEntry { kind: EntryKind::Batch, partition, leader_epoch: LeaderEpoch(3), base_offset: Offset(0) };
        let sequence = Tail::new(0).append(&journal, entry, &large);
        journal.wait_durable(sequence).await.unwrap();
    });
}

#[test]
fn torn_last_group_ends_the_journal() {
    let scratch = Scratch::new("torn");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        append(&journal, 0..9).await;
        let last = journal.position().position;
        append(&journal, 9..10).await;
        end(&journal, writer).await;
        // The write of the tenth batch reached the disk in part.
        flip(&scratch.0, last + HEADER_BYTES as u64 + 100);
        let (found, replay) = self::replay(&scratch.0, journal.id(), start_of_first_session()).await.unwrap();
        assert_eq!(found, (0..9).collect::<Vec<_>>());
        // Replay returns the groups that replaced it, and no others.
        let again = replay.into_journal(2).await.unwrap();
        let writer = start(&again);
        append(&again, 9..12).await;
        end(&again, writer).await;
        let (found, _) = self::replay(&scratch.0, journal.id(), start_of_first_session()).await.unwrap();
        assert_eq!(found, (0..12).collect::<Vec<_>>());
    });
}

// By JRN-1 a whole later group proves that the damaged one was durable.
#[test]
fn damaged_group_before_acknowledged_ones_is_refused() {
    let scratch = Scratch::new("hole");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        append(&journal, 0..5).await;
        let damaged = journal.position().position;
        append(&journal, 5..40).await;
        end(&journal, writer).await;
        flip(&scratch.0, damaged + HEADER_BYTES as u64 + 100);
        let Err(error) = self::replay(&scratch.0, journal.id(), start_of_first_session()).await else {
            panic!("the replay lost acknowledged batches")
        };
        assert!(error.to_string().contains("acknowledged records would be lost"), "{error}");
        assert!(error.to_string().contains("group 6"), "{error}");
    });
}

/// Writes batches `0..count`, and a closing group once the journal is idle. Returns the position of the last batch's
/// group, the position of the closing group, and the journal's id.
async fn write_closed(directory: &Path, count: i64) -> (ReplayStart, ReplayStart, u64) {
    let settings = JournalSettings { idle: Duration::from_millis(1), ..settings(directory) };
    let journal = Journal::create(settings).await.unwrap();
    let writer = start(&journal);
    append(&journal, 0..count - 1).await;
    // The last batch gets a group of its own: the previous one is closed already.
    wait_closed(&journal).await;
    let last = journal.position();
    append(&journal, count - 1..count).await;
    let closing = journal.position();
    wait_closed(&journal).await;
    end(&journal, writer).await;
    (last, closing, journal.id())
}

/// Waits until a closing group is durable.
async fn wait_closed(journal: &Journal) {
    let closed = runtime::timeout(Duration::from_secs(60), async {
        while journal.is_unproven.get() || journal.durable() != journal.last_appended() {
            runtime::sleep(Duration::from_millis(1)).await;
        }
    });
    closed.await.expect("an idle journal writes a closing group");
}

// JRN-4
#[test]
fn damage_to_the_last_acknowledged_group_of_an_idle_journal_is_refused() {
    let scratch = Scratch::new("closed");
    run(async {
        let (last, closing, id) = write_closed(&scratch.0, 6).await;
        let (found, replay) = self::replay(&scratch.0, id, start_of_first_session()).await.unwrap();
        assert_eq!(found, (0..6).collect::<Vec<_>>());
        assert!(replay.position().sequence > closing.sequence, "the closing group is replayed");
        for at in [HEADER_BYTES as u64 + 100, 16, 0] {
            flip(&scratch.0, last.position + at);
            let Err(error) = self::replay(&scratch.0, id, start_of_first_session()).await else {
                panic!("the replay lost an acknowledged batch: damage at byte {at}")
            };
            assert!(error.to_string().contains("acknowledged records would be lost"), "{error}");
            flip(&scratch.0, last.position + at);
        }
    });
}

#[test]
fn torn_closing_group_loses_no_batch() {
    let scratch = Scratch::new("torn-closing");
    run(async {
        let (_, closing, id) = write_closed(&scratch.0, 6).await;
        flip(&scratch.0, closing.position + 20);
        let (found, replay) = self::replay(&scratch.0, id, start_of_first_session()).await.unwrap();
        assert_eq!((found, replay.position().sequence), ((0..6).collect::<Vec<_>>(), closing.sequence));
        let again = replay.into_journal(2).await.unwrap();
        let writer = start(&again);
        append(&again, 6..8).await;
        end(&again, writer).await;
        let (found, _) = self::replay(&scratch.0, id, start_of_first_session()).await.unwrap();
        assert_eq!(found, (0..8).collect::<Vec<_>>());
    });
}

#[test]
fn idle_journal_writes_one_closing_group_and_none_if_nothing_is_needed() {
    let scratch = Scratch::new("idle");
    run(async {
        let settings = JournalSettings { idle: Duration::from_millis(1), ..settings(&scratch.0) };
        let journal = Journal::create(settings).await.unwrap();
        let _writer = start(&journal);
        wait_closed(&journal).await;
        assert_eq!(journal.counters.groups.get(), 0, "a new journal has nothing to prove");
        append(&journal, 0..1).await;
        wait_closed(&journal).await;
        let groups = journal.counters.groups.get();
        runtime::sleep(Duration::from_millis(20)).await;
        assert_eq!(journal.counters.groups.get(), groups, "a closing group needs no other");
    });
}

// JRN-3
#[test]
fn nothing_is_acknowledged_after_a_failed_write() {
    let scratch = Scratch::new("failed");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let _writer = start(&journal);
        append(&journal, 0..3).await;
        runtime::install_faults(Some(fault::FaultPlan::fail(fault::Target::WriteSync, 1, libc::EIO)));
        let (entry, bytes) = batch(3);
        journal.reserve(bytes.len()).await.unwrap();
        let sequence = journal.append(entry, &bytes[..61], &bytes[61..], true);
        assert!(journal.wait_durable(sequence).await.is_err());
        runtime::install_faults(None);
        assert!(journal.reserve(1000).await.is_err(), "JRN-3: the journal stays failed");
        assert_eq!(journal.durable(), Sequence(3));
    });
}

/// Inverts one byte of the first file.
fn flip(directory: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(super::files::path_of(directory, 0)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
    file.sync_all().unwrap();
}
