use std::time::Duration;

use super::super::{Key, Outcome, Wanted};
use super::*;
use crate::api::outcome::Header;
use crate::api::testing::{APPEND, batch, ids, run};
use crate::log::read::STEPS;
use crate::record::codec::Codec;

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
