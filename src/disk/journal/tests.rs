//! The journal against what crashes and disks do to it.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::group::{EntryKind, HEADER_BYTES, JournalEntry};
use super::recover::Replay;
use super::{Journal, JournalSettings, ReplayStart};
use crate::disk::StorageError;
use crate::model::{TopicId, TopicPartition};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::runtime::{self, Class, fault};

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
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    runtime::run(runtime::Config::default(), || future).expect("io_uring is here")
}

/// Batch number `n`: one record at offset `n`.
fn batch(n: i64) -> (JournalEntry, Vec<u8>) {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset: n, leader_epoch: 3, ..BatchOptions::default() });
    builder.append(n, None, Some(&vec![n as u8; 1 + (n as usize * 7919) % 30_000]), []);
    let partition = TopicPartition { topic: TopicId([9; 16]), partition: 1 };
    (JournalEntry { kind: EntryKind::Batch, partition, leader_epoch: 3, base_offset: n }, builder.finish())
}

/// Appends batches `range`, each durable before the next.
async fn append(journal: &Rc<Journal>, range: std::ops::Range<i64>) {
    for n in range {
        let (entry, bytes) = batch(n);
        journal.reserve(bytes.len()).await.expect("it has not failed");
        let sequence = journal.append(entry, &bytes[..61], &bytes[61..], true);
        journal.wait_durable(sequence).await.expect("it has not failed");
    }
}

fn start(journal: &Rc<Journal>) -> runtime::JoinHandle<()> {
    runtime::spawn(Class::Foreground, "journal", journal.clone().run())
}

/// A replay has the directory for itself: nobody adds files to it.
async fn end(journal: &Rc<Journal>, writer: runtime::JoinHandle<()>) {
    journal.close();
    writer.await;
}

/// What a replay from `start` brings: the batches' numbers, each checked to its last byte.
async fn replay(directory: &Path, id: u64, start: ReplayStart) -> Result<(Vec<i64>, Replay), StorageError> {
    let mut replay = Replay::open(settings(directory), id, start).await?;
    let mut found = Vec::new();
    while let Some(group) = replay.next_group().await? {
        for (entry, bytes) in group.entries() {
            assert_eq!((*entry, bytes.to_vec()), batch(entry.base_offset));
            found.push(entry.base_offset);
        }
    }
    Ok((found, replay))
}

fn start_of_first_session() -> ReplayStart {
    ReplayStart { session: 1, ..ReplayStart::BEGINNING }
}

#[test]
fn what_was_durable_is_replayed_in_order_and_a_later_session_goes_on_behind_it() {
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
fn log_starts_are_replayed_where_they_stood_among_the_batches() {
    let scratch = Scratch::new("starts");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        let start_at = |base_offset| JournalEntry { kind: EntryKind::LogStart, base_offset, ..batch(0).0 };
        for n in 0..6 {
            append(&journal, n..n + 1).await;
            journal.reserve(0).await.unwrap();
            // In a group of its own, which is flushed though no batch asks for it, or with the next batch.
            let sequence = journal.append_log_start(start_at(n));
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
        let expected: Vec<_> = (0..6).flat_map(|n| [(batch(n).0, false), (start_at(n), true)]).collect();
        assert_eq!(found, expected);
    });
}

#[test]
fn a_journal_goes_round_and_an_earlier_laps_groups_are_not_read() {
    let scratch = Scratch::new("laps");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        // About 15 KiB a batch, 3 MiB in all: several laps, with a checkpoint every 50 batches.
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

#[test]
fn a_full_journal_waits_for_a_checkpoint_and_overwrites_nothing() {
    let scratch = Scratch::new("full");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let _writer = start(&journal);
        let appending = journal.clone();
        let task = runtime::spawn(Class::Foreground, "append", async move { append(&appending, 0..400).await });
        // Full: every file that there may be holds what a replay needs, and what waits does not fit the last one's rest.
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
        filled.await.expect("three files of 1 MiB do not hold 400 batches");
        runtime::sleep(Duration::from_millis(50)).await;
        assert!(
            is_full() && journal.counters.waits_for_space.get() > 0,
            "it waits, and nothing was overwritten for it"
        );
        let durable = journal.durable();
        let (found, _) = self::replay(&scratch.0, journal.id(), start_of_first_session()).await.unwrap();
        assert_eq!(found.len() as u64, durable, "everything durable is still there");
        journal.release(&journal.position());
        while journal.durable() == durable {
            journal.moved().await;
        }
        task.abort();
    });
}

#[test]
fn a_group_never_outgrows_a_file_however_large_its_buffer() {
    let scratch = Scratch::new("outgrown");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        // The largest batch there may be has a buffer with room for more; small ones follow while there is said to be room.
        let partition = batch(0).0.partition;
        let entry = |base_offset| JournalEntry { kind: EntryKind::Batch, partition, leader_epoch: 3, base_offset };
        let large = vec![0; journal.batch_bytes_max()];
        assert!(journal.has_room(large.len()));
        let sequence = journal.append(entry(0), &large[..61], &large[61..], true);
        for n in 1..10_000 {
            if !journal.has_room(100) {
                break;
            }
            journal.append(entry(n), &[0; 61], &[0; 39], true);
        }
        assert!(!journal.has_room(100), "a file of 1 MiB has room for no more than that");
        let _writer = start(&journal);
        journal.wait_durable(sequence).await.unwrap();
    });
}

#[test]
fn a_group_that_nothing_went_into_is_no_bound_for_the_next() {
    let scratch = Scratch::new("unused");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let _writer = start(&journal);
        // Room for a batch that is then refused, or was there already.
        assert!(journal.has_room(100));
        let large = vec![0; journal.batch_bytes_max()];
        runtime::timeout(Duration::from_secs(10), journal.reserve(large.len())).await.expect("there is room").unwrap();
        let partition = batch(0).0.partition;
        let entry = JournalEntry { kind: EntryKind::Batch, partition, leader_epoch: 3, base_offset: 0 };
        let sequence = journal.append(entry, &large[..61], &large[61..], true);
        journal.wait_durable(sequence).await.unwrap();
    });
}

#[test]
fn a_torn_group_at_the_end_is_the_journals_end() {
    let scratch = Scratch::new("torn");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        append(&journal, 0..9).await;
        let last = journal.position().position;
        append(&journal, 9..10).await;
        end(&journal, writer).await;
        // The write of the tenth reached the disk in part.
        flip(&scratch.0, last + HEADER_BYTES as u64 + 100);
        let (found, replay) = self::replay(&scratch.0, journal.id(), start_of_first_session()).await.unwrap();
        assert_eq!(found, (0..9).collect::<Vec<_>>());
        // What is written over it is read, and nothing else.
        let again = replay.into_journal(2).await.unwrap();
        let writer = start(&again);
        append(&again, 9..12).await;
        end(&again, writer).await;
        let (found, _) = self::replay(&scratch.0, journal.id(), start_of_first_session()).await.unwrap();
        assert_eq!(found, (0..12).collect::<Vec<_>>());
    });
}

#[test]
fn a_damaged_group_with_acknowledged_ones_behind_it_is_refused() {
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
            panic!("acknowledged batches are missing")
        };
        assert!(error.to_string().contains("acknowledged records would be lost"), "{error}");
        assert!(error.to_string().contains("group 6"), "{error}");
    });
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged() {
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
        assert!(journal.reserve(1000).await.is_err(), "JRN-3: it stays failed");
        assert_eq!(journal.durable(), 3);
    });
}

fn flip(directory: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(super::files::path_of(directory, 0)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
    file.sync_all().unwrap();
}
