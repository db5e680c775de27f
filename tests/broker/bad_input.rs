//! For any input a node answers with the right error or closes that connection. Its memory stays bounded, and other
//! clients are served meanwhile.
//!
//! Each test has a bystander: a well-behaved client that writes and reads on connections of its own until the test
//! ends. It must never wait long. Random input follows from a seed, which a failure names.

mod good_frames;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tidemill::model::ErrorCode;
use tidemill::record::Codec;
use tidemill::wire::ApiKey;
use tidemill::wire::data::fetch::FetchRequest;
use tidemill::wire::data::produce::{ProduceHead, ProduceRequestWriter};

use crate::support::bench::{self, Topic};
use crate::support::node::Node;
use crate::support::talk::{self, Talk, batch, from, measured, packed};
use crate::support::{say, wait_for};
use good_frames::good_frames;

/// The bystander's longest wait. Other tests and a compiler may share the two cores.
const PATIENCE: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;

/// A node, a topic that receives the bad input, and the bystander.
struct World {
    node: Node,
    topic: Topic,
    stop: Arc<AtomicBool>,
    bystander: Option<JoinHandle<(u32, Duration)>>,
}

impl World {
    fn new(name: &str) -> World {
        let node = Node::tidemill(name, &["--shards", "2", "--set", "journal.bytes=134217728"]);
        let topic = bench::create(&node, "target", 2, &[]);
        let quiet = bench::create(&node, "bystander", 2, &[]);
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let bystander = std::thread::spawn(move || {
            let mut talks = [quiet.leader(0), quiet.leader(1)];
            let (mut rounds, mut longest) = (0, Duration::ZERO);
            while !ends.load(Ordering::Relaxed) {
                for (partition, talk) in talks.iter_mut().enumerate() {
                    let (_, took) = measured(|| {
                        let offset = talk.append(&quiet.name, partition as i32, &["still there"]);
                        let part = talk.fetch_one(quiet.by_name(), partition as i32, offset, 11);
                        assert_eq!(part.values(), ["still there"]);
                    });
                    assert!(took < PATIENCE, "a bystander waited {took:?}");
                    longest = longest.max(took);
                }
                rounds += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            (rounds, longest)
        });
        World { node, topic, stop, bystander: Some(bystander) }
    }

    fn talk(&self) -> Talk {
        Talk::to(self.node.bootstrap())
    }

    /// The node's resident memory.
    fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.node.pid())).expect("the node lives");
        let line = status.lines().find(|line| line.starts_with(field)).expect("a line of its own");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("of KiB") * 1024
    }

    /// Checks that resident memory has grown by less than `bytes`.
    fn check_growth(&self, before: u64, bytes: u64, what: &str) {
        let grown = self.rss().saturating_sub(before);
        say(&format!("  {what}: {} MiB more", grown / MIB));
        assert!(grown < bytes, "{what}: memory grew by {} MiB", grown / MIB);
    }

    /// Checks that the bystander was served without a long wait, and that a new client is.
    fn end(mut self) {
        let mut talk = self.talk();
        assert!(!bench::metadata(&mut talk, 9, Some(&[])).brokers.is_empty());
        self.stop.store(true, Ordering::Relaxed);
        let bystander = self.bystander.take().expect("joined once").join();
        let (rounds, longest) = bystander.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        say(&format!("  a bystander was served {rounds} times and waited {longest:.1?} at most"));
        assert!(rounds > 0);
        assert!(self.node.stop().success(), "the node stops in good order");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// splitmix64: a seed reproduces all choices.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as i32).to_be_bytes()[..], body].concat()
}

fn header(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &7i32.to_be_bytes(), &(-1i16).to_be_bytes()].concat()
}

/// The reaction of a connection to input bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Answered,
    Closed,
    /// The input was a fetch that waits.
    Waits,
}

/// Sends `bytes` and then a valid request: the node answers it or closes the connection.
fn fate(talk: &mut Talk, bytes: &[u8]) -> Fate {
    const MARK: i32 = 0x5a5a_5a5a;
    let mark = [&header(18, 0)[..4], &MARK.to_be_bytes(), &(-1i16).to_be_bytes()].concat();
    if !talk.try_send(bytes) || !talk.try_send(&framed(&mark)) {
        return Fate::Closed;
    }
    loop {
        match talk.receive_within(Duration::from_secs(3)) {
            Ok(Some(answer)) if answer[..4] == MARK.to_be_bytes() => return Fate::Answered,
            Ok(Some(_)) => {}
            Ok(None) => return Fate::Closed,
            Err(()) => return Fate::Waits,
        }
    }
}

#[test]
fn lengths_and_headers_that_no_request_has_close_the_connection() {
    let world = World::new("bad-lengths");
    for length in [-1, i32::MIN, 100 * 1024 * 1024 + 1, i32::MAX, i32::from_be_bytes(*b"GET ")] {
        let mut talk = world.talk();
        talk.send(&length.to_be_bytes());
        assert!(talk.is_closed(), "{length}");
    }
    // All prefixes of a header.
    let whole = header(3, 9);
    for cut in 0..whole.len() {
        let mut talk = world.talk();
        talk.send(&framed(&whole[..cut]));
        assert!(talk.is_closed(), "{cut} bytes of a header");
    }
    // A client id that is longer than the frame.
    let mut talk = world.talk();
    talk.send(&framed(&[&whole[..8], &[0x7f, 0xff], b"short"].concat()));
    assert!(talk.is_closed());
    for key in (-2..130).chain([i16::MIN, i16::MAX]) {
        for version in [-1, 0, 2, 14, 19, i16::MAX] {
            let served = ApiKey::from_code(key).is_some_and(|key| key.api().serves(version));
            if served || key == 18 {
                continue;
            }
            let mut talk = world.talk();
            talk.send(&framed(&header(key, version)));
            assert!(talk.is_closed(), "{key} v{version}");
        }
    }
    world.end();
}

#[test]
fn a_body_cut_anywhere_or_full_of_huge_counts_closes_the_connection() {
    let world = World::new("bad-bodies");
    let before = world.rss();
    let mut dice = Dice(1);
    for (key, version, frame) in good_frames(&world.topic) {
        assert_eq!(fate(&mut world.talk(), &frame), Fate::Answered, "{key:?} v{version} as it should be");
        let body = &frame[4..];
        let ends_of_header = 8 + 2 + "mutant".len();
        // The body of ApiVersions below v3 is empty.
        for _ in 0..if body.len() > ends_of_header { 4 } else { 0 } {
            let cut = ends_of_header + dice.below(body.len() - ends_of_header);
            let fate = fate(&mut world.talk(), &framed(&body[..cut]));
            assert_eq!(fate, Fate::Closed, "{key:?} v{version} cut at {cut} of {}", body.len());
        }
        let head = &body[..ends_of_header + usize::from(key.api().is_flexible(version))];
        for counts in [[0x7f, 0xff, 0xff, 0xff].repeat(3), [0xff, 0xff, 0xff, 0xff, 0x07].repeat(3), vec![0xff; 12]] {
            // Some values decode as valid numbers and strings.
            fate(&mut world.talk(), &framed(&[head, &counts].concat()));
        }
    }
    world.check_growth(before, 128 * MIB, "cut bodies and huge counts");
    world.end();
}

#[test]
fn random_changes_of_good_frames_are_answered_or_close_the_connection() {
    let world = World::new("bad-mutants");
    let frames = good_frames(&world.topic);
    let before = world.rss();
    let (mut answered, mut closed, mut waiting) = (0, 0, 0);
    let mut talk = world.talk();
    for seed in 0..100 {
        for (at, (key, version, good)) in frames.iter().enumerate() {
            let mut dice = Dice(seed << 32 | at as u64);
            let mut body = good[4..].to_vec();
            for _ in 0..=dice.below(3) {
                // Key and version stay unchanged, so that every decoder is reached.
                let at = 4 + dice.below(body.len() - 4);
                match dice.below(5) {
                    0 => body[at] ^= 1 << dice.below(8),
                    1 => body[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
                    2 => body[at] = dice.below(256) as u8,
                    3 => body.insert(at, dice.below(256) as u8),
                    _ => drop(body.remove(at)),
                }
            }
            match fate(&mut talk, &framed(&body)) {
                Fate::Answered => {
                    answered += 1;
                    continue;
                }
                Fate::Closed => closed += 1,
                Fate::Waits => {
                    assert_eq!(*key, ApiKey::Fetch, "{key:?} v{version} is not answered, seed {seed}");
                    waiting += 1;
                }
            }
            talk = world.talk();
        }
    }
    say(&format!("  {answered} mutants were answered, {closed} closed their connection, {waiting} wait"));
    assert!(answered > 0 && closed > 0);
    world.check_growth(before, 256 * MIB, "mutants");
    world.end();
}

#[test]
fn a_batch_with_any_bit_flipped_is_refused_unless_the_broker_overwrites_it() {
    let world = World::new("bad-batches");
    let mut talk = world.topic.leader(0);
    for codec in Codec::ALL {
        let good = packed(codec, &["some value", "and another"]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let code = talk.produce_one(&world.topic.name, 0, &bad).code;
            let context = format!("{codec:?}, byte {at}: {code}");
            match at {
                // The base offset must be 0; the broker overwrites the leader epoch, which is outside the CRC.
                0..8 => assert_eq!(code, ErrorCode::InvalidRecord, "{context}"),
                12..16 => assert_eq!(code, ErrorCode::None, "{context}"),
                8..12 | 16 => {
                    assert!(matches!(code, ErrorCode::InvalidRecord | ErrorCode::CorruptMessage), "{context}")
                }
                _ => assert_eq!(code, ErrorCode::CorruptMessage, "{context}"),
            }
        }
    }
    world.end();
}

#[test]
fn a_thousand_connections_that_announce_90_mib_and_send_four_bytes_cost_next_to_nothing() {
    let world = World::new("bad-announced");
    let before = world.rss();
    let length = (90i32 << 20).to_be_bytes();
    let mut talks = Vec::new();
    for n in 0..1000 {
        let mut talk = world.talk();
        // Produce v9: the only API whose requests may be that large.
        talk.send(&[&length[..], if n % 2 == 0 { &[0, 0, 0, 9] } else { &[0] }].concat());
        talks.push(talk);
    }
    // When each shard serves a later connection, it has read all earlier ones.
    for leader in &world.topic.leaders {
        bench::metadata(&mut Talk::to(leader), 9, Some(&[]));
    }
    world.check_growth(before, 64 * MIB, "a thousand claims of 90 MiB");
    drop(talks);
    world.end();
}

#[test]
fn slow_senders_of_large_requests_delay_no_other_client() {
    let world = World::new("bad-slow");
    let mut writer = world.topic.leader(0);
    let before = world.rss();
    // Each sends a little more than one megabyte of 90, and then stops. All go to one shard.
    let begun = [&(90i32 << 20).to_be_bytes()[..], &[0, 0, 0, 9], &vec![0; 1_200_000]].concat();
    let mut slow: Vec<Talk> = (0..64).map(|_| world.topic.leader(0)).collect();
    for talk in &mut slow {
        talk.try_send(&begun);
    }
    let large = "x".repeat(900_000);
    for _ in 0..30 {
        let (_, took) = measured(|| writer.append(&world.topic.name, 0, &[&large]));
        assert!(took < PATIENCE, "{took:?}");
    }
    world.check_growth(before, 768 * MIB, "slow senders");
    drop(slow);
    world.end();
}

#[test]
fn connections_that_break_off_inside_a_frame_leave_nothing_behind() {
    let world = World::new("bad-torn");
    let value = "x".repeat(900_000);
    let whole = {
        let head = ProduceHead { transactional_id: None, acks: 1, timeout_ms: 1000 };
        let mut writer = ProduceRequestWriter::new(9, 7, None, head, 1);
        writer.topic(world.topic.by_name(), 1);
        writer.partition(0, batch(&[&value]));
        writer.finish().expect("encodable").to_vec()
    };
    let mut dice = Dice(3);
    let mut round = |count: usize| {
        for _ in 0..count {
            let mut talk = world.talk();
            talk.try_send(&whole[..dice.below(whole.len())]);
        }
    };
    let before = world.rss();
    for _ in 0..4 {
        round(500);
    }
    // 900 MB in total. The share of large requests (a quarter of memory.bytes on each of two shards) stays mapped for
    // later ones.
    world.check_growth(before, 320 * MIB, "2000 torn frames");
    // Nothing was appended.
    let part = world.topic.leader(0).fetch_one(world.topic.by_name(), 0, 0, 11);
    assert_eq!(part.head.high_watermark, 0);
    world.end();
}

#[test]
fn only_produce_may_be_large_and_a_request_of_tiny_elements_costs_a_bounded_multiple() {
    let world = World::new("bad-elements");
    for key in [1, 2, 3, 18, 19, 999] {
        let mut talk = world.talk();
        talk.send(&[&(5i32 << 20).to_be_bytes()[..], &i16::to_be_bytes(key)].concat());
        assert!(talk.is_closed(), "a request of 5 MiB with key {key}");
    }
    let before = world.rss();
    // Metadata v9: 600,000 topics that do not exist, in 3.6 MB. Fetch v4: 250,000 partitions of one in 4 MB.
    let mut names = [&header(3, 9)[..], &[0]].concat();
    let mut count = 600_001u32;
    while count >= 0x80 {
        names.push(count as u8 | 0x80);
        count >>= 7;
    }
    names.push(count as u8);
    for n in 0..600_000u32 {
        let letter = |n: u32| b"abcdefghijklmnopqrstuvwxyz-_"[(n % 28) as usize];
        names.extend([5, letter(n), letter(n / 28), letter(n / 784), letter(n / 21_952), 0]);
    }
    names.extend([0, 0, 0, 0]);
    let mut partitions = header(1, 4);
    for number in [-1i32, 0, 0, 1 << 20] {
        partitions.extend(number.to_be_bytes());
    }
    partitions.extend([0, 0, 0, 0, 1, 0, 1, b'a']);
    partitions.extend(250_000i32.to_be_bytes());
    for n in 0..250_000i32 {
        partitions.extend([&n.to_be_bytes()[..], &[0; 8], &[0, 0, 0, 9]].concat());
    }
    for (what, body) in [("names", names), ("partitions", partitions)] {
        let (answer, took) = measured(|| {
            let mut talk = world.talk();
            talk.send(&framed(&body));
            talk.receive().expect("an answer")
        });
        say(&format!("  {what}: {} bytes asked, {} answered in {took:.1?}", body.len(), answer.len()));
        assert!(took < PATIENCE, "{what}: {took:?}");
    }
    let grown = world.memory("VmHWM:").saturating_sub(before);
    say(&format!("  at its peak the node had {} MiB more", grown / MIB));
    assert!(grown < 512 * MIB, "{} MiB", grown / MIB);
    world.end();
}

#[test]
fn a_slow_reader_of_large_responses_delays_no_other_client() {
    let world = World::new("bad-reader");
    let mut writer = world.topic.leader(0);
    for _ in 0..16 {
        writer.append(&world.topic.name, 0, &[&"x".repeat(1_000_000)]);
    }
    let before = world.rss();
    // Pipelined fetches of 16 MB, whose responses are not read.
    let mut silent: Vec<Talk> = (0..20).map(|_| world.topic.leader(0)).collect();
    for talk in &mut silent {
        for _ in 0..20 {
            let partitions = vec![from(&world.topic.name, 0, 0)];
            talk.send_fetch(&FetchRequest { partitions, ..Default::default() }, 11);
        }
    }
    wait_for("the bystander is served meanwhile", PATIENCE, || {
        writer.append(&world.topic.name, 1, &["y"]);
        Some(())
    });
    world.check_growth(before, 512 * MIB, "400 unread answers of 16 MB");
    // The responses that are read in the end are whole.
    let mut first = silent.remove(0);
    let mut bytes = 0;
    for _ in 0..3 {
        bytes += first.receive().expect("an answer").len();
    }
    assert!(bytes > 3 * 15_000_000, "{bytes}");
    drop(silent);
    world.end();
}

/// Reads with a deadline.
impl Talk {
    /// As `receive`, but an error when no frame arrives in time.
    fn receive_within(&mut self, within: Duration) -> Result<Option<Vec<u8>>, ()> {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        self.stream.set_read_timeout(Some(within)).expect("a socket option");
        let mut first = [0];
        let peeked = self.stream.peek(&mut first);
        self.stream.set_read_timeout(Some(talk::PATIENCE)).expect("a socket option");
        match peeked {
            Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => Err(()),
            _ => Ok(self.receive()),
        }
    }
}
