//! Calls of shard 1 to a real shard 0, both in one thread.

use super::*;
use crate::api::testing::{self, APPEND, batch, ids};
use crate::model::Offset;
use crate::record::codec::Codec;
use crate::router::message::Message;
use crate::router::{Call, Router};

/// Runs `test` with shard 0, which serves calls, and the router of shard 1.
fn run<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Rc<Server>, Rc<Router>) -> F) {
    testing::run(name, 2, |server, router| async move {
        let (serving, replies) = (server.clone(), router.clone());
        runtime::spawn(Class::Foreground, "calls", async move {
            let appends = Rc::new(Appends::default());
            while let (from, Message::Request { id, request }) = serving.router.receive().await {
                serve(&serving, &appends, from, id, request);
            }
        });
        runtime::spawn(Class::Foreground, "replies", async move {
            replies.receive().await;
        });
        test(server, router).await;
    });
}

fn produce(router: &Router, connection: u64, id: TopicPartition, batch: Vec<u8>) -> Call {
    let batches = vec![(id, batch)];
    router.call(ShardId(0), ShardRequest::Produce { connection, batches, request: APPEND, transactional_id: None })
}

async fn base_offset(call: Call) -> i64 {
    let Reply::Produced(produced) = call.reply().await else { panic!("a Produce call is answered by Produced") };
    produced[0].as_ref().expect("the batch is good").base_offset.0
}

#[test]
fn a_slow_append_delays_only_its_connection() {
    run("slow-append", |server, router| async move {
        let (slow_id, other_id) = (ids(&server.shard)[0], ids(&server.shard)[1]);
        // It takes many pauses to validate.
        let slow = produce(&router, 1, slow_id, batch(Codec::Lz4, 64 << 20));
        let behind = produce(&router, 1, slow_id, batch(Codec::None, 10));
        let other = produce(&router, 2, other_id, batch(Codec::None, 10));
        assert_eq!(base_offset(other).await, 0);
        let partition = server.shard.partition(slow_id).expect("served");
        assert_eq!(partition.log_end(), Offset::ZERO, "the slow append is not done");
        assert_eq!(base_offset(behind).await, 1, "a connection's appends keep their order");
        assert_eq!(base_offset(slow).await, 0);
    });
}

#[test]
fn a_call_pauses_after_each_batch() {
    run("call-pauses", |server, router| async move {
        let all = ids(&server.shard);
        let batches: Vec<_> = all.iter().map(|id| (*id, batch(Codec::None, 10))).collect();
        let request = ShardRequest::Produce { connection: 1, batches, request: APPEND, transactional_id: None };
        let (reply, pauses) = runtime::count_pauses(router.call(ShardId(0), request).reply()).await;
        let Reply::Produced(produced) = reply else { panic!("a Produce call is answered by Produced") };
        assert!(produced.iter().all(|produced| produced.is_ok()) && all.len() > 1);
        assert!(pauses >= all.len(), "{pauses} pauses for {} batches", all.len());
    });
}

/// The offset is removed between the read of a fetch on another shard and its watch call.
#[test]
fn a_watch_of_a_removed_offset_is_answered_at_once() {
    run("watch", |server, router| async move {
        let id = ids(&server.shard)[0];
        base_offset(produce(&router, 1, id, batch(Codec::None, 10))).await;
        base_offset(produce(&router, 1, id, batch(Codec::None, 10))).await;
        server.shard.delete_records(&[(id, Some(Offset(1)))]).await;
        let watch = |fetch_offset| {
            let seen = Seen { fetch_offset: Offset(fetch_offset), limit: Offset(2) };
            let (partitions, isolation) = (vec![(id, seen)], Isolation::ReadUncommitted);
            router.call(ShardId(0), ShardRequest::Watch { partitions, isolation, wait_ms: 3_600_000 }).reply()
        };
        let answered = runtime::timeout(Duration::from_secs(20), watch(0)).await;
        assert!(answered.is_ok(), "no later change wakes it");
        let waiting = runtime::spawn(Class::Foreground, "watch", watch(1));
        base_offset(produce(&router, 1, id, batch(Codec::None, 10))).await;
        assert!(matches!(waiting.await, Reply::Watched), "the new batch wakes it");
    });
}
