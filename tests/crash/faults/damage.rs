//! Files that were damaged, cut, swapped or lost while the shard was down. Acknowledged records are intact, or the
//! restart names the loss. Each case damages a copy of the same killed shard, opens it, and reads all records.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill::disk::BLOCK_BYTES;
use tidemill::disk::checkpoint::Checkpoint;
use tidemill::disk::journal::group::{GroupBuilder, GroupHeader, GroupIdentity};
use tidemill::disk::journal::{ReplayStart, Sequence, files};
use tidemill::log::segment::file_path;
use tidemill::metadata::Image;
use tidemill::model::Offset;
use tidemill::runtime;
use tidemill::runtime::fault::FaultPlan;
use tidemill::runtime::record::Recorder;
use tidemill::shard::open::ShardLocation;

use super::disk::{Disk, Luck};
use super::load::{self, Ledger, Load};
use super::report;
use crate::support::scratch::Dir;
use crate::support::turn;

/// The outcome of a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Intact,
    /// The shard refuses to open, with a reason.
    Refused,
    /// The shard opens; the log or a read names the loss.
    Reported,
}
use Outcome::{Intact, Refused, Reported};

/// The fault, the function that causes it, the expected outcome, and the expected words (in the error or the log).
type Case = (&'static str, fn(&Scene), Outcome, &'static str);

const CASES: &[Case] = &[
    ("nothing", |_| {}, Intact, ""),
    (
        "journal: a flipped bit in a live group's records",
        |s| s.flip_group(s.middle(), 200),
        Refused,
        "was flushed before",
    ),
    (
        "journal: a flipped bit in a live group's header",
        |s| s.flip_group(s.middle(), 16),
        Refused,
        "was flushed before",
    ),
    ("journal: a live group's magic is gone", |s| s.flip_group(s.middle(), 0), Refused, "was flushed before"),
    (
        "journal: a flipped bit in the very last group",
        |s| s.flip_group(s.groups.len() - 1, 200),
        Reported,
        "torn or damaged",
    ),
    (
        "journal: a flipped bit in the group before a closing one",
        |s| {
            close(&s.root, &s.image);
            s.flip_group(s.groups.len() - 1, 200);
        },
        Refused,
        "was flushed before",
    ),
    (
        "journal: a flipped bit in the closing group",
        |s| {
            close(&s.root, &s.image);
            s.flip_next(20);
        },
        Intact,
        "",
    ),
    ("journal: a flipped bit in a dead lap", |s| s.flip_next(200), Intact, ""),
    ("journal: an earlier lap's group where the next one goes", |s| s.write_end(&s.recycled), Intact, ""),
    ("journal: a group of an earlier session there", |s| s.write_end(&s.forged(1, 0)), Intact, ""),
    ("journal: a group of another row of groups there", |s| s.write_end(&s.forged(0, 1)), Intact, ""),
    ("journal: a file's header damaged", |s| s.flip(&s.journal(0), 9), Refused, "its header is damaged"),
    ("journal: a file cut short", |s| cut(&s.journal(1), 1 << 19), Refused, "its header names file 1"),
    ("journal: the last file missing", |s| remove(&s.journal(2)), Refused, "is not readable as a journal"),
    ("journal: a file in the middle missing", |s| remove(&s.journal(1)), Refused, "journal"),
    ("journal: all of it missing", |s| fs::remove_dir_all(s.journal(0).parent().unwrap()).unwrap(), Refused, "journal"),
    ("checkpoint: missing", |s| remove(&s.checkpoint), Refused, "it is missing, and"),
    ("checkpoint: cut short", |s| cut(&s.checkpoint, 100), Refused, "its archive should be"),
    ("checkpoint: empty", |s| cut(&s.checkpoint, 0), Refused, "shorter than its header"),
    ("checkpoint: a flipped bit", |s| s.flip(&s.checkpoint, 77), Refused, "does not match its checksum"),
    ("checkpoint: the one before", |s| fs::write(&s.checkpoint, &s.before).unwrap(), Intact, ""),
    ("checkpoint: one of laps ago", |s| fs::write(&s.checkpoint, &s.stale).unwrap(), Refused, "is not readable as"),
    ("segment: the first missing", |s| remove(&s.sealed("plain-0", 0, "log")), Refused, "it is missing, and held"),
    (
        "segment: one in the middle missing",
        |s| remove(&s.sealed("plain-0", 1, "log")),
        Refused,
        "it is missing, and held",
    ),
    (
        "segment: one in the middle missing, with retention",
        |s| remove(&s.sealed("kept-0", 1, "log")),
        Refused,
        "it is missing, and held",
    ),
    (
        "segment: the first missing, with retention",
        |s| remove(&s.sealed("kept-0", 0, "log")),
        Reported,
        "are gone since the last checkpoint",
    ),
    (
        "segment: a sealed one cut short",
        |s| cut_half(&s.sealed("plain-0", 1, "log")),
        Refused,
        "acknowledged records are missing",
    ),
    ("segment: a flipped bit in a sealed one", |s| s.flip(&s.sealed("plain-0", 1, "log"), 150), Reported, "torn at"),
    ("segment: the active one missing", |s| remove(&s.active("plain-0", "log")), Refused, "it is missing, and held"),
    (
        "segment: the active one cut short",
        |s| cut_half(&s.active("plain-0", "log")),
        Refused,
        "acknowledged records are missing",
    ),
    (
        "segment: one more, that nobody knows",
        |s| fs::write(file_path(&s.directory("plain-0"), Offset(999_999), "log"), b"?").unwrap(),
        Intact,
        "",
    ),
    (
        "segment: all of a partition missing",
        |s| fs::remove_dir_all(s.directory("plain-0")).unwrap(),
        Refused,
        "it is missing, and held",
    ),
    (
        "index: a sealed segment's missing",
        |s| remove(&s.sealed("plain-0", 1, "index")),
        Intact,
        "rebuilding the indexes",
    ),
    (
        "index: a sealed segment's cut short",
        |s| cut(&s.sealed("plain-0", 1, "index"), 13),
        Intact,
        "rebuilding the indexes",
    ),
    (
        "index: a sealed segment's full of noise",
        |s| noise(&s.sealed("plain-0", 1, "index")),
        Intact,
        "rebuilding the indexes",
    ),
    ("index: the active segment's missing", |s| remove(&s.active("plain-0", "index")), Intact, ""),
    ("index: the active segment's full of noise", |s| noise(&s.active("plain-0", "index")), Intact, ""),
    (
        "timeindex: a sealed segment's missing",
        |s| remove(&s.sealed("plain-0", 1, "timeindex")),
        Intact,
        "rebuilding the indexes",
    ),
    (
        "timeindex: a sealed segment's cut short",
        |s| cut(&s.sealed("plain-0", 1, "timeindex"), 7),
        Intact,
        "rebuilding the indexes",
    ),
    (
        "timeindex: a sealed segment's full of noise",
        |s| noise(&s.sealed("plain-0", 1, "timeindex")),
        Intact,
        "rebuilding the indexes",
    ),
    ("timeindex: the active segment's missing", |s| remove(&s.active("plain-0", "timeindex")), Intact, ""),
    (
        "leader-epoch-checkpoint: missing",
        |s| remove(&s.directory("plain-0").join("leader-epoch-checkpoint")),
        Intact,
        "",
    ),
    ("partition.metadata: missing", |s| remove(&s.directory("plain-0").join("partition.metadata")), Intact, ""),
    ("names: every one that was not flushed", |s| s.lose(), Intact, ""),
];

/// Opens the shard, waits until it has written a closing group, and leaves the disk as a killed process would.
fn close(root: &Path, image: &Arc<Image>) {
    let place = ShardLocation { journal_idle: Duration::from_millis(1), ..load::place(root, false) };
    load::run(async {
        let (shard, _) = load::open(&place, image).await.expect("nothing is damaged");
        let last = shard.last_appended();
        let closed = runtime::timeout(Duration::from_secs(20), async {
            while shard.committed() == last {
                runtime::sleep(Duration::from_millis(1)).await;
            }
        });
        closed.await.expect("an idle journal writes a closing group");
        shard.retire();
    });
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn cut(path: &Path, bytes: u64) {
    let file = fs::File::options().write(true).open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(file.metadata().unwrap().len() > bytes, "{} is no longer than that", path.display());
    file.set_len(bytes).unwrap();
}

fn cut_half(path: &Path) {
    cut(path, fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len() / 2);
}

fn noise(path: &Path) {
    let bytes: Vec<u8> = (0..fs::metadata(path).unwrap().len()).map(|at| (at * 167 + 13) as u8).collect();
    fs::write(path, bytes).unwrap();
}

/// A killed shard with earlier clean stops and journal laps, and several groups behind the last checkpoint.
struct Scene {
    root: PathBuf,
    image: Arc<Image>,
    checkpoint: PathBuf,
    state: Checkpoint,
    /// Earlier checkpoints: one whose groups still exist, and one whose groups do not.
    before: Vec<u8>,
    stale: Vec<u8>,
    /// File, position and header of each live group.
    groups: Vec<(u32, u64, GroupHeader)>,
    /// The position of the next group.
    end: (u32, u64),
    /// A whole group of an earlier lap.
    recycled: Vec<u8>,
    /// The same disk after a power failure that took everything unflushed.
    lost: PathBuf,
}

impl Scene {
    fn journal(&self, number: u32) -> PathBuf {
        files::path_of(&load::place(&self.root, false).data.journal_directory(0, 0), number)
    }

    fn directory(&self, partition: &str) -> PathBuf {
        self.root.join("data").join(partition)
    }

    fn of(&self, partition: &str) -> &tidemill::disk::checkpoint::PartitionState {
        let metadata = fs::read_to_string(self.directory(partition).join("partition.metadata")).unwrap();
        let number: i32 = partition.rsplit_once('-').unwrap().1.parse().unwrap();
        let is_it = |state: &&tidemill::disk::checkpoint::PartitionState| {
            state.partition == number && metadata.contains(&state.id().topic.to_string())
        };
        self.state.partitions.iter().find(is_it).unwrap()
    }

    /// A file of a sealed segment, counted from the oldest that retention has left since the checkpoint.
    fn sealed(&self, partition: &str, number: usize, extension: &str) -> PathBuf {
        let of_segment = |base, extension| file_path(&self.directory(partition), base, extension);
        let sealed = self.of(partition).sealed.iter().map(|segment| segment.base_offset);
        let mut left = sealed.filter(|base| of_segment(*base, "log").exists());
        of_segment(left.nth(number).expect("retention leaves several"), extension)
    }

    fn active(&self, partition: &str, extension: &str) -> PathBuf {
        file_path(&self.directory(partition), self.of(partition).segment_base_offset, extension)
    }

    fn middle(&self) -> usize {
        self.groups.len() / 2
    }

    fn flip_group(&self, number: usize, at: u64) {
        let (file, position, _) = self.groups[number];
        self.flip(&self.journal(file), position + at);
    }

    fn flip(&self, path: &Path, at: u64) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at as usize] ^= 0x10;
        fs::write(path, bytes).unwrap();
    }

    /// The file and the position of the next group. A group that does not fit the rest of a file goes to the start of
    /// the next one.
    fn next(&self, bytes: usize) -> (PathBuf, u64) {
        let path = self.journal(self.end.0);
        let fits = self.end.1 + bytes as u64 <= fs::metadata(&path).unwrap().len();
        if fits { (path, self.end.1) } else { (self.journal((self.end.0 + 1) % 3), BLOCK_BYTES as u64) }
    }

    fn flip_next(&self, at: u64) {
        let (path, position) = self.next(BLOCK_BYTES);
        self.flip(&path, position + at);
    }

    fn write_end(&self, group: &[u8]) {
        let (path, at) = self.next(group.len());
        let mut bytes = fs::read(&path).unwrap();
        bytes[at as usize..][..group.len()].copy_from_slice(group);
        fs::write(path, bytes).unwrap();
    }

    /// Writes a group that is a valid next one except for these changes.
    fn forged(&self, sessions_back: u64, checksum_off: u32) -> Vec<u8> {
        let (_, _, last) = self.groups[self.groups.len() - 1];
        load::run(async {
            let identity = GroupIdentity {
                sequence: last.identity.sequence.next(),
                session: last.identity.session - sessions_back,
                previous_checksum: last.checksum ^ checksum_off,
                ..last.identity
            };
            GroupBuilder::new(1000, 4096).unwrap().seal(identity).bytes.as_slice().concat()
        })
    }

    fn lose(&self) {
        fs::remove_dir_all(&self.root).unwrap();
        load::copy(&self.lost, &self.root);
    }
}

/// The groups from a journal start on.
fn groups(directory: &Path, start: ReplayStart) -> Vec<(u32, u64, GroupHeader)> {
    let (mut file, mut position, mut sequence) = (start.file, start.position, start.sequence);
    let at = |file: u32, position: u64| {
        let bytes = fs::read(files::path_of(directory, file)).ok()?;
        GroupHeader::parse(bytes.get(position as usize..)?)
    };
    let mut found = Vec::new();
    loop {
        let fits = |header: &GroupHeader| header.identity.sequence == sequence;
        let here = at(file, position).filter(fits).map(|header| (file, position, header));
        let begin = BLOCK_BYTES as u64;
        let first = || (0..3).find_map(|file| Some((file, begin, at(file, begin).filter(fits)?)));
        let Some(group) = here.or_else(first) else { return found };
        (file, position, sequence) = (group.0, group.1 + group.2.total_bytes as u64, sequence.next());
        found.push(group);
    }
}

fn scene(root: &Path, lost: &Path) -> (Scene, Ledger) {
    let place = load::place(root, false);
    let checkpoint = place.data.checkpoint_path(0, 0);
    let ledger = Rc::new(RefCell::new(Ledger::of(load::image_with(&["plain", "kept", "txn"]))));
    let mut disk = Disk::of(root);
    let mut life = |seed, batches, batch_bytes_max, one_by_one, stops| {
        let load = Load { seed, batches, batch_bytes_max, one_by_one, stops, ..Load::default() };
        let recorder = Recorder::default();
        let lived = load::live(&place, &ledger, &load, &recorder, FaultPlan::default());
        assert_eq!(lived.failure, None);
        disk.reopened();
        recorder.take().iter().for_each(|event| disk.apply(event));
        fs::read(&checkpoint).unwrap()
    };
    let stale = life(1, 10, 2_000, false, true);
    let before = life(2, 120, 24_000, false, true);
    life(3, 8, 2_000, true, false);
    disk.leave(lost, Luck::AllIsLost);
    let directory = place.data.journal_directory(0, 0);
    let state = Checkpoint::parse(&fs::read(&checkpoint).unwrap()).unwrap();
    let live = groups(&directory, state.head.start.into());
    assert!(live.len() >= 8, "{} groups are no row", live.len());
    let &(file, position, last) = live.last().unwrap();
    let end = (file, position + last.total_bytes as u64);
    let recycled = recycled(&directory, Sequence(state.head.start.sequence));
    let ledger = ledger.borrow().clone();
    (
        Scene {
            root: root.to_owned(),
            image: ledger.image_at(usize::MAX),
            checkpoint,
            state,
            before,
            stale,
            groups: live,
            end,
            recycled,
            lost: lost.to_owned(),
        },
        ledger,
    )
}

/// The smallest whole group from before `sequence`.
fn recycled(directory: &Path, sequence: Sequence) -> Vec<u8> {
    let mut found: Option<Vec<u8>> = None;
    for file in 0..3 {
        let bytes = fs::read(files::path_of(directory, file)).unwrap();
        for at in (BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES) {
            if let Some(header) = GroupHeader::parse(&bytes[at..])
                && header.identity.sequence < sequence
                && found.as_ref().is_none_or(|smallest| header.total_bytes < smallest.len())
            {
                found = bytes.get(at..at + header.total_bytes).map(<[u8]>::to_vec);
            }
        }
    }
    found.expect("a journal that went round has groups of before")
}

/// The captured log output.
#[derive(Clone, Default)]
struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl io::Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn damage_is_reported_or_harmless() {
    let _turn = turn::of("faults");
    let dir = Dir::new("damage");
    let images = load::images("damage");
    let (scene, ledger) = scene(dir.path(), &images.join("lost"));
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for (number, (fault, harm, expected, expected_words)) in CASES.iter().enumerate() {
        let root = images.join(number.to_string());
        load::copy(dir.path(), &root);
        let place = load::place(&root, false);
        let copied = Scene {
            root: root.clone(),
            image: scene.image.clone(),
            checkpoint: place.data.checkpoint_path(0, 0),
            lost: scene.lost.clone(),
            state: scene.state.clone(),
            before: scene.before.clone(),
            stale: scene.stale.clone(),
            groups: scene.groups.clone(),
            recycled: scene.recycled.clone(),
            ..scene
        };
        harm(&copied);
        let printed = CapturedLog::default();
        let writer = printed.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let opened = tracing::subscriber::with_default(log, || load::reopen(&place, &ledger.image_at(usize::MAX)));
        let printed = String::from_utf8_lossy(&printed.0.lock().unwrap()).into_owned();
        let checked = opened.map(|(found, _)| ledger.check(&found, usize::MAX - 1, true));
        let (outcome, words) = match checked {
            Ok(Ok(())) if expected_words.is_empty() || *expected == Intact => (Intact, printed),
            Ok(_) => (Reported, printed),
            // The shard opened, and reads report the loss.
            Err(why) if why.contains("torn at") => (Reported, why),
            Err(why) => (Refused, why),
        };
        if outcome != *expected || !words.contains(expected_words) {
            wrong.push(format!("{fault}: {outcome:?}, {expected:?} and {expected_words:?} expected: {words}"));
        }
        let message = words.lines().find(|line| !expected_words.is_empty() && line.contains(expected_words));
        let message = message.map_or_else(String::new, |line| {
            shorten(&line.replace(&format!("{}/", root.display()), ""), expected_words)
        });
        rows.push(vec![(*fault).to_owned(), format!("{outcome:?}").to_lowercase(), message]);
        fs::remove_dir_all(&root).unwrap();
    }
    let _ = fs::remove_dir_all(&images);
    report::table("damaged files", &["fault", "outcome", "message"], &rows);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The text from the expected words on.
fn shorten(line: &str, expected_words: &str) -> String {
    let at = line.find(expected_words).expect("it contains them");
    line[at..].chars().take(90).collect()
}
