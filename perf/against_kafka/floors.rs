//! The lower bounds that the machine sets: the latency of one durable write and of one loopback round trip, and of
//! durable writes at a rate, which show the stalls of the disk.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::io::ReadWriteFlags;
use tidemill::runtime::AlignedBuf;

use super::statistics;

const TIMES: usize = 3_000;
const BLOCK: usize = 4096;
const FILE_BYTES: usize = 64 << 20;

/// The lower bounds, as medians.
pub struct Floors {
    /// A write of one block with `RWF_DSYNC` and `O_DIRECT` to a preallocated file.
    pub durable_write: Duration,
    /// A small message over the loopback and its response, between two threads that sleep.
    pub round_trip: Duration,
}

impl Floors {
    /// Both together, in microseconds.
    pub fn sum_us(&self) -> f64 {
        (self.durable_write + self.round_trip).as_secs_f64() * 1e6
    }
}

/// Measures both bounds. `directory` is on the disk of the brokers.
pub fn measure(directory: &Path) -> Floors {
    Floors { durable_write: durable_write(directory), round_trip: round_trip() }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    Duration::from_secs_f64(statistics::median(times.map(|time| time.as_secs_f64()).collect()))
}

/// A preallocated file that is overwritten repeatedly.
struct Target {
    path: PathBuf,
    file: File,
    buffer: AlignedBuf,
}

impl Target {
    fn create(directory: &Path) -> Target {
        let path = directory.join("floor");
        std::fs::write(&path, vec![1; FILE_BYTES]).expect("the disk has space");
        let mut open = File::options();
        let file = open.write(true).custom_flags(libc::O_DIRECT).open(&path).expect("the file exists");
        file.sync_all().expect("the disk works");
        Target { path, file, buffer: AlignedBuf::alloc(64 << 10).expect("within the budget") }
    }

    /// The nth write of `bytes` bytes. It is on stable storage when the call returns.
    fn write(&self, nth: usize, bytes: usize) {
        let position = (nth % (FILE_BYTES / bytes) * bytes) as u64;
        let slices = [IoSlice::new(&self.buffer[..bytes])];
        rustix::io::pwritev2(&self.file, &slices, position, ReadWriteFlags::DSYNC).expect("the disk works");
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
    median((0..TIMES).map(write))
}

/// The latencies in microseconds of `rate` durable writes of `bytes` bytes per second, each from its due time. A broker
/// without any cost of its own, and with one write per request, would have these latencies.
pub fn paced_writes(directory: &Path, bytes: usize, rate: u32, lasts: Duration) -> Histogram<u64> {
    let target = Target::create(directory);
    let mut times = Histogram::new(3).expect("three digits are supported");
    let begun = Instant::now();
    for nth in 0.. {
        let due = begun + Duration::from_secs(1) * nth / rate;
        if due - begun >= lasts {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        target.write(nth as usize, bytes);
        times.record(due.elapsed().as_micros() as u64).expect("the histogram grows");
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
    let median = median(times);
    drop(stream);
    echo.join().expect("the echo thread does not panic");
    median
}
