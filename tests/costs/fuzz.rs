//! A smoke run of the fuzz targets (`tests/fuzz/targets.rs`): valid inputs, changed at random, into every decoder and
//! every reader of files. None may panic, hang, or allocate more than its size allows; the allocator counts.
//!
//! ```text
//! cargo test --release --test costs fuzz                                      a few seconds
//! TIDEMILL_FUZZ_SECONDS=600 cargo test --release --test costs fuzz            ten minutes
//! TIDEMILL_FUZZ_SEED=7 ...                                              the same inputs again
//! (cd tests/fuzz && cargo run --release -- corpus)                      guided by coverage (libFuzzer), without end
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::ALLOCATOR;
use crate::support::own_process;
use stats_alloc::Region;
use tidemill::config::Routing;
use tidemill::disk::block_ceil;
use tidemill::disk::checkpoint::{CheckpointHead, JournalStart, PartitionState, SealedSegment, partition_sections};
use tidemill::disk::journal::Sequence;
use tidemill::disk::journal::group::{EntryKind, GroupBuilder, GroupHeader, GroupIdentity, JournalEntry, read_entries};
use tidemill::disk::journal::image::ImageBatch;
use tidemill::metadata::{Command, Endpoint, Image, apply, archive};
use tidemill::model::{LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};
use tidemill::record::Codec;
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::runtime::{self, AppendBuf};

#[path = "../fuzz/targets.rs"]
mod targets;

use targets::{TARGETS, Target};

/// A decoder that takes longer than this for a few KiB hangs.
const HANGS_AFTER: Duration = Duration::from_secs(2);

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn batch(codec: Codec, records: usize) -> Vec<u8> {
    let mut builder =
        BatchBuilder::new(BatchOptions { codec, leader_epoch: LeaderEpoch(0), ..BatchOptions::default() });
    for n in 0..records {
        let headers = [(&b"trace"[..], Some(&b"0123456789"[..])), (&b""[..], None)];
        builder.append(1_000 + n as i64, Some(b"key"), Some(&vec![n as u8; 10 + n]), headers);
    }
    builder.finish()
}

fn journal_group() -> Vec<u8> {
    let large = batch(Codec::None, 300);
    let mut group = GroupBuilder::for_batch(large.len(), 12_000, 1 << 20).expect("within the budget");
    for n in 0..3 {
        let batch = batch(Codec::None, 1 + n);
        let partition = TopicPartition { topic: TopicId([7; 16]), partition: n as i32 };
        let entry =
            JournalEntry { kind: EntryKind::Batch, partition, leader_epoch: LeaderEpoch(0), base_offset: Offset(0) };
        group.push(entry, &batch[..61], &batch[61..], true);
        group.push_log_start(JournalEntry { kind: EntryKind::LogStart, base_offset: Offset(1), ..entry });
    }
    let identity = GroupIdentity {
        journal_id: 1,
        session: 1,
        sequence: Sequence(1),
        flushed: Sequence(0),
        lap: 0,
        previous_checksum: 0,
    };
    // A batch in blocks of a segment.
    let bytes = large.len();
    let log = AppendBuf::alloc(bytes).expect("within the budget");
    assert_eq!(log.append(&large), bytes);
    let image = ImageBatch { segment: 0, position: 0, bytes, blocks: vec![log.aligned(0..block_ceil(bytes))] };
    let partition = TopicPartition { topic: TopicId([7; 16]), partition: 3 };
    let entry =
        JournalEntry { kind: EntryKind::Batch, partition, leader_epoch: LeaderEpoch(0), base_offset: Offset(0) };
    assert!(group.push_image(entry, &large[..61], image, true), "the batch is large");
    let sealed = group.seal(identity);
    let mut bytes = sealed.bytes.as_slice().concat();
    bytes.resize(sealed.total_bytes, 0);
    let header = GroupHeader::parse(&bytes).expect("a whole header");
    assert_eq!(read_entries(&header, &bytes).map(|entries| entries.len()), Ok(7));
    bytes
}

fn checkpoint() -> Vec<u8> {
    let start = JournalStart { file: 1, position: 4096, sequence: 9, previous_checksum: 7, session: 2, lap: 1 };
    let partition = PartitionState {
        topic: [7; 16],
        partition: 3,
        needed_from: 9,
        log_start_offset: Offset(0),
        sealed: vec![SealedSegment {
            base_offset: Offset(0),
            bytes: 4096,
            max_timestamp: 1_000,
            offset_of_max: Offset(9),
            aborted: 1,
            is_swap: true,
        }],
        cleaned_to: Offset(7),
        segment_base_offset: Offset(10),
        segment_position: 4096,
        end_offset: Offset(20),
        segment_max_timestamp: 1_000,
        segment_offset_of_max_timestamp: Offset(19),
        segment_first_append_ms: 1_000,
        segment_index_entries: 1,
        segment_time_entries: 1,
        segment_aborted: 2,
        leader_epochs: vec![(LeaderEpoch(0), Offset(0)), (LeaderEpoch(1), Offset(12))],
        producers: Vec::new(),
    };
    let head =
        CheckpointHead { journal_id: 1, journal_files: 2, session: 2, start, metadata_index: 3, is_clean: false };
    let archived = runtime::run(runtime::Config::default(), || partition_sections(partition));
    let partition = archived.expect("io_uring is here");
    let (head, partition) = (head.section().expect("into memory"), partition.expect("into memory"));
    [&head[..], &partition, &partition, &partition].concat()
}

fn metadata() -> [Vec<u8>; 2] {
    let create = |n: u8| Command::CreateTopic {
        id: TopicId([n; 16]),
        name: format!("topic-{n}"),
        replicas: vec![vec![NodeId(1)]; 3],
        overrides: vec![("retention.ms".into(), "1000".into())],
    };
    let start = Command::NodeStarted {
        node: NodeId(1),
        incarnation: 1,
        endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 }],
        shards: 1,
        routing: Routing::Direct,
        rack: String::new(),
    };
    let commands = vec![Command::FormatCluster { cluster_id: "cluster".into() }, start, create(1), create(2)];
    let image = apply(&Image::default(), 1, &commands).expect("a new cluster").0;
    [archive::encode_commands(&commands).to_vec(), archive::encode_image(&image).to_vec()]
}

/// Valid inputs for the readers of structured bytes, and byte patterns that message decoders partly accept.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new(), vec![0; 64], vec![0xff; 64], vec![1; 200]];
    for codec in Codec::ALL {
        seeds.push(batch(codec, 1));
        seeds.push([batch(codec, 5), batch(codec, 40)].concat());
    }
    seeds.push(journal_group());
    seeds.push(checkpoint());
    seeds.extend(metadata());
    seeds.push(b"0\n2\n0 0\n3 1700\n".to_vec());
    seeds.push(b"version=1\ncluster.id=abcdefghijklmnopqrstuv\nnode.id=1\nlayout=1\nshards=2\n".to_vec());
    // Version, then strings, arrays and numbers as messages have them, classic and compact.
    for version in 0..16u8 {
        seeds.push([&[version][..], &[0, 0, 0, 1, 0, 5], b"topic", &[0, 0, 0, 2], &[0; 24]].concat());
        seeds.push([&[version][..], &[2, 6], b"topic", &[3, 0, 0, 0, 0, 0], &[0; 24]].concat());
        seeds.push(
            [&[version][..], &[0, 0, 1, 0xff, 0xff, 0, 0, 0x75, 0x30], &[0, 0, 0, 1, 0, 1, b't'], &[0; 40]].concat(),
        );
    }
    seeds
}

fn change(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    const TELLING: [&[u8]; 9] = [
        &[0xff, 0xff, 0xff, 0xff],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
        &[0xff, 0xff],
        &[0x7f, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        &[0, 0, 0, 1],
        &[0],
    ];
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let telling = TELLING[dice.below(TELLING.len())];
                let end = (at + telling.len()).min(bytes.len());
                bytes.splice(at..end, telling.iter().copied());
            }
            4 => {
                let telling = TELLING[dice.below(TELLING.len())];
                bytes.splice(at..at, telling.iter().copied());
            }
            5 => {
                let from = dice.below(other.len() + 1);
                let end = (from + dice.below(64)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            _ => {
                let end = (at + dice.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes.truncate(64 << 10);
}

/// Runs a target on one input; the error names the failure and the input.
fn run(target: &Target, input: &[u8]) -> Result<(), String> {
    let region = Region::new(ALLOCATOR);
    let begun = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let (took, allocated) = (begun.elapsed(), region.change().bytes_allocated);
    let most = (target.allocates_max)(input.len());
    let wrong = match ended {
        Err(_) => "panicked".to_string(),
        Ok(()) if took > HANGS_AFTER => format!("took {took:?}"),
        Ok(()) if allocated > most => format!("allocated {allocated} bytes, {most} at the most for {}", input.len()),
        Ok(()) => return Ok(()),
    };
    Err(format!("{}: {wrong}\ninput: {:02x?}", target.name, input))
}

#[test]
fn no_input_panics_hangs_or_allocates_beyond_its_size() {
    own_process::run(module_path!(), "no_input_panics_hangs_or_allocates_beyond_its_size", run_targets);
}

fn run_targets() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().expect(name));
    let seconds = number("TIDEMILL_FUZZ_SECONDS", 10);
    let seed = number("TIDEMILL_FUZZ_SEED", 0x5eed);
    let mut dice = Dice(seed | 1);
    let seeds = seeds();
    let begun = Instant::now();
    let mut inputs = 0u64;
    let share = Duration::from_secs(seconds) / TARGETS.len() as u32;
    for (number, target) in TARGETS.iter().enumerate() {
        for seed in &seeds {
            run(target, seed).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        while begun.elapsed() < share * (number as u32 + 1) {
            let mut input = seeds[dice.below(seeds.len())].clone();
            let other = &seeds[dice.below(seeds.len())];
            change(&mut input, other, &mut dice);
            run(target, &input).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
            inputs += 1;
        }
    }
    println!("{inputs} inputs into {} targets, seed {seed}", TARGETS.len());
    assert!(inputs > 1000);
}
