//! A fetch that waits for `min_bytes`.
//!
//! It keeps the position and the number of bytes that it has reached in each partition, and at each wake it counts only
//! the batches behind that position. It holds no records and no copies of other shards' records.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Found, Plan, Wanted};
use crate::api::server::Server;
use crate::model::{LeaderEpoch, Offset, ShardId, TopicPartition};
use crate::partition::Partition;
use crate::partition::fetch::PartitionFetch;
use crate::partition::purgatory::{Isolation, Registration, Seen, Waiter};
use crate::router::message::{Reply, ShardRequest};
use crate::runtime::clock::{self, Mono};
use crate::runtime::{self, Class};

/// The shards with a pending watch call, which is answered when one of their partitions moves.
type Watched = Rc<RefCell<Vec<ShardId>>>;

/// The batches that a fetch has counted in one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Counted {
    pub bytes: usize,
    /// The offset behind the last batch.
    pub next_offset: Offset,
    /// The read limit at the last count.
    pub limit: Offset,
    /// The partition has an error, or its reader has to go back. The fetch is answered at once.
    pub is_exceptional: bool,
}

impl Counted {
    /// Adds the batches that were found behind these.
    fn add(&mut self, found: &Found, isolation: Isolation) {
        let bytes = self.bytes;
        *self = found.counted(isolation);
        self.bytes += bytes;
    }

    /// The limits left out records that are ready.
    fn is_cut(&self) -> bool {
        !self.is_exceptional && self.next_offset < self.limit
    }
}

impl Plan {
    pub(super) fn is_enough(&self, counted: impl Iterator<Item = Counted> + Clone) -> bool {
        let bytes: usize = counted.clone().map(|counted| counted.bytes).sum();
        bytes >= self.bytes_min
            || self.wanted.is_empty()
            || counted.clone().any(|counted| counted.is_exceptional || bytes > 0 && counted.is_cut())
    }

    /// Waits until there are probably enough bytes, or until the deadline. Each batch is counted once, however often
    /// the fetch wakes.
    pub(super) async fn wait_for_enough(&self, server: &Rc<Server>, mut counted: Vec<Counted>, deadline: Mono) {
        let waiter = Waiter::new(self.isolation);
        let _registration = Registration::new(&waiter, self.local_partitions(server));
        let watched = Watched::default();
        loop {
            // A partition that moved between the count and the registration did not wake the waiter.
            if !self.has_moved(server, &counted) {
                self.watch_others(server, &counted, &watched, deadline, &waiter);
                let _ = runtime::timeout(deadline.since(clock::now()), waiter.woken()).await;
            }
            // Any batch is enough for most consumers: the read that follows finds it, without a count before.
            if clock::now() >= deadline || self.bytes_min <= 1 {
                return;
            }
            self.count_local(server, &mut counted).await;
            self.count_remote(server, &mut counted, &watched).await;
            if self.is_enough(counted.iter().copied()) {
                return;
            }
        }
    }

    /// Counts the batches behind those counted before, in partitions of this shard that have moved.
    async fn count_local(&self, server: &Server, counted: &mut [Counted]) {
        let mut total = total(counted);
        for (wanted, counted) in self.wanted.iter().zip(counted) {
            let Ok((id, owner)) = wanted.place else { continue };
            if owner != server.shard.id {
                continue;
            }
            let partition = server.shard.partition(id).filter(|partition| !partition.is_deleted());
            match partition {
                None => counted.is_exceptional = true,
                Some(partition) if partition.log_start() > wanted.request.fetch_offset => counted.is_exceptional = true,
                Some(partition) if partition.read_limit(self.isolation) == counted.limit => {}
                Some(partition) => {
                    let request = self.behind(&wanted.request, counted, total);
                    let found = Found::from(partition.fetch(&request).await);
                    total += found.bytes;
                    counted.add(&found, self.isolation);
                }
            }
        }
    }

    /// As [`count_local`](Self::count_local), in partitions of the shards whose watch call was answered.
    async fn count_remote(&self, server: &Server, counted: &mut [Counted], watched: &Watched) {
        let total = total(counted);
        let mut places: Vec<(ShardId, Vec<usize>)> = Vec::new();
        for (at, wanted) in self.wanted.iter().enumerate() {
            let Ok((_, owner)) = wanted.place else { continue };
            if owner == server.shard.id || watched.borrow().contains(&owner) {
                continue;
            }
            match places.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, places)) => places.push(at),
                None => places.push((owner, vec![at])),
            }
        }
        for (shard, places) in places {
            let behind = |at: &usize| {
                let wanted = &self.wanted[*at];
                let (id, _) = wanted.place.expect("only partitions with an owner are listed");
                (id, self.behind(&wanted.request, &counted[*at], total))
            };
            let partitions = places.iter().map(behind).collect();
            let bytes_max = self.bytes_max.saturating_sub(total);
            let request = ShardRequest::Fetch { partitions, bytes_max, copy_max: 0 };
            let Reply::Fetched(fetched) = server.router.call(shard, request).reply().await else {
                unreachable!("a fetch call is answered by Fetched")
            };
            for (at, fetched) in places.into_iter().zip(fetched) {
                let is_removed = fetched.log_start_offset > self.wanted[at].request.fetch_offset;
                counted[at].add(&Found::of_remote(shard, fetched), self.isolation);
                counted[at].is_exceptional |= is_removed;
            }
        }
    }

    /// The request for the batches behind those counted in a partition. `total` bytes are counted in all partitions.
    fn behind(&self, request: &PartitionFetch, counted: &Counted, total: usize) -> PartitionFetch {
        let left = self.bytes_max.saturating_sub(total);
        PartitionFetch {
            fetch_offset: counted.next_offset,
            bytes_max: request.bytes_max.saturating_sub(counted.bytes).min(left),
            at_least_one: total == 0,
            // It was compared with the offset of the request.
            last_fetched_epoch: LeaderEpoch::UNKNOWN,
            ..*request
        }
    }

    fn local_partitions(&self, server: &Server) -> Vec<Rc<Partition>> {
        let own = server.shard.id;
        let here = self.wanted.iter().filter_map(|wanted| wanted.place.ok()).filter(|(_, owner)| *owner == own);
        here.filter_map(|(id, _)| server.shard.partition(id)).collect()
    }

    fn has_moved(&self, server: &Server, counted: &[Counted]) -> bool {
        self.wanted.iter().zip(counted).any(|(wanted, counted)| match wanted.place {
            Ok((id, owner)) if owner == server.shard.id => {
                let partition = server.shard.partition(id);
                partition.is_none_or(|partition| partition.has_moved(seen(wanted, counted), self.isolation))
            }
            _ => false,
        })
    }

    /// Sends each other shard one watch call for all its partitions, unless a call is pending. The call is answered
    /// when a partition has moved since the last count.
    fn watch_others(
        &self,
        server: &Server,
        counted: &[Counted],
        watched: &Watched,
        deadline: Mono,
        waiter: &Rc<Waiter>,
    ) {
        let mut calls: Vec<(ShardId, Vec<(TopicPartition, Seen)>)> = Vec::new();
        for (wanted, counted) in self.wanted.iter().zip(counted) {
            let Ok((id, owner)) = wanted.place else { continue };
            if owner == server.shard.id || watched.borrow().contains(&owner) {
                continue;
            }
            match calls.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, partitions)) => partitions.push((id, seen(wanted, counted))),
                None => calls.push((owner, vec![(id, seen(wanted, counted))])),
            }
        }
        for (shard, partitions) in calls {
            let wait_ms = (deadline.since(clock::now())).as_millis() as u64 + 1;
            let call =
                server.router.call(shard, ShardRequest::Watch { partitions, isolation: self.isolation, wait_ms });
            watched.borrow_mut().push(shard);
            let (waiter, watched) = (waiter.clone(), watched.clone());
            runtime::spawn(Class::Foreground, "fetch watch", async move {
                call.reply().await;
                watched.borrow_mut().retain(|other| *other != shard);
                waiter.wake();
            });
        }
    }
}

fn seen(wanted: &Wanted, counted: &Counted) -> Seen {
    Seen { fetch_offset: wanted.request.fetch_offset, limit: counted.limit }
}

fn total(counted: &[Counted]) -> usize {
    counted.iter().map(|counted| counted.bytes).sum()
}

#[cfg(test)]
mod tests;
