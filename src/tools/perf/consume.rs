//! The loop that consumes: each connection asks for its partitions, and asks on when the answer is there.

use super::Consume;
use super::load::{FETCH_VERSION, Progress, fetch_frame};
use super::report::{Report, latencies};
use super::socket::{self, Socket};
use super::topic::{leaders, share_out};
use super::window::Window;
use crate::model::ErrorCode;
use crate::tools::Failure;
use crate::tools::client::offsets::{EARLIEST, LATEST};
use crate::wire::Reader;
use crate::wire::data::fetch::FetchResponse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

struct FetchConnection {
    socket: Socket,
    cursors: Vec<PartitionCursor>,
    correlation_id: i32,
    asked: Instant,
    is_waiting: bool,
}

/// Where a partition is read.
#[derive(Clone, Copy)]
struct PartitionCursor {
    partition: i32,
    first: i64,
    next: i64,
    end: i64,
}

pub fn run(args: &Consume) -> Result<Report, Failure> {
    let target = &args.target;
    let mut client = target.connect.client()?;
    let leaders = leaders(&mut client, target, false)?;
    let timeout = client.config().timeout;
    let mut connections = Vec::new();
    for (leader, partitions) in share_out(&leaders, args.connections.get(), true) {
        let first = client.list_offsets(&target.topic, &partitions, EARLIEST)?;
        let end = client.list_offsets(&target.topic, &partitions, LATEST)?;
        let cursors = first.iter().zip(&end).map(|(first, end)| {
            let (first, end, partition) = (first.offset.unwrap_or(0), end.offset.unwrap_or(0), first.partition);
            PartitionCursor { partition, first, next: first, end }
        });
        connections.push(FetchConnection {
            socket: Socket::connect(&leaders[leader].address, timeout)?,
            cursors: cursors.filter(|cursor| cursor.next < cursor.end).collect(),
            correlation_id: 0,
            asked: Instant::now(),
            is_waiting: false,
        });
    }
    if connections.iter().all(|connection| connection.cursors.is_empty()) {
        let failure = Failure::new(format!("topic {} is empty", target.topic));
        return Err(failure.hinted("fill it first: tidemill perf produce"));
    }
    let mut window = Window::new(0.0, args.seconds, &target.pid)?;
    let mut progress = Progress::new(args.seconds.unwrap_or(0.0));
    let mut report = Report {
        verb: "consume",
        setting: format!(
            "{} partitions of {} on {}, {} connections, {} B of a partition in an answer",
            connections.iter().map(|connection| connection.cursors.len()).sum::<usize>(),
            target.topic,
            super::super::topic::counted(leaders.len(), "broker"),
            connections.len(),
            args.partition_bytes,
        ),
        seconds: 0.0,
        bytes: 0,
        requests: 0,
        records: 0,
        latencies: vec![("fetch", latencies())],
        errors: BTreeMap::new(),
        usage: window.close(),
    };
    let mut idle_since = Instant::now();
    window.turn(Instant::now());
    loop {
        let now = Instant::now();
        if window.is_over(now) {
            break;
        }
        for connection in connections.iter_mut().filter(|connection| !connection.is_waiting) {
            if connection.cursors.iter().all(|cursor| cursor.next >= cursor.end) && args.seconds.is_some() {
                connection.cursors.iter_mut().for_each(|cursor| cursor.next = cursor.first);
            }
            connection.ask(args)?;
        }
        if connections.iter().all(|connection| !connection.is_waiting) {
            break;
        }
        for connection in &mut connections {
            connection.socket.flush()?;
        }
        let readable =
            socket::wait(connections.iter().map(|connection| &connection.socket), Duration::from_millis(20))?;
        for (connection, _) in connections.iter_mut().zip(readable).filter(|(_, readable)| *readable) {
            if connection.take(args.verify, &mut report)? {
                idle_since = now;
            }
        }
        if idle_since.elapsed() > timeout {
            return Err(Failure::new(format!("no answer with records for {} s", timeout.as_secs())));
        }
        progress.turn(report.requests);
    }
    progress.finish();
    report.seconds = window.begins.elapsed().as_secs_f64();
    report.usage = window.close();
    Ok(report)
}

impl FetchConnection {
    /// Asks for what is left, if anything is.
    fn ask(&mut self, args: &Consume) -> Result<(), Failure> {
        let left = self.cursors.iter().filter(|cursor| cursor.next < cursor.end);
        let left = left.map(|cursor| (cursor.partition, cursor.next));
        if self.cursors.iter().all(|cursor| cursor.next >= cursor.end) {
            return Ok(());
        }
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let topic = &args.target.topic;
        let frame = fetch_frame(topic, left, self.correlation_id, args.partition_bytes, args.answer_bytes)?;
        self.socket.queue_frame(frame);
        self.asked = Instant::now();
        self.is_waiting = true;
        // The answer may not have room for all: the next request begins with another.
        self.cursors.rotate_left(1);
        Ok(())
    }

    /// Takes in what has come; true when that completed an answer with records.
    fn take(&mut self, verify: bool, report: &mut Report) -> Result<bool, Failure> {
        if !self.socket.receive()? {
            return Ok(false);
        }
        let Some(answer) = self.socket.frame()? else { return Ok(false) };
        let mut reader = Reader::new(answer);
        let read = reader.i32().and_then(|id| Ok((id, FetchResponse::decode(&mut reader, FETCH_VERSION)?)));
        let (id, response) = match read {
            Ok(read) => read,
            Err(error) => {
                let why = format!("an answer to Fetch cannot be read: {error}");
                return Err(self.socket.broken(&why));
            }
        };
        if id != self.correlation_id {
            return Err(self.socket.broken("an answer came out of order"));
        }
        let mut error = |what: &str| *report.errors.entry(what.to_string()).or_default() += 1;
        let mut bytes = 0;
        for fetched in &response.partitions {
            if fetched.head.error_code != ErrorCode::None {
                error(fetched.head.error_code.name());
                continue;
            }
            let Some(cursor) = self.cursors.iter_mut().find(|cursor| cursor.partition == fetched.head.partition) else {
                error("a partition that was not asked for");
                continue;
            };
            for batch in crate::record::batches(fetched.records).map_while(Result::ok) {
                let header = &batch.header;
                if header.base_offset > cursor.next {
                    error("a gap in the offsets");
                }
                if header.next_offset() <= cursor.next {
                    error("offsets that were read before");
                }
                if verify && !batch.is_intact() {
                    error("a batch that does not match its CRC");
                }
                cursor.next = header.next_offset();
                report.records += header.records_count as u64;
                bytes += header.batch_length as u64 + crate::record::header::PREFIX_BYTES as u64;
            }
        }
        report.bytes += bytes;
        report.requests += 1;
        report.latencies[0].1.saturating_record(self.asked.elapsed().as_nanos() as u64);
        self.is_waiting = false;
        Ok(bytes > 0)
    }
}
