//! Groups that write large batches from the memory of their log.

use super::*;
use crate::disk::journal::group::{ENTRY_BYTES, GroupHeader};
use crate::disk::journal::image::{IMAGE_BYTES_MIN, ImageBatch};
use crate::disk::{BLOCK_BYTES, block_ceil, block_floor};
use crate::runtime::AppendBuf;
use crate::runtime::buf::Slice;

const LARGE: usize = IMAGE_BYTES_MIN;

/// A segment in memory, in chunks of several sizes.
pub(super) struct Tail {
    number: u64,
    chunks: Vec<(u64, AppendBuf)>,
    size: u64,
}

impl Tail {
    pub(super) fn new(number: u64) -> Tail {
        Tail { number, chunks: Vec::new(), size: 0 }
    }

    /// Appends a batch to the segment, and then to the journal.
    pub(super) fn append(&mut self, journal: &Journal, entry: JournalEntry, bytes: &[u8]) -> Sequence {
        let (segment, position) = (self.number, self.size);
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.chunks.last().is_none_or(|(_, chunk)| chunk.remaining() == 0) {
                let capacity = BLOCK_BYTES << (1 + self.chunks.len() % 6);
                self.chunks.push((self.size, AppendBuf::alloc(capacity).unwrap()));
            }
            let taken = self.chunks.last().unwrap().1.append(rest);
            self.size += taken as u64;
            rest = &rest[taken..];
        }
        if !journal.takes_image(segment, position, bytes.len()) {
            return journal.append(entry, &bytes[..61], &bytes[61..], true);
        }
        let image = ImageBatch { segment, position, bytes: bytes.len(), blocks: self.blocks(position) };
        journal.append_image(entry, &bytes[..61], &bytes[61..], image, true)
    }

    fn blocks(&self, position: u64) -> Vec<Slice> {
        let from = block_floor(position);
        let touched = self.chunks.iter().filter(|(start, chunk)| start + chunk.len() as u64 > position);
        touched
            .map(|(start, chunk)| chunk.aligned((from.max(*start) - start) as usize..block_ceil(chunk.len())))
            .collect()
    }

    /// Replaces the memory of the last block, as a log does that was evicted and reads it back.
    fn reload(&mut self) {
        let start = block_floor(self.size);
        let (chunk_start, chunk) = self.chunks.last().unwrap();
        let mut kept = vec![0; (self.size - start) as usize];
        chunk.copy_to((start - chunk_start) as usize, &mut kept);
        let chunk = AppendBuf::alloc(4 * BLOCK_BYTES).unwrap();
        chunk.append(&kept);
        self.chunks = vec![(start, chunk)];
    }
}

/// A batch of about `bytes` at offset `n` of a partition.
fn batch(partition: i32, n: i64, bytes: usize) -> (JournalEntry, Vec<u8>) {
    let (leader_epoch, base_offset) = (LeaderEpoch(3), Offset(n));
    let mut builder = BatchBuilder::new(BatchOptions { base_offset, leader_epoch, ..BatchOptions::default() });
    builder.append(n, None, Some(&vec![n as u8; bytes]), []);
    let partition = TopicPartition { topic: TopicId([9; 16]), partition };
    (JournalEntry { kind: EntryKind::Batch, partition, leader_epoch, base_offset }, builder.finish())
}

type Appended = (JournalEntry, Vec<u8>);

fn settings(directory: &Path) -> JournalSettings {
    JournalSettings { file_bytes: 4 << 20, group_bytes_max: 512 << 10, ..super::settings(directory) }
}

async fn replay(directory: &Path, id: u64) -> Result<Vec<Appended>, StorageError> {
    let mut replay = Replay::open(settings(directory), id, start_of_first_session()).await?;
    let mut found = Vec::new();
    while let Some(group) = replay.next_group().await? {
        found.extend(group.entries().map(|(entry, bytes)| (*entry, bytes.to_vec())));
    }
    Ok(found)
}

/// Appends batches of these sizes to partitions in turn. Each `reload` in between changes the memory of a partition.
async fn write(journal: &Rc<Journal>, partitions: usize, sizes: &[usize], reload_every: usize) -> Vec<Appended> {
    let mut tails: Vec<Tail> = (0..partitions).map(|number| Tail::new(number as u64)).collect();
    let mut appended = Vec::new();
    let mut last = Sequence::ZERO;
    for (n, bytes) in sizes.iter().enumerate() {
        let tail = &mut tails[n % partitions];
        let (entry, bytes) = batch((n % partitions) as i32, n as i64, *bytes);
        journal.reserve(bytes.len()).await.expect("the journal has not failed");
        if n % reload_every == reload_every - 1 && tail.size > 0 {
            tail.reload();
        }
        last = tail.append(journal, entry, &bytes);
        appended.push((entry, bytes));
    }
    journal.wait_durable(last).await.expect("the journal has not failed");
    appended
}

fn sizes(count: usize) -> Vec<usize> {
    // Above and below the threshold, exactly at it, whole blocks, and longer than a chunk.
    let sizes = [LARGE, 100, 3 * LARGE + 7, 9_000, LARGE - 200, 1, LARGE + BLOCK_BYTES, 5 * LARGE, 20_000, 70_001];
    (0..count).map(|n| sizes[n * 7 % sizes.len()] + n % 3).collect()
}

#[test]
fn batches_of_all_sizes_are_replayed_from_groups_with_images() {
    for (partitions, reload_every) in [(1, usize::MAX), (1, 3), (3, usize::MAX), (4, 5)] {
        let scratch = Scratch::new(&format!("images-{partitions}-{reload_every}"));
        run(async {
            let journal = Journal::create(settings(&scratch.0)).await.unwrap();
            let writer = start(&journal);
            let appended = write(&journal, partitions, &sizes(60), reload_every).await;
            let counters = &journal.counters;
            let (all, copied) = (counters.batch_bytes.get(), counters.copied_bytes.get());
            assert_eq!(all, appended.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
            let small = appended.iter().map(|(_, bytes)| bytes.len()).filter(|bytes| *bytes < LARGE).sum::<usize>();
            let large = appended.iter().filter(|(_, bytes)| bytes.len() >= LARGE).count();
            let most = (small + large * BLOCK_BYTES) as u64;
            assert!(copied <= most && most < all / 2, "{copied} bytes are copied, {most} at the most");
            assert!(counters.groups.get() < 60, "groups hold several batches");
            end(&journal, writer).await;
            assert!(self::replay(&scratch.0, journal.id()).await.unwrap() == appended);
        });
    }
}

#[test]
fn small_batch_joins_the_range_of_its_segment() {
    let scratch = Scratch::new("images-joined");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let mut tail = Tail::new(1);
        let mut appended = Vec::new();
        for (n, bytes) in [100, LARGE, 100, 5_000, 2 * LARGE].into_iter().enumerate() {
            let (entry, bytes) = batch(0, n as i64, bytes);
            assert!(journal.has_room(bytes.len()));
            tail.append(&journal, entry, &bytes);
            appended.push((entry, bytes));
        }
        let first = appended[0].1.len() as u64;
        assert_eq!(journal.counters.copied_bytes.get(), first, "only the batch before the range is copied");
        // One range: the blocks from the second batch to the last one.
        let own = block_ceil(HEADER_BYTES + 5 * ENTRY_BYTES + first as usize);
        let total = journal.state.borrow().open.as_ref().unwrap().total_bytes();
        assert_eq!(total, own + block_ceil(tail.size as usize));
        let writer = start(&journal);
        journal.wait_durable(journal.last_appended()).await.unwrap();
        assert_eq!(journal.counters.groups.get(), 1);
        end(&journal, writer).await;
        assert!(replay(&scratch.0, journal.id()).await.unwrap() == appended);
    });
}

#[test]
fn bytes_beside_a_batch_in_its_blocks_are_ignored_and_damage_to_the_batch_ends_the_journal() {
    let scratch = Scratch::new("images-torn");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        let mut tail = Tail::new(1);
        let mut appended = Vec::new();
        let mut groups = Vec::new();
        for (n, bytes) in [100, LARGE + 100, 100].into_iter().enumerate() {
            groups.push(journal.position().position);
            let (entry, bytes) = batch(0, n as i64, bytes);
            journal.reserve(bytes.len()).await.unwrap();
            let sequence = tail.append(&journal, entry, &bytes);
            journal.wait_durable(sequence).await.unwrap();
            appended.push((entry, bytes));
        }
        end(&journal, writer).await;
        // The second group: one block of its own, then the blocks of the batch. Its first bytes are the first batch's.
        let blocks = groups[1] + BLOCK_BYTES as u64;
        let begins = blocks + appended[0].1.len() as u64;
        let ends = begins + appended[1].1.len() as u64;
        for beside in [blocks, begins - 1, ends, groups[2] - 1] {
            flip(&scratch.0, beside);
        }
        assert!(replay(&scratch.0, journal.id()).await.unwrap() == appended);
        for damaged in [begins + 8, begins + 17, begins + 21, begins + 10_000, ends - 1] {
            flip(&scratch.0, damaged);
            let Err(error) = replay(&scratch.0, journal.id()).await else {
                panic!("the replay lost an acknowledged batch: damage at byte {damaged}")
            };
            assert!(error.to_string().contains("acknowledged records would be lost"), "{error}");
            flip(&scratch.0, damaged);
        }
        // Without the group that proves it, the second one was torn.
        flip(&scratch.0, groups[2] + 20);
        flip(&scratch.0, ends - 1);
        assert!(replay(&scratch.0, journal.id()).await.unwrap() == appended[..1]);
    });
}

#[test]
fn groups_of_version_1_are_replayed() {
    use std::os::unix::fs::FileExt;
    let scratch = Scratch::new("images-version-1");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        let first = journal.position().position;
        append(&journal, 0..1).await;
        end(&journal, writer).await;
        let path = crate::disk::journal::files::path_of(&scratch.0, 0);
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let mut group = vec![0; (journal.position().position - first) as usize];
        file.read_exact_at(&mut group, first).unwrap();
        // As the earlier release wrote it: the version, and the checksum of header and entry.
        group[4] = 1;
        let crc = crc32c::crc32c(&group[..52]);
        let crc = crc32c::crc32c_append(crc, &[0; 4]);
        let crc = crc32c::crc32c_append(crc, &group[56..HEADER_BYTES + ENTRY_BYTES]);
        group[52..56].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(GroupHeader::parse(&group).map(|header| header.checksum), Some(crc));
        file.write_all_at(&group, first).unwrap();
        assert!(replay(&scratch.0, journal.id()).await.unwrap() == [super::batch(0)]);
        // A later version is not a group that this build reads.
        group[4] = 3;
        assert_eq!(GroupHeader::parse(&group), None);
    });
}

#[test]
fn short_writes_continue_inside_a_range() {
    let scratch = Scratch::new("images-short");
    run(async {
        let journal = Journal::create(settings(&scratch.0)).await.unwrap();
        let writer = start(&journal);
        let short = fault::Fault::Short(BLOCK_BYTES as u32);
        let rule = fault::Rule { target: fault::Target::WriteSync, nth: 1, and_after: true, fault: short };
        runtime::install_faults(Some(fault::FaultPlan::new([rule])));
        let appended = write(&journal, 2, &sizes(20), usize::MAX).await;
        runtime::install_faults(None);
        end(&journal, writer).await;
        assert!(replay(&scratch.0, journal.id()).await.unwrap() == appended);
    });
}
