//! What the machine itself takes for the two things that one acknowledged record cannot do without.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

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

fn durable_write(directory: &Path) -> Duration {
    let path = directory.join("floor");
    std::fs::write(&path, vec![1; FILE_BYTES]).expect("the disk has room");
    let mut open = File::options();
    let file = open.write(true).custom_flags(libc::O_DIRECT).open(&path).expect("just written");
    file.sync_all().expect("a disk that works");
    let block = AlignedBuf::alloc(BLOCK).expect("within the budget");
    let write = |at: usize| {
        let position = (at * BLOCK % FILE_BYTES) as u64;
        let begun = Instant::now();
        rustix::io::pwritev2(&file, &[IoSlice::new(&block[..BLOCK])], position, ReadWriteFlags::DSYNC)
            .expect("a disk that works");
        begun.elapsed()
    };
    let times = (0..TIMES).map(write).collect();
    std::fs::remove_file(path).expect("just written");
    median(times)
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
