use std::sync::Arc;
use std::time::Duration;

use super::CREATORS;
use crate::metadata::apply::tests::{create_command, image_with_nodes, run as run_command};
use crate::metadata::{Command, Image, ImageUpdate};
use crate::model::{BrokerId, ErrorCode, NodeId, Offset, ShardId};
use crate::partition::append::{AppendRequest, ProduceCapabilities};
use crate::runtime::fault::{Fault, FaultPlan, Rule, Target};
use crate::runtime::{self, Class};
use crate::shard::Shard;
use crate::shard::tests::{PARTITIONS, Scratch, batch, location, open_with, run};

/// The update of one command.
fn update(image: &Image, command: &Command) -> ImageUpdate {
    let (next, delta) = run_command(image, command);
    ImageUpdate { from: image.index, image: Arc::new(next), deltas: vec![Arc::new(delta)] }
}

/// Waits for a condition that another task makes true.
async fn wait_until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            runtime::sleep(Duration::from_millis(1)).await;
        }
    };
    runtime::timeout(Duration::from_secs(30), wait).await.expect("the condition becomes true");
}

#[test]
fn a_change_examines_the_changed_topics_and_not_all_of_them() {
    let scratch = Scratch::new("delta");
    run(async {
        // No replica is on this node, so that no test waits for 10,000 directories.
        let mut image = image_with_nodes(2);
        for at in 0..10_000 {
            image = run_command(&image, &create_command(&image, &format!("t{at}"), &[&[2]])).0;
        }
        let shard = open_with(location(&scratch.0, ShardId(0)), image.clone()).await;
        let id = image.topic("t77").unwrap().id;
        for command in [
            create_command(&image, "new", &[&[1], &[1]]),
            Command::SetTopicConfig { id, changes: vec![("retention.ms".into(), Some("5".into()))] },
            Command::CreatePartitions { id, have: 1, replicas: vec![vec![NodeId(1)]; 2] },
            Command::DeleteTopic { id },
        ] {
            let update = update(&shard.image(), &command);
            assert_eq!(shard.apply_image(&update).await, 1, "{command:?}");
            assert_eq!(shard.image().index, update.image.index);
        }
        let nothing = Command::AllocateProducerIds { node: NodeId(1), count: 1 };
        assert_eq!(shard.apply_image(&update(&shard.image(), &nothing)).await, 0);
        assert_eq!(shard.partitions_count(), 1, "one of the two partitions of the new topic is of this shard");
        shard.stop().await.expect("storage works");
    });
}

#[test]
fn a_changed_setting_of_a_broker_reaches_its_partitions_at_once_and_at_the_next_opening() {
    let scratch = Scratch::new("broker-settings");
    let largest = |shard: &Shard| {
        let of_topics = shard.all_partitions().iter().map(|partition| partition.config().max_message_bytes).max();
        (of_topics.expect("a partition"), shard.config().message_max_bytes)
    };
    let image = run(async {
        let image = image_with_nodes(1);
        let image = run_command(&image, &create_command(&image, "t", &[&[1], &[1]])).0;
        let shard = open_with(location(&scratch.0, ShardId(0)), image).await;
        assert_eq!(largest(&shard), (1_048_588, 1_048_588));
        let set = |broker: Option<i32>, value: Option<&str>| Command::SetBrokerConfig {
            broker: broker.map(BrokerId),
            changes: vec![("message.max.bytes".into(), value.map(str::to_owned))],
        };
        for (command, examined, expected) in [
            (set(None, Some("70000")), 1, 70_000),
            (set(Some(1001), Some("60000")), 0, 70_000),
            (set(Some(1000), Some("50000")), 1, 50_000),
            (set(None, Some("40000")), 0, 50_000),
            (set(Some(1000), None), 1, 40_000),
        ] {
            let update = update(&shard.image(), &command);
            assert_eq!(shard.apply_image(&update).await, examined, "{command:?}");
            assert_eq!(largest(&shard), (expected, expected as i32), "{command:?}");
        }
        let image = Image::clone(&shard.image());
        shard.stop().await.expect("storage works");
        image
    });
    run(async {
        let shard = open_with(location(&scratch.0, ShardId(0)), image).await;
        assert_eq!(largest(&shard), (40_000, 40_000));
        shard.stop().await.expect("storage works");
    });
}

#[test]
fn a_partition_that_cannot_be_created_is_offline_until_a_retry_creates_it() {
    for (target, errno) in
        [(Target::MakeDirectory, libc::ENOSPC), (Target::Write, libc::EIO), (Target::Rename, libc::EIO)]
    {
        let scratch = Scratch::new(&format!("offline-{target:?}"));
        let (image, id) = run(async {
            let empty = image_with_nodes(1);
            let shard = open_with(location(&scratch.0, ShardId(0)), empty.clone()).await;
            let update = update(&empty, &create_command(&empty, "t", &[&[1][..]; PARTITIONS]));
            let own: Vec<_> = shard.own_partitions(update.image.topic("t").unwrap()).collect();
            let rule = Rule { target, nth: 1, and_after: true, fault: Fault::Errno(errno) };
            runtime::install_faults(Some(FaultPlan::new([rule])));
            shard.apply_image(&update).await;
            assert!(shard.offline().into_keys().eq(own.iter().copied()), "{target:?}");
            let request = AppendRequest { capabilities: ProduceCapabilities::ALL, acks: -1, now_ms: 1_000 };
            let refused = shard.produce(own[0], &batch(), &request, None).await.expect_err("it is offline");
            let message = refused.message.expect("it has a reason");
            assert!(refused.error == ErrorCode::KafkaStorageError && message.contains("(os error"), "{message}");
            assert!(!shard.retry_offline().await, "{target:?}: the fault lasts");

            runtime::install_faults(None);
            wait_until(|| shard.offline().is_empty()).await;
            assert_eq!(shard.partitions_count(), own.len());
            let produced = shard.produce(own[0], &batch(), &request, None).await.expect("it is online");
            shard.wait_committed(produced.sequence).await.expect("storage works");
            shard.stop().await.expect("storage works");
            (Image::clone(&update.image), own[0])
        });
        // A restart finds the partition with its record.
        run(async {
            let shard = open_with(location(&scratch.0, ShardId(0)), image).await;
            assert_eq!(shard.partition(id).expect("it is there").log_end(), Offset(1));
            shard.stop().await.expect("storage works");
        });
    }
}

#[test]
fn a_deleted_topic_is_no_longer_offline() {
    let scratch = Scratch::new("offline-deleted");
    run(async {
        let empty = image_with_nodes(1);
        let shard = open_with(location(&scratch.0, ShardId(0)), empty.clone()).await;
        let created = update(&empty, &create_command(&empty, "t", &[&[1][..]; PARTITIONS]));
        let rule = Rule { target: Target::Rename, nth: 1, and_after: true, fault: Fault::Errno(libc::EIO) };
        runtime::install_faults(Some(FaultPlan::new([rule])));
        shard.apply_image(&created).await;
        assert!(!shard.offline().is_empty());
        runtime::install_faults(None);
        let id = created.image.topic("t").unwrap().id;
        shard.apply_image(&update(&created.image, &Command::DeleteTopic { id })).await;
        assert!(shard.offline().is_empty());
        assert!(!shard.retry_offline().await && shard.partitions_count() == 0);
        let left = || {
            std::fs::read_dir(&scratch.0)
                .unwrap()
                .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("t-"))
        };
        wait_until(|| !left()).await;
        shard.stop().await.expect("storage works");
    });
}

#[test]
fn a_partition_whose_directory_is_slow_does_not_delay_the_others_of_its_topic() {
    let scratch = Scratch::new("creators");
    run(async {
        let empty = image_with_nodes(1);
        let shard = open_with(location(&scratch.0, ShardId(0)), empty.clone()).await;
        let created = update(&empty, &create_command(&empty, "t", &[&[1][..]; 200]));
        let own = shard.own_partitions(created.image.topic("t").unwrap()).count();
        assert!(own > CREATORS);
        runtime::install_faults(Some(FaultPlan::hold(Target::MakeDirectory, 1)));
        let applied = runtime::spawn(Class::Foreground, "apply", {
            let shard = shard.clone();
            async move { shard.apply_image(&created).await }
        });
        wait_until(|| shard.partitions_count() == own - 1).await;
        assert!(!applied.is_finished() && shard.image().topic("t").is_none(), "requests find only a whole topic");
        runtime::install_faults(None);
        applied.await;
        assert_eq!(shard.partitions_count(), own);
        shard.stop().await.expect("storage works");
    });
}
