use std::time::Duration;

use super::super::{Key, Outcome, Wanted};
use super::*;
use crate::api::outcome::Header;
use crate::api::testing::{APPEND, batch, ids, run};
use crate::log::read::STEPS;
use crate::model::ErrorCode;
use crate::record::codec::Codec;
use crate::router::message::{Message, RemoteFetched};

fn plan(server: &Server, id: TopicPartition, bytes_min: usize) -> Plan {
    let request = PartitionFetch {
        fetch_offset: Offset::ZERO,
        bytes_max: 1 << 20,
        has_negative_limit: false,
        current_leader_epoch: LeaderEpoch::UNKNOWN,
        last_fetched_epoch: LeaderEpoch::UNKNOWN,
        isolation: Isolation::ReadUncommitted,
        at_least_one: false,
        knows_zstd: true,
    };
    Plan {
        header: Header { version: 12, correlation_id: 1 },
        listener: "PLAINTEXT".into(),
        session: None,
        wanted: vec![Wanted {
            topic: Key::Name("topic".into()),
            partition: id.partition,
            slot: None,
            place: Ok((id, server.shard.id)),
            request,
        }],
        bytes_max: 1 << 20,
        bytes_min,
        wait: Duration::from_secs(60),
        isolation: Isolation::ReadUncommitted,
    }
}

fn answer_bytes(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Send(answer) => answer.bytes(),
        Outcome::Nothing | Outcome::Close(_) => panic!("a fetch is answered"),
    }
}

async fn append(server: &Server, id: TopicPartition, batch: &[u8]) {
    let produced = server.shard.produce(id, batch, &APPEND, None).await.expect("the batch is good");
    server.shard.wait_committed(produced.sequence).await.expect("storage works");
}

#[test]
fn a_waiting_fetch_counts_each_batch_once() {
    const BATCHES: usize = 200;
    run("fetch-wait", 1, |server, _| async move {
        let (id, batch) = (ids(&server.shard)[0], batch(Codec::None, 10));
        let plan = plan(&server, id, BATCHES * batch.len());
        let fetching = server.clone();
        let fetch = runtime::spawn(Class::Foreground, "fetch", async move { plan.run(&fetching).await });
        runtime::yield_now().await;
        let before = STEPS.get();
        for n in 0..BATCHES {
            assert!(!fetch.is_finished(), "{n} batches are too few");
            // Each commit wakes the fetch.
            append(&server, id, &batch).await;
        }
        let answer = answer_bytes(fetch.await);
        assert!(answer > BATCHES * batch.len() && answer < (BATCHES + 1) * batch.len(), "{answer} bytes");
        let steps = STEPS.get() - before;
        assert!(steps <= 6 * BATCHES, "{steps} steps for {BATCHES} batches");
    });
}

#[test]
fn a_waiting_fetch_is_answered_when_its_offset_is_removed() {
    run("fetch-removed", 1, |server, _| async move {
        let (id, batch) = (ids(&server.shard)[0], batch(Codec::None, 10));
        append(&server, id, &batch).await;
        append(&server, id, &batch).await;
        let plan = plan(&server, id, 1 << 20);
        let fetching = server.clone();
        let fetch = runtime::spawn(Class::Foreground, "fetch", async move { plan.run(&fetching).await });
        runtime::yield_now().await;
        assert!(!fetch.is_finished(), "two batches are too few");
        server.shard.delete_records(&[(id, Some(Offset(1)))]).await;
        assert!(answer_bytes(fetch.await) < batch.len(), "OFFSET_OUT_OF_RANGE has no records");
    });
}

/// The offset is removed after the fetch has read the partition, and before it is registered.
#[test]
fn a_fetch_whose_offset_was_removed_does_not_begin_to_wait() {
    run("fetch-removed-before", 1, |server, _| async move {
        let id = ids(&server.shard)[0];
        append(&server, id, &batch(Codec::None, 10)).await;
        let plan = plan(&server, id, 1 << 20);
        let counted = plan.read(&server).await.0.iter().map(|found| found.counted(plan.isolation)).collect();
        server.shard.delete_records(&[(id, Some(Offset(1)))]).await;
        let waited = plan.wait_for_enough(&server, counted, clock::now() + Duration::from_secs(3600));
        assert!(runtime::timeout(Duration::from_secs(20), waited).await.is_ok(), "no later change wakes it");
    });
}

/// The records of another shard: batches of 100 bytes and one offset each, from `from` to `end`.
fn fetched(from: Offset, end: i64) -> RemoteFetched {
    RemoteFetched {
        error: ErrorCode::None,
        high_watermark: Offset(end),
        last_stable_offset: Offset(end),
        log_start_offset: Offset::ZERO,
        diverging: None,
        next_offset: Offset(end),
        bytes: 100 * (end - from.0) as usize,
        records: Vec::new(),
        aborted: Vec::new(),
    }
}

#[test]
fn batches_of_another_shard_are_counted_once_and_not_copied_during_the_wait() {
    run("fetch-remote", 2, |server, other| async move {
        let replies = server.router.clone();
        runtime::spawn(Class::Foreground, "replies", async move {
            replies.receive().await;
        });
        let topic = server.shard.image().topic("topic").expect("created").id;
        let mut all = (0..8).map(|partition| TopicPartition { topic, partition });
        let id = all.find(|id| server.shard.owner(*id) == ShardId(1)).expect("each shard has partitions");
        let mut plan = plan(&server, id, 300);
        plan.wanted[0].place = Ok((id, ShardId(1)));
        let fetches = Rc::new(RefCell::new(Vec::new()));
        // Shard 1 gets another batch whenever the fetch waits.
        let (waiting, noted) = (server.clone(), fetches.clone());
        runtime::spawn(Class::Foreground, "shard 1", async move {
            let mut end = 1;
            while let (from, Message::Request { id, request }) = other.receive().await {
                let reply = match request {
                    ShardRequest::Fetch { partitions, copy_max, .. } => {
                        let offset = partitions[0].1.fetch_offset;
                        noted.borrow_mut().push((offset.0, copy_max > 0));
                        Reply::Fetched(vec![fetched(offset, end)])
                    }
                    ShardRequest::Watch { .. } => {
                        assert_eq!(waiting.copies.available(), waiting.copies.total(), "a fetch waits without copies");
                        end += 1;
                        Reply::Watched
                    }
                    _ => panic!("a fetch sends no other request"),
                };
                other.reply(from, id, reply);
            }
        });
        plan.run(&server).await;
        assert_eq!(*fetches.borrow(), [(0, true), (1, false), (2, false), (0, true)]);
    });
}
