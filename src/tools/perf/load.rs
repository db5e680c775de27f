//! The loop that produces: as many in flight as allowed, or whatever is due, counted from when it was due.

use super::report::{Latencies, Report, latencies};
use super::requests::{self, CLIENT_ID, ProduceFrame, VERSION};
use super::socket::{self, Socket};
use super::topic::{Leader, leaders, share_out};
use super::window::Window;
use super::{Load, Target};
use crate::model::ErrorCode;
use crate::tools::Failure;
use crate::tools::client::offsets::LATEST;
use crate::wire::data::fetch::{FetchPartition, FetchRequest, FetchResponse};
use crate::wire::data::produce::ProduceResponse;
use crate::wire::{Reader, Topic};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::IsTerminal;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub struct Plan {
    pub connections: usize,
    pub in_flight: usize,
    /// Requests a second; none: a new one for each answer.
    pub rate: Option<f64>,
    pub end_to_end: bool,
}

/// How long answers are waited for when the time is over.
const DRAIN: Duration = Duration::from_secs(10);
/// The Fetch version of all reading here.
pub const FETCH_VERSION: i16 = 11;

/// One producing connection.
struct ProduceConnection {
    socket: Socket,
    requests: Vec<Rc<ProduceFrame>>,
    turn: usize,
    next_correlation_id: i32,
    in_flight: VecDeque<Sent>,
    /// Due, and not sent yet.
    due: VecDeque<Instant>,
}

struct Sent {
    correlation_id: i32,
    due: Instant,
}

/// One consuming connection of an end-to-end run: a long poll at one leader.
struct Watcher {
    socket: Socket,
    next_correlation_id: i32,
    /// Next offset by partition.
    next: BTreeMap<i32, i64>,
}

struct Run<'a> {
    topic: &'a str,
    connections: Vec<ProduceConnection>,
    watchers: Vec<Watcher>,
    /// When the batches on their way to consumers were due, by partition.
    on_the_way: HashMap<i32, VecDeque<Instant>>,
    window: Window,
    produce: Latencies,
    end_to_end: Latencies,
    answered: u64,
    batches: u64,
    errors: BTreeMap<String, u64>,
}

pub fn run(verb: &'static str, target: &Target, load: &Load, plan: &Plan) -> Result<Report, Failure> {
    let mut client = target.connect.client()?;
    let leaders = leaders(&mut client, target, true)?;
    let timeout = client.config().timeout;
    let mut connections = Vec::new();
    for (number, (leader, partitions)) in share_out(&leaders, plan.connections, plan.end_to_end).into_iter().enumerate()
    {
        connections.push(ProduceConnection {
            socket: Socket::connect(&leaders[leader].address, timeout)?,
            requests: requests::requests(&target.topic, load, &partitions, 0x9e37_79b9 * (number as u64 + 1))?,
            turn: 0,
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
    let setting = format!(
        "{} x {} B in a batch, {} partitions of {} on {}, {} connections x {} in flight, acks={}, {}, {} s after {} s",
        load.batch_records,
        load.record_bytes,
        target.partitions,
        target.topic,
        super::super::topic::counted(leaders.len(), "broker"),
        connections.len(),
        plan.in_flight,
        load.acks,
        plan.rate.map_or("no rate".into(), |rate| format!("{rate} requests/s")),
        load.seconds,
        load.warmup,
    );
    let mut run = Run {
        topic: &target.topic,
        connections,
        watchers,
        on_the_way: HashMap::new(),
        window: Window::new(load.warmup, Some(load.seconds), &target.pid)?,
        produce: latencies(),
        end_to_end: latencies(),
        answered: 0,
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
        requests: run.answered,
        records: run.batches * u64::from(load.batch_records.get()),
        latencies,
        errors: run.errors,
        usage,
    })
}

impl Run<'_> {
    fn drive(&mut self, load: &Load, plan: &Plan) -> Result<super::window::Usage, Failure> {
        let mut progress = Progress::new(load.warmup + load.seconds);
        for watcher in &mut self.watchers {
            watcher.ask(self.topic)?;
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
            let mut next_due = None;
            if let Some(rate) = plan.rate.filter(|_| !is_over) {
                loop {
                    let due = started + Duration::from_secs_f64(scheduled as f64 / rate);
                    if due > now {
                        next_due = Some(due);
                        break;
                    }
                    let connection = scheduled as usize % self.connections.len();
                    self.connections[connection].due.push_back(due);
                    scheduled += 1;
                }
            }
            for connection in &mut self.connections {
                loop {
                    let on_the_way =
                        if load.acks == 0 { connection.socket.unsent() } else { connection.in_flight.len() };
                    if on_the_way >= plan.in_flight {
                        break;
                    }
                    let due = match (plan.rate, connection.due.pop_front()) {
                        (Some(_), Some(due)) => due,
                        (None, _) if !is_over => now,
                        _ => break,
                    };
                    let request = connection.send(due, load.acks != 0);
                    if load.acks == 0 && self.window.is_measured(now) {
                        self.answered += 1;
                        self.batches += request.partitions.len() as u64;
                    }
                    if !self.watchers.is_empty() {
                        for &partition in &request.partitions {
                            self.on_the_way.entry(partition).or_default().push_back(due);
                        }
                    }
                }
                connection.socket.flush()?;
            }
            if let Some(usage) = usage {
                let is_idle = self
                    .connections
                    .iter()
                    .all(|connection| connection.in_flight.is_empty() && connection.due.is_empty());
                let has_arrived = self.watchers.is_empty() || self.on_the_way.values().all(VecDeque::is_empty);
                if is_idle && has_arrived {
                    return Ok(usage);
                }
                if now > self.window.ends.expect("a load has an end") + DRAIN {
                    let missing = self
                        .connections
                        .iter()
                        .map(|connection| connection.in_flight.len() + connection.due.len())
                        .sum::<usize>();
                    let undelivered = self.on_the_way.values().map(VecDeque::len).sum::<usize>();
                    let why = format!("not answered {} s after the end", DRAIN.as_secs());
                    *self.errors.entry(why).or_default() += missing.max(undelivered) as u64;
                    return Ok(usage);
                }
            }
            let until = next_due.unwrap_or(now + Duration::from_millis(20)).min(now + Duration::from_millis(20));
            let wait = if load.spin { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
            let sockets = self.connections.iter().map(|connection| &connection.socket);
            let readable = socket::wait(sockets.chain(self.watchers.iter().map(|watcher| &watcher.socket)), wait)?;
            for (index, _) in readable.iter().enumerate().filter(|(_, readable)| **readable) {
                match index.checked_sub(self.connections.len()) {
                    None => self.take_answers(index)?,
                    Some(watcher) => self.take_records(watcher)?,
                }
            }
            progress.turn(self.answered);
        }
    }

    fn take_answers(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        if !connection.socket.receive()? {
            return Ok(());
        }
        let now = Instant::now();
        loop {
            let Some(answer) = connection.socket.frame()? else { return Ok(()) };
            let mut reader = Reader::new(answer);
            let read = reader.i32().and_then(|id| Ok((id, ProduceResponse::decode(&mut reader, VERSION)?)));
            let (expected, read) = (connection.in_flight.pop_front(), read);
            let (sent, response) = match (expected, read) {
                (Some(sent), Ok((id, response))) if id == sent.correlation_id => (sent, response),
                (_, Err(error)) => {
                    let why = format!("an answer to Produce cannot be read: {error}");
                    return Err(connection.socket.broken(&why));
                }
                _ => return Err(connection.socket.broken("an answer came out of order")),
            };
            let mut taken = 0;
            for partition in &response.partitions {
                if partition.error_code == ErrorCode::None {
                    taken += 1;
                } else {
                    *self.errors.entry(partition.error_code.name().to_string()).or_default() += 1;
                }
            }
            if self.window.is_measured(now) {
                // A refusal is quick; it shall not make a broker look fast.
                self.answered += u64::from(taken == response.partitions.len() as u64);
                self.batches += taken;
            }
            if sent.due >= self.window.begins {
                self.produce.saturating_record((now - sent.due).as_nanos() as u64);
            }
        }
    }

    fn take_records(&mut self, index: usize) -> Result<(), Failure> {
        let watcher = &mut self.watchers[index];
        if !watcher.socket.receive()? {
            return Ok(());
        }
        let now = Instant::now();
        let Some(answer) = watcher.socket.frame()? else { return Ok(()) };
        let mut reader = Reader::new(answer);
        let read = reader.i32().and_then(|_| FetchResponse::decode(&mut reader, FETCH_VERSION));
        let response = match read {
            Ok(response) => response,
            Err(error) => {
                let why = format!("an answer to Fetch cannot be read: {error}");
                return Err(watcher.socket.broken(&why));
            }
        };
        for fetched in &response.partitions {
            if fetched.head.error_code != ErrorCode::None {
                *self.errors.entry(fetched.head.error_code.name().to_string()).or_default() += 1;
            }
            for batch in crate::record::batches(fetched.records).map_while(Result::ok) {
                watcher.next.insert(fetched.head.partition, batch.header.next_offset());
                let due = self.on_the_way.get_mut(&fetched.head.partition).and_then(VecDeque::pop_front);
                match due {
                    Some(due) if due >= self.window.begins => {
                        self.end_to_end.saturating_record((now - due).as_nanos() as u64);
                    }
                    Some(_) => {}
                    None => *self.errors.entry("a batch that nobody here sent".into()).or_default() += 1,
                }
            }
        }
        watcher.ask(self.topic)
    }
}

impl ProduceConnection {
    fn send(&mut self, due: Instant, is_answered: bool) -> Rc<ProduceFrame> {
        let request = self.requests[self.turn].clone();
        self.turn = (self.turn + 1) % self.requests.len();
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        self.socket.queue(&request, self.next_correlation_id);
        if is_answered {
            self.in_flight.push_back(Sent { correlation_id: self.next_correlation_id, due });
        }
        request
    }
}

impl Watcher {
    fn ask(&mut self, topic: &str) -> Result<(), Failure> {
        let next = self.next.iter().map(|(&partition, &offset)| (partition, offset));
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let frame = fetch_frame(topic, next, self.next_correlation_id, 1 << 20, 50 << 20)?;
        self.socket.queue_frame(frame);
        self.socket.flush()
    }
}

/// A Fetch without a session, which waits for a byte for up to half a second.
pub fn fetch_frame(
    topic: &str,
    next: impl Iterator<Item = (i32, i64)>,
    correlation_id: i32,
    partition_bytes: i32,
    answer_bytes: i32,
) -> Result<Vec<u8>, Failure> {
    let partitions = next.map(|(partition, offset)| FetchPartition {
        partition_max_bytes: partition_bytes,
        ..FetchPartition::new(Topic::Name(topic), partition, offset)
    });
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: answer_bytes,
        partitions: partitions.collect(),
        ..FetchRequest::default()
    };
    let frame = request.encode_frame(FETCH_VERSION, correlation_id, Some(CLIENT_ID));
    frame.map_err(|error| Failure::new(format!("such a request cannot be made: {error}")))
}

/// A bar on a terminal; nothing elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    shown: Instant,
    requests: u64,
}

impl Progress {
    pub fn new(seconds: f64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
            ProgressBar::new((seconds * 1000.0) as u64).with_style(style.expect("the template is right"))
        });
        Progress { bar, began: Instant::now(), shown: Instant::now(), requests: 0 }
    }

    pub fn turn(&mut self, requests: u64) {
        let Some(bar) = &self.bar else { return };
        let since = self.shown.elapsed();
        if since >= Duration::from_millis(200) {
            bar.set_position(self.began.elapsed().as_millis() as u64);
            bar.set_message(format!("{:.0} requests/s", (requests - self.requests) as f64 / since.as_secs_f64()));
            (self.shown, self.requests) = (Instant::now(), requests);
        }
    }

    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
