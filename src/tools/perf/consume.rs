//! The loop of `consume`: each connection fetches from its partitions, one request after the other.

use super::Consume;
use super::progress::Progress;
use super::report::{Report, latencies};
use super::requests::{FETCH_VERSION, fetch_frame, stored_bytes};
use super::socket::{self, Socket};
use super::timeline::Timeline;
use super::topic::{assign_connections, leaders};
use super::window::Window;
use crate::model::{ErrorCode, Offset, counted};
use crate::tools::Failure;
use crate::tools::client::offsets::{EARLIEST, LATEST};
use crate::wire::Reader;
use crate::wire::data::fetch::FetchResponse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One consuming connection.
struct FetchConnection {
    socket: Socket,
    cursors: Vec<PartitionCursor>,
    /// The correlation id of the latest request.
    correlation_id: i32,
    /// The time at which the latest request was queued.
    sent: Instant,
    /// Whether a request is in flight.
    is_waiting: bool,
}

/// The offsets of a partition.
#[derive(Clone, Copy)]
struct PartitionCursor {
    partition: i32,
    first: i64,
    next: i64,
    /// The end at the start of the run.
    end: i64,
}

impl PartitionCursor {
    fn is_at_end(&self) -> bool {
        self.next >= self.end
    }
}

/// Consumes the topic and returns the report.
pub fn run(args: &Consume) -> Result<Report, Failure> {
    let target = &args.target;
    let mut client = target.connect.client()?;
    let leaders = leaders(&mut client, target, false)?;
    let timeout = client.config().timeout;
    let mut connections = Vec::new();
    for (leader, partitions) in assign_connections(&leaders, args.connections.get(), true) {
        let first = client.list_offsets(&target.topic, &partitions, EARLIEST)?;
        let end = client.list_offsets(&target.topic, &partitions, LATEST)?;
        let cursors = first.iter().zip(&end).map(|(first, end)| {
            let (first, end, partition) = (first.offset.unwrap_or(0), end.offset.unwrap_or(0), first.partition);
            PartitionCursor { partition, first, next: first, end }
        });
        connections.push(FetchConnection {
            socket: Socket::connect(&leaders[leader].address, timeout)?,
            cursors: cursors.filter(|cursor| !cursor.is_at_end()).collect(),
            correlation_id: 0,
            sent: Instant::now(),
            is_waiting: false,
        });
    }
    if connections.iter().all(|connection| connection.cursors.is_empty()) {
        return Err(Failure::with_hint(
            format!("topic {} is empty", target.topic),
            "fill it first with `tidemill perf produce`",
        ));
    }
    let mut window = Window::new(0.0, args.seconds, &target.pid)?;
    let mut report = Report {
        verb: "consume",
        setting: format!(
            "{} partitions of {} on {}, {} connections, {} B of a partition in a response",
            connections.iter().map(|connection| connection.cursors.len()).sum::<usize>(),
            target.topic,
            counted(leaders.len(), "broker"),
            connections.len(),
            args.partition_bytes,
        ),
        seconds: 0.0,
        bytes: 0,
        requests: 0,
        records: 0,
        latencies: vec![("fetch", latencies())],
        timeline: Timeline::new(),
        consumed: None,
        errors: BTreeMap::new(),
        usage: window.close(),
        spins: false,
    };
    drive(args, &mut connections, &mut window, timeout, &mut report)?;
    report.seconds = window.begins.elapsed().as_secs_f64();
    report.usage = window.close();
    Ok(report)
}

/// Fetches until all partitions are at their ends, or with `--seconds` until the window ends. Fails if no records
/// arrive for `timeout`.
fn drive(
    args: &Consume,
    connections: &mut [FetchConnection],
    window: &mut Window,
    timeout: Duration,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut progress = Progress::new(args.seconds.unwrap_or(0.0));
    let mut idle_since = Instant::now();
    window.turn(Instant::now());
    loop {
        let now = Instant::now();
        if window.is_over(now) {
            break;
        }
        for connection in connections.iter_mut().filter(|connection| !connection.is_waiting) {
            if args.seconds.is_some() && connection.is_at_end() {
                connection.cursors.iter_mut().for_each(|cursor| cursor.next = cursor.first);
            }
            connection.send_fetch(args)?;
        }
        if connections.iter().all(|connection| !connection.is_waiting) {
            break;
        }
        for connection in connections.iter_mut() {
            connection.socket.flush()?;
        }
        let sockets = connections.iter().map(|connection| &connection.socket);
        let readable = socket::wait(sockets, Duration::from_millis(20))?;
        for (connection, _) in connections.iter_mut().zip(readable).filter(|(_, readable)| *readable) {
            if connection.receive(args.verify, window.begins, report)? {
                idle_since = now;
            }
        }
        if idle_since.elapsed() > timeout {
            return Err(Failure::new(format!("no response with records for {} s", timeout.as_secs())));
        }
        progress.update(report.requests);
    }
    progress.finish();
    Ok(())
}

impl FetchConnection {
    fn is_at_end(&self) -> bool {
        self.cursors.iter().all(PartitionCursor::is_at_end)
    }

    /// Queues a Fetch for the partitions that are not at their ends. Does nothing if there is none.
    fn send_fetch(&mut self, args: &Consume) -> Result<(), Failure> {
        if self.is_at_end() {
            return Ok(());
        }
        let open = self.cursors.iter().filter(|cursor| !cursor.is_at_end());
        let next = open.map(|cursor| (cursor.partition, cursor.next));
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let topic = &args.target.topic;
        let frame = fetch_frame(topic, next, self.correlation_id, args.partition_bytes, args.answer_bytes)?;
        self.socket.queue_frame(frame);
        self.sent = Instant::now();
        self.is_waiting = true;
        // A response may be too small for all partitions, so the next request starts with another one.
        self.cursors.rotate_left(1);
        Ok(())
    }

    /// Receives bytes. Returns true if they completed a response with records.
    fn receive(&mut self, verify: bool, begins: Instant, report: &mut Report) -> Result<bool, Failure> {
        if !self.socket.receive()? {
            return Ok(false);
        }
        let Some(response) = self.socket.frame()? else { return Ok(false) };
        let mut reader = Reader::new(response);
        let decoded = reader.i32().and_then(|id| Ok((id, FetchResponse::decode(&mut reader, FETCH_VERSION)?)));
        let (id, response) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                let why = format!("cannot decode a response to Fetch: {error}");
                return Err(self.socket.broken(&why));
            }
        };
        if id != self.correlation_id {
            return Err(self.socket.broken("a response arrived out of order"));
        }
        let mut error = |error: &str| *report.errors.entry(error.to_string()).or_default() += 1;
        let mut bytes = 0;
        for fetched in &response.partitions {
            if fetched.head.error_code != ErrorCode::None {
                error(fetched.head.error_code.name());
                continue;
            }
            let Some(cursor) = self.cursors.iter_mut().find(|cursor| cursor.partition == fetched.head.partition) else {
                error("a partition that was not requested");
                continue;
            };
            for batch in crate::record::batches(fetched.records).map_while(Result::ok) {
                let header = &batch.header;
                if header.base_offset > Offset(cursor.next) {
                    error("a gap in the offsets");
                }
                if header.next_offset() <= Offset(cursor.next) {
                    error("repeated offsets");
                }
                if verify && !batch.is_intact() {
                    error("a batch that does not match its CRC");
                }
                cursor.next = header.next_offset().0;
                report.records += header.records_count as u64;
                bytes += stored_bytes(header);
            }
        }
        report.bytes += bytes;
        report.requests += 1;
        let latency = self.sent.elapsed();
        report.latencies[0].1.saturating_record(latency.as_nanos() as u64);
        report.timeline.record(self.sent.saturating_duration_since(begins), latency);
        self.is_waiting = false;
        Ok(bytes > 0)
    }
}
