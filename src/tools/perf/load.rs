//! The loop of `produce` and `latency`. It keeps a number of requests in flight, or sends requests at a rate and
//! measures each latency from the time at which the request was due.

use super::progress::Progress;
use super::report::{Consumed, Latencies, Report, latencies};
use super::requests::{FETCH_VERSION, PRODUCE_VERSION, ProduceFrame, fetch_frame, produce_frames, stored_bytes};
use super::socket::{self, Socket};
use super::timeline::Timeline;
use super::topic::{Leader, assign_connections, leaders};
use super::window::{Usage, Window};
use super::{Load, Target};
use crate::model::{ErrorCode, counted};
use crate::tools::Failure;
use crate::tools::client::offsets::LATEST;
use crate::wire::Reader;
use crate::wire::data::fetch::FetchResponse;
use crate::wire::data::produce::ProduceResponse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The schedule of the load.
pub struct Plan {
    pub connections: usize,
    /// Requests in flight on each connection.
    pub in_flight: usize,
    /// Requests per second of all connections together. `None`: each response triggers the next request.
    pub rate: Option<f64>,
    /// Whether to measure also until a consumer has the records.
    pub end_to_end: bool,
}

/// How long to wait for outstanding responses after the end of the window.
const DRAIN: Duration = Duration::from_secs(10);
/// The longest wait in one iteration of the loop.
const TICK: Duration = Duration::from_millis(20);

/// One producing connection.
struct ProduceConnection {
    socket: Socket,
    frames: Vec<Rc<ProduceFrame>>,
    /// The index of the next frame.
    next_frame: usize,
    next_correlation_id: i32,
    in_flight: VecDeque<Sent>,
    /// The due times of requests that wait for a free slot in flight.
    due: VecDeque<Instant>,
}

/// A request in flight.
struct Sent {
    correlation_id: i32,
    due: Instant,
}

/// One consuming connection of an end-to-end run: a long poll at one leader.
struct Watcher {
    socket: Socket,
    next_correlation_id: i32,
    /// The next offset of each partition.
    next: BTreeMap<i32, i64>,
}

/// The state of a run.
struct Run<'a> {
    topic: &'a str,
    connections: Vec<ProduceConnection>,
    watchers: Vec<Watcher>,
    /// The due times of batches that no watcher has received yet, by partition.
    undelivered: HashMap<i32, VecDeque<Instant>>,
    window: Window,
    produce: Latencies,
    end_to_end: Latencies,
    /// The latencies until a consumer has the records if there are consumers, else those of the producers.
    timeline: Timeline,
    consumed: Consumed,
    /// Requests within the window that succeeded.
    requests: u64,
    /// Batches within the window that were acknowledged.
    batches: u64,
    errors: BTreeMap<String, u64>,
}

/// Runs the load and returns its report. `verb` is the name of the subcommand.
pub fn run(verb: &'static str, target: &Target, load: &Load, plan: &Plan) -> Result<Report, Failure> {
    let mut client = target.connect.client()?;
    let leaders = leaders(&mut client, target, true)?;
    let timeout = client.config().timeout;
    let mut connections = Vec::new();
    for (number, (leader, partitions)) in
        assign_connections(&leaders, plan.connections, plan.end_to_end).into_iter().enumerate()
    {
        connections.push(ProduceConnection {
            socket: Socket::connect(&leaders[leader].address, timeout)?,
            frames: produce_frames(&target.topic, load, &partitions, 0x9e37_79b9 * (number as u64 + 1))?,
            next_frame: 0,
            next_correlation_id: 0,
            in_flight: VecDeque::new(),
            due: VecDeque::new(),
        });
    }
    let mut watchers = Vec::new();
    if plan.end_to_end {
        for Leader { address, partitions } in &leaders {
            let ends = client.list_offsets(&target.topic, partitions, LATEST)?;
            let next = ends.iter().map(|end| (end.partition, end.offset.unwrap_or(0))).collect();
            watchers.push(Watcher { socket: Socket::connect(address, timeout)?, next_correlation_id: 0, next });
        }
    }
    let rate = match (verb, plan.rate) {
        ("sweep", _) => "a rate for each step".into(),
        (_, rate) => rate.map_or("no rate".into(), |rate| format!("{rate} requests/s")),
    };
    let setting = setting(target, load, plan, rate, leaders.len(), connections.len());
    let mut run = Run {
        topic: &target.topic,
        connections,
        watchers,
        undelivered: HashMap::new(),
        window: Window::new(load.warmup, Some(load.seconds), &target.pid)?,
        produce: latencies(),
        end_to_end: latencies(),
        timeline: Timeline::new(),
        consumed: Consumed::default(),
        requests: 0,
        batches: 0,
        errors: BTreeMap::new(),
    };
    let usage = run.drive(load, plan)?;
    let bytes_per_batch = u64::from(load.batch_records.get()) * load.record_bytes as u64;
    let mut latencies = vec![("produce", run.produce)];
    if plan.end_to_end {
        latencies.push(("end_to_end", run.end_to_end));
    }
    latencies.retain(|(_, latencies)| !latencies.is_empty());
    Ok(Report {
        verb,
        setting,
        seconds: load.seconds,
        bytes: run.batches * bytes_per_batch,
        requests: run.requests,
        records: run.batches * u64::from(load.batch_records.get()),
        latencies,
        timeline: run.timeline,
        consumed: plan.end_to_end.then_some(run.consumed),
        errors: run.errors,
        usage,
        spins: load.spin,
    })
}

/// The parameters of the run in one line.
fn setting(target: &Target, load: &Load, plan: &Plan, rate: String, leaders: usize, connections: usize) -> String {
    format!(
        "{} x {} B in a batch, {} partitions of {} on {}, {} connections x {} in flight, acks={}, {}, {} s after {} s",
        load.batch_records,
        load.record_bytes,
        target.partitions,
        target.topic,
        counted(leaders, "broker"),
        connections,
        plan.in_flight,
        load.acks,
        rate,
        load.seconds,
        load.warmup,
    )
}

impl Run<'_> {
    /// Sends and receives until the window has ended and all responses have arrived, or until [`DRAIN`] after that.
    fn drive(&mut self, load: &Load, plan: &Plan) -> Result<Usage, Failure> {
        let mut progress = Progress::new(load.warmup + load.seconds);
        for watcher in &mut self.watchers {
            watcher.send_fetch(self.topic)?;
        }
        let started = Instant::now();
        let mut scheduled = 0u64;
        let mut usage = None;
        loop {
            let now = Instant::now();
            self.window.turn(now);
            let is_over = self.window.is_over(now);
            if is_over && usage.is_none() {
                usage = Some(self.window.close());
                progress.finish();
            }
            let rate = plan.rate.filter(|_| !is_over);
            let next_due = rate.map(|rate| self.schedule(rate, started, &mut scheduled, now));
            self.send_due(load, plan, now, is_over)?;
            if let Some(usage) = usage
                && self.is_drained(now)
            {
                return Ok(usage);
            }
            let until = next_due.unwrap_or(now + TICK).min(now + TICK);
            let wait = if load.spin { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
            let sockets = self.connections.iter().map(|connection| &connection.socket);
            let readable = socket::wait(sockets.chain(self.watchers.iter().map(|watcher| &watcher.socket)), wait)?;
            for (index, _) in readable.iter().enumerate().filter(|(_, readable)| **readable) {
                match index.checked_sub(self.connections.len()) {
                    None => self.receive_produced(index)?,
                    Some(watcher) => self.receive_fetched(watcher)?,
                }
            }
            progress.update(self.requests);
        }
    }

    /// Assigns all requests that are due to the connections in turn. Returns the due time of the next request.
    fn schedule(&mut self, rate: f64, started: Instant, scheduled: &mut u64, now: Instant) -> Instant {
        loop {
            let due = due(started, rate, *scheduled);
            if due > now {
                return due;
            }
            let connection = *scheduled as usize % self.connections.len();
            self.connections[connection].due.push_back(due);
            *scheduled += 1;
        }
    }

    /// Sends the requests that are due, as far as each connection has free slots in flight.
    fn send_due(&mut self, load: &Load, plan: &Plan, now: Instant, is_over: bool) -> Result<(), Failure> {
        let is_acknowledged = load.acks != 0;
        for connection in &mut self.connections {
            loop {
                // Without acknowledgements, a request occupies its slot until the kernel has taken it.
                let used = if is_acknowledged { connection.in_flight.len() } else { connection.socket.unsent() };
                if used >= plan.in_flight {
                    break;
                }
                let due = match (plan.rate, connection.due.pop_front()) {
                    (Some(_), Some(due)) => due,
                    (None, _) if !is_over => now,
                    _ => break,
                };
                let frame = connection.send(due, is_acknowledged);
                if !is_acknowledged && self.window.is_measured(now) {
                    self.requests += 1;
                    self.batches += frame.partitions.len() as u64;
                }
                if !self.watchers.is_empty() {
                    for &partition in &frame.partitions {
                        self.undelivered.entry(partition).or_default().push_back(due);
                    }
                }
            }
            connection.socket.flush()?;
        }
        Ok(())
    }

    /// Whether the run is complete. After [`DRAIN`] it is, and the missing responses are counted as errors.
    fn is_drained(&mut self, now: Instant) -> bool {
        let is_idle = self.connections.iter().all(|one| one.in_flight.is_empty() && one.due.is_empty());
        let is_delivered = self.watchers.is_empty() || self.undelivered.values().all(VecDeque::is_empty);
        if is_idle && is_delivered {
            return true;
        }
        if now <= self.window.ends.expect("the window of a load has an end") + DRAIN {
            return false;
        }
        let missing = self.connections.iter().map(|one| one.in_flight.len() + one.due.len()).sum::<usize>();
        let undelivered = self.undelivered.values().map(VecDeque::len).sum::<usize>();
        let error = format!("no response {} s after the end", DRAIN.as_secs());
        *self.errors.entry(error).or_default() += missing.max(undelivered) as u64;
        true
    }

    /// Receives Produce responses on one connection.
    fn receive_produced(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        if !connection.socket.receive()? {
            return Ok(());
        }
        let now = Instant::now();
        loop {
            let Some(response) = connection.socket.frame()? else { return Ok(()) };
            let mut reader = Reader::new(response);
            let decoded = reader.i32().and_then(|id| Ok((id, ProduceResponse::decode(&mut reader, PRODUCE_VERSION)?)));
            let (sent, response) = match (connection.in_flight.pop_front(), decoded) {
                (Some(sent), Ok((id, response))) if id == sent.correlation_id => (sent, response),
                (_, Err(error)) => {
                    let why = format!("cannot decode a response to Produce: {error}");
                    return Err(connection.socket.broken(&why));
                }
                _ => return Err(connection.socket.broken("a response arrived out of order")),
            };
            let mut acknowledged = 0;
            for partition in &response.partitions {
                if partition.error_code == ErrorCode::None {
                    acknowledged += 1;
                } else {
                    *self.errors.entry(partition.error_code.name().to_string()).or_default() += 1;
                }
            }
            if self.window.is_measured(now) {
                // A rejected request is fast. Do not count it, so that it cannot make a broker look fast.
                self.requests += u64::from(acknowledged == response.partitions.len() as u64);
                self.batches += acknowledged;
            }
            if sent.due >= self.window.begins {
                self.produce.saturating_record((now - sent.due).as_nanos() as u64);
                if self.watchers.is_empty() {
                    self.timeline.record(sent.due - self.window.begins, now - sent.due);
                }
            }
        }
    }

    /// Receives a Fetch response of one watcher, and sends the next Fetch.
    fn receive_fetched(&mut self, index: usize) -> Result<(), Failure> {
        let watcher = &mut self.watchers[index];
        if !watcher.socket.receive()? {
            return Ok(());
        }
        let now = Instant::now();
        let is_measured = self.window.is_measured(now);
        let Some(response) = watcher.socket.frame()? else { return Ok(()) };
        let mut reader = Reader::new(response);
        let response = match reader.i32().and_then(|_| FetchResponse::decode(&mut reader, FETCH_VERSION)) {
            Ok(response) => response,
            Err(error) => {
                let why = format!("cannot decode a response to Fetch: {error}");
                return Err(watcher.socket.broken(&why));
            }
        };
        for fetched in &response.partitions {
            if fetched.head.error_code != ErrorCode::None {
                *self.errors.entry(fetched.head.error_code.name().to_string()).or_default() += 1;
            }
            for batch in crate::record::batches(fetched.records).map_while(Result::ok) {
                watcher.next.insert(fetched.head.partition, batch.header.next_offset().0);
                if is_measured {
                    self.consumed.bytes += stored_bytes(&batch.header);
                    self.consumed.records += batch.header.records_count as u64;
                }
                let due = self.undelivered.get_mut(&fetched.head.partition).and_then(VecDeque::pop_front);
                match due {
                    Some(due) if due >= self.window.begins => {
                        self.end_to_end.saturating_record((now - due).as_nanos() as u64);
                        self.timeline.record(due - self.window.begins, now - due);
                    }
                    Some(_) => {}
                    None => *self.errors.entry("a batch that this run did not send".into()).or_default() += 1,
                }
            }
        }
        watcher.send_fetch(self.topic)
    }
}

/// The time at which a request is due. It depends on the rate and the request's number only: a late response moves no
/// later request, so that a stall is part of the latency of each request that it delays (no coordinated omission).
fn due(started: Instant, rate: f64, number: u64) -> Instant {
    started + Duration::from_secs_f64(number as f64 / rate)
}

impl ProduceConnection {
    /// Queues the next frame. `due` is the start of its latency.
    fn send(&mut self, due: Instant, is_acknowledged: bool) -> Rc<ProduceFrame> {
        let frame = self.frames[self.next_frame].clone();
        self.next_frame = (self.next_frame + 1) % self.frames.len();
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        self.socket.queue(&frame, self.next_correlation_id);
        if is_acknowledged {
            self.in_flight.push_back(Sent { correlation_id: self.next_correlation_id, due });
        }
        frame
    }
}

impl Watcher {
    fn send_fetch(&mut self, topic: &str) -> Result<(), Failure> {
        let next = self.next.iter().map(|(&partition, &offset)| (partition, offset));
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let frame = fetch_frame(topic, next, self.next_correlation_id, 1 << 20, 50 << 20)?;
        self.socket.queue_frame(frame);
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_the_rate_without_drift() {
        let started = Instant::now();
        let at = |number| due(started, 3000.0, number) - started;
        assert_eq!((at(0), at(3), at(3_000)), (Duration::ZERO, Duration::from_millis(1), Duration::from_secs(1)));
        // After a day, the schedule is exact to a microsecond.
        let error = at(3_000 * 86_400).abs_diff(Duration::from_secs(86_400));
        assert!(error < Duration::from_micros(1), "{error:?}");
    }
}
