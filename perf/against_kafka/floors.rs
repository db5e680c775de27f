//! What the machine itself takes for the two things that one acknowledged record cannot do without: alone, and the write at
//! a given rate, where the disk's own stalls show.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::io::ReadWriteFlags;
use tidemill::runtime::AlignedBuf;

const TIMES: usize = 3_000;
const BLOCK: usize = 4096;
const FILE_BYTES: usize = 64 << 20;

/// Medians.
pub struct Floors {
    /// A block written with `RWF_DSYNC` and `O_DIRECT`, into a file that was written before.
    pub durable_write: Duration,
    /// A small message over the loopback and back, between two threads that sleep.
    pub round_trip: Duration,
}

impl Floors {
    pub fn sum_us(&self) -> f64 {
        (self.durable_write + self.round_trip).as_secs_f64() * 1e6
    }
}

pub fn measure(directory: &Path) -> Floors {
    Floors { durable_write: durable_write(directory), round_trip: round_trip() }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A file that was written before, and is written over and over.
struct Target {
    path: PathBuf,
    file: File,
    buffer: AlignedBuf,
}

impl Target {
    fn create(directory: &Path) -> Target {
        let path = directory.join("floor");
        std::fs::write(&path, vec![1; FILE_BYTES]).expect("the disk has room");
        let mut open = File::options();
        let file = open.write(true).custom_flags(libc::O_DIRECT).open(&path).expect("just written");
        file.sync_all().expect("a disk that works");
        Target { path, file, buffer: AlignedBuf::alloc(64 << 10).expect("within the budget") }
    }

    /// The nth write of `bytes`, on stable storage when it returns.
    fn write(&self, nth: usize, bytes: usize) {
        let position = (nth % (FILE_BYTES / bytes) * bytes) as u64;
        let slices = [IoSlice::new(&self.buffer[..bytes])];
        rustix::io::pwritev2(&self.file, &slices, position, ReadWriteFlags::DSYNC).expect("a disk that works");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn durable_write(directory: &Path) -> Duration {
    let target = Target::create(directory);
    let write = |nth: usize| {
        let begun = Instant::now();
        target.write(nth, BLOCK);
        begun.elapsed()
    };
    median((0..TIMES).map(write).collect())
}

/// Microseconds of durable writes of `bytes` that come `rate` times a second, each from the moment it was due: what a broker
/// of no cost of its own would answer, were each request a write.
pub fn paced_writes(directory: &Path, bytes: usize, rate: u32, lasts: Duration) -> Histogram<u64> {
    let target = Target::create(directory);
    let mut times = Histogram::new(3).expect("three digits are few");
    let begun = Instant::now();
    for nth in 0.. {
        let due = begun + Duration::from_secs(1) * nth / rate;
        if due - begun >= lasts {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        target.write(nth as usize, bytes);
        times.record(due.elapsed().as_micros() as u64).expect("it grows");
    }
    times
}

fn round_trip() -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let mut buffer = [0; 1100];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer[..64]).expect("an open connection");
        }
    });
    let mut stream = TcpStream::connect(address).expect("a listener");
    stream.set_nodelay(true).expect("a socket");
    let mut buffer = [0; 1100];
    let times = (0..TIMES).map(|_| {
        let begun = Instant::now();
        stream.write_all(&buffer).expect("an open connection");
        stream.read_exact(&mut buffer[..64]).expect("an open connection");
        begun.elapsed()
    });
    let median = median(times.collect());
    drop(stream);
    echo.join().expect("the echo ends well");
    median
}
