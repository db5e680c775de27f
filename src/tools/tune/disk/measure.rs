//! One measurement: operations of one kind, size and depth for a time.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::file::{TestFile, random_block};
use crate::runtime::{self, AlignedBuf, Class, Durability, File, random_u64};
use crate::tools::tune::latency::Recorder;

/// The kind and the order of operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Writes with RWF_DSYNC, one after another in the file, as a journal's.
    DurableWrite,
    /// The same without the flush.
    PlainWrite,
    /// Durable writes at random positions.
    RandomWrite,
    /// Reads, one after another.
    Read,
    /// Reads at random positions.
    RandomRead,
}

impl Pattern {
    fn is_random(self) -> bool {
        matches!(self, Pattern::RandomWrite | Pattern::RandomRead)
    }

    fn is_read(self) -> bool {
        matches!(self, Pattern::Read | Pattern::RandomRead)
    }
}

/// The parameters of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The bytes of an operation.
    pub bytes: u64,
    /// Operations in flight.
    pub depth: u32,
    /// Their kind and order.
    pub pattern: Pattern,
    /// The length of the measurement. At least one operation for each of the depth runs.
    pub length: Duration,
}

/// The result of a measurement.
pub struct Measured {
    pub recorder: Recorder,
    seconds: f64,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.recorder.count() as f64 / self.seconds.max(1e-9)
    }

    pub fn mb_per_second(&self, bytes: u64) -> f64 {
        self.per_second() * bytes as f64 / 1e6
    }
}

/// The position of the next operation.
struct Positions {
    next: Cell<u64>,
    load: Load,
    file_bytes: u64,
}

impl Positions {
    fn next(&self) -> u64 {
        let slots = self.file_bytes / self.load.bytes;
        let slot = if self.load.pattern.is_random() { random_u64() } else { self.next.replace(self.next.get() + 1) };
        slot % slots * self.load.bytes
    }
}

/// Runs operations for the length of the load.
pub async fn run(file: &TestFile, load: Load) -> io::Result<Measured> {
    let recorder = Rc::new(RefCell::new(Recorder::new()));
    let positions = Rc::new(Positions { next: Cell::new(0), load, file_bytes: file.bytes });
    let begun = Instant::now();
    let tasks: Vec<_> = (0..load.depth)
        .map(|_| {
            let work = work(file.file.clone(), positions.clone(), recorder.clone(), begun);
            runtime::spawn(Class::Foreground, "measure", work)
        })
        .collect();
    let mut result = Ok(());
    for task in tasks {
        // Waits for all, so that no operation is in flight when the next measurement begins.
        result = result.and(task.await);
    }
    result?;
    let seconds = begun.elapsed().as_secs_f64();
    let recorder = Rc::into_inner(recorder).expect("the tasks have ended").into_inner();
    Ok(Measured { recorder, seconds })
}

/// One operation after another.
async fn work(file: File, positions: Rc<Positions>, recorder: Rc<RefCell<Recorder>>, begun: Instant) -> io::Result<()> {
    let Load { bytes, pattern, length, .. } = positions.load;
    let content = random_block(bytes as usize)?;
    let mut buffer = AlignedBuf::alloc(bytes as usize)?;
    let durability = if pattern == Pattern::PlainWrite { Durability::Cached } else { Durability::DataSync };
    loop {
        let (position, at) = (positions.next(), Instant::now());
        if pattern.is_read() {
            let (read, back) = file.read_at(buffer, 0, bytes as usize, position).await;
            buffer = back;
            if read? < bytes as usize {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else {
            file.write_at(content.clone(), position, durability).await?;
        }
        recorder.borrow_mut().record(at.elapsed());
        if begun.elapsed() >= length {
            return Ok(());
        }
    }
}

/// Writes of 4 KiB, each followed by a flush as a second operation. Returns the times of both.
pub async fn flushes(file: &TestFile, length: Duration) -> io::Result<(Recorder, Recorder)> {
    let (mut writes, mut flushes) = (Recorder::new(), Recorder::new());
    let content = random_block(4 << 10)?;
    let begun = Instant::now();
    for slot in 0.. {
        let at = Instant::now();
        file.file.write_at(content.clone(), slot * (4 << 10) % file.bytes, Durability::Cached).await?;
        writes.record(at.elapsed());
        let at = Instant::now();
        file.file.sync_data().await?;
        flushes.record(at.elapsed());
        if begun.elapsed() >= length {
            break;
        }
    }
    Ok((writes, flushes))
}

/// Reads of 16 KiB beside durable writes of 64 KiB.
pub async fn reads_beside_writes(file: &TestFile, length: Duration) -> io::Result<Recorder> {
    let reads = Load { bytes: 16 << 10, depth: 1, pattern: Pattern::RandomRead, length };
    let writes = Load { bytes: 64 << 10, depth: 2, pattern: Pattern::DurableWrite, length };
    let other = TestFile { file: file.file.clone(), bytes: file.bytes };
    let writing = runtime::spawn(Class::Foreground, "writes", async move { run(&other, writes).await.map(drop) });
    let measured = run(file, reads).await;
    writing.await?;
    Ok(measured?.recorder)
}
