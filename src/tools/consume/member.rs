//! `tidemill consume --group`: reads as a member of a consumer group (KIP-848). The coordinator assigns the partitions;
//! the offsets of printed records are committed once a second, before partitions are revoked, and at the end.

use super::format::Printer;
use super::{Args, TopicReader};
use crate::model::{ErrorCode, TopicId};
use crate::tools::Failure;
use crate::tools::client::groups::Offsets;
use crate::tools::client::{Client, ClientError};
use crate::wire::group::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a revoked member may hold its partitions.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// The pause between two commits.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// The pause of a member without records to read.
const IDLE: Duration = Duration::from_millis(50);

/// As `member_epoch`: leave the group.
const LEAVE: i32 = -1;

/// Reads until the end, the count or a signal, and leaves the group.
pub(super) fn run(
    client: &mut Client,
    args: &Args,
    group: &str,
    printer: &mut Printer<'_>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Without the handler the signal ends the process, and the group waits for the session timeout.
        let _ = signal_hook::flag::register(signal, is_stopped.clone());
    }
    let topic_id = client.topic(&args.topic)?.topic_id;
    let mut member = Member::new(group, &args.topic, topic_id);
    let mut reader = TopicReader::new(args);
    let read = member.read(client, args, &mut reader, printer, out, &is_stopped);
    // Records that were not printed are not committed: the cursors stop at the last printed one.
    let committed = member.commit(client, &reader);
    let left = member.leave(client);
    read.and(committed).and(left)
}

/// A member of the group.
struct Member<'a> {
    group: &'a str,
    topic: &'a str,
    topic_id: TopicId,
    id: String,
    /// 0 before the member has joined.
    epoch: i32,
    next_heartbeat: Instant,
    /// The partitions that the member owns; the next heartbeat reports them if `has_changed`.
    owned: BTreeSet<i32>,
    has_changed: bool,
    /// An assignment that is not carried out yet.
    assigned: Option<BTreeSet<i32>>,
    committed: Offsets,
    next_commit: Instant,
}

impl<'a> Member<'a> {
    fn new(group: &'a str, topic: &'a str, topic_id: TopicId) -> Member<'a> {
        let now = Instant::now();
        Member {
            group,
            topic,
            topic_id,
            id: uuid::Uuid::new_v4().to_string(),
            epoch: 0,
            next_heartbeat: now,
            owned: BTreeSet::new(),
            has_changed: false,
            assigned: None,
            committed: Offsets::new(),
            next_commit: now + COMMIT_EVERY,
        }
    }

    fn read(
        &mut self,
        client: &mut Client,
        args: &Args,
        reader: &mut TopicReader<'_>,
        printer: &mut Printer<'_>,
        out: &mut impl Write,
        is_stopped: &AtomicBool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + client.config().timeout;
        while !is_stopped.load(Ordering::Relaxed) && !printer.is_done() {
            if Instant::now() >= self.next_heartbeat {
                self.heartbeat(client)?;
            }
            if let Some(assigned) = self.assigned.take() {
                self.reconcile(client, args, reader, assigned)?;
            } else if !reader.is_at_end() {
                reader.print_next(client, printer, out)?;
            } else if args.is_endless() {
                std::thread::sleep(IDLE);
            } else if !self.owned.is_empty() {
                return Ok(());
            } else if Instant::now() < deadline {
                std::thread::sleep(IDLE);
            } else {
                return Err(Failure::with_hint(
                    format!("group {:?} assigned no partition of {} to this member", self.group, self.topic),
                    format!("other members have them; see `tidemill group describe {}`", self.group),
                ));
            }
            if Instant::now() >= self.next_commit {
                self.commit(client, reader)?;
            }
        }
        Ok(())
    }

    /// Sends a heartbeat. A member that the group has removed joins again, without partitions.
    fn heartbeat(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let is_joining = self.epoch == 0;
        let owned = TopicPartitions { topic_id: self.topic_id, partitions: self.owned.iter().copied().collect() };
        let owned = if self.owned.is_empty() { vec![] } else { vec![owned] };
        let request = ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: if is_joining { REBALANCE_TIMEOUT_MS } else { -1 },
            subscribed_topic_names: is_joining.then(|| vec![self.topic.to_owned()]),
            topic_partitions: (is_joining || self.has_changed).then_some(owned),
            ..self.request(self.epoch)
        };
        let response = match client.heartbeat(&request) {
            Ok(response) => response,
            Err(ClientError::Refused { code, .. })
                if !is_joining && matches!(code, ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) =>
            {
                self.epoch = 0;
                self.owned.clear();
                self.assigned = Some(BTreeSet::new());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.epoch = response.member_epoch;
        self.has_changed = false;
        let pause = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
        self.next_heartbeat = Instant::now() + Duration::from_millis(pause.max(10));
        if let Some(assignment) = response.assignment {
            let of_topic = assignment.topic_partitions.into_iter().filter(|topic| topic.topic_id == self.topic_id);
            self.assigned = Some(of_topic.flat_map(|topic| topic.partitions).collect());
        }
        Ok(())
    }

    fn request(&self, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.group.to_owned(),
            member_id: self.id.clone(),
            member_epoch,
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    /// Gives up partitions and takes new ones. The next heartbeat, sent at once, reports it.
    fn reconcile(
        &mut self,
        client: &mut Client,
        args: &Args,
        reader: &mut TopicReader<'_>,
        assigned: BTreeSet<i32>,
    ) -> Result<(), Failure> {
        if !self.owned.is_subset(&assigned) {
            self.commit(client, reader)?;
        }
        reader.partitions.retain(|partition, _| assigned.contains(partition));
        let new = assigned.iter().copied().filter(|partition| !reader.partitions.contains_key(partition));
        let new: Vec<i32> = new.collect();
        if !new.is_empty() {
            self.committed = client.committed(self.group)?;
            reader.add(client, args, &new, &self.committed)?;
        }
        self.has_changed |= self.owned != assigned;
        if self.has_changed {
            self.next_heartbeat = Instant::now();
        }
        self.owned = assigned;
        Ok(())
    }

    /// Commits the positions that have changed.
    fn commit(&mut self, client: &mut Client, reader: &TopicReader<'_>) -> Result<(), Failure> {
        self.next_commit = Instant::now() + COMMIT_EVERY;
        let position = |partition: &i32| {
            let cursor = reader.partitions.get(partition)?;
            Some(((self.topic.to_owned(), *partition), cursor.next_offset))
        };
        let owned = self.owned.iter().filter_map(position);
        let changed: Offsets = owned.filter(|(at, offset)| self.committed.get(at) != Some(offset)).collect();
        if changed.is_empty() || self.epoch == 0 {
            return Ok(());
        }
        match client.commit_as(self.group, &self.id, self.epoch, &changed) {
            Err(ClientError::Refused { code: ErrorCode::StaleMemberEpoch, .. }) => {
                // The epoch has risen since the last heartbeat.
                self.heartbeat(client)?;
                client.commit_as(self.group, &self.id, self.epoch, &changed)?;
            }
            committed => committed?,
        }
        self.committed.extend(changed);
        Ok(())
    }

    fn leave(&self, client: &mut Client) -> Result<(), Failure> {
        if self.epoch > 0 {
            client.heartbeat(&self.request(LEAVE))?;
        }
        Ok(())
    }
}
