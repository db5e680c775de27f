use std::cell::Cell;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::metadata::apply::tests::create_command;
use crate::model::NodeId;
use crate::runtime::Config;
use crate::runtime::fault::{Fault, FaultPlan, Rule, Target};

/// The directory of one test, removed when dropped.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidemill-controller-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Dir(std::env::temp_dir().join(name))
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn path(&self, index: u64) -> PathBuf {
        self.0.join(format!("{index:020}.tml"))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Opens a controller in `dir`, runs `life` with it, and drops it without a graceful stop.
fn live<T, F: Future<Output = T>>(dir: &Dir, life: impl FnOnce(Opened) -> F + 'static) -> T {
    let path = dir.0.clone();
    runtime::run(Config::default(), || async move { life(Controller::open(&path, None).await.unwrap()).await }).unwrap()
}

fn open_error(dir: &Dir, expected: Option<ExpectedLog>) -> String {
    let path = dir.0.clone();
    let open = || async move { Controller::open(&path, expected.as_ref()).await.err().expect("an error").to_string() };
    runtime::run(Config::default(), open).unwrap()
}

fn expected(cluster_id: &str, index: u64) -> Option<ExpectedLog> {
    Some(ExpectedLog { cluster_id: cluster_id.into(), index, proof: "a/checkpoint".into() })
}

/// Formats a cluster with one node.
async fn format(controller: &Controller) {
    let node = Command::NodeStarted {
        node: NodeId(1),
        incarnation: controller.image().node(NodeId(1)).map_or(1, |node| node.incarnation + 1),
        endpoints: vec![crate::metadata::Endpoint { listener: "A".into(), host: "h".into(), port: 1 }],
        shards: 2,
        routing: crate::config::Routing::Direct,
        rack: "r".into(),
    };
    controller.propose(vec![Command::FormatCluster { cluster_id: "c".into() }, node]).await.unwrap();
}

async fn create(controller: &Controller, name: &str) -> Result<Committed, ProposeError> {
    controller.propose(vec![create_command(&controller.image(), name, &[&[1]])]).await
}

fn topics(image: &Image) -> Vec<String> {
    image.topics().map(|topic| topic.name.as_str().to_owned()).collect()
}

#[test]
fn committed_changes_survive_a_restart() {
    let dir = Dir::new();
    let before = live(&dir, |opened| async move {
        format(&opened.controller).await;
        create(&opened.controller, "a").await.unwrap();
        create(&opened.controller, "b").await.unwrap();
        opened.controller.image()
    });
    let after = live(&dir, |opened| async move {
        assert_eq!(opened.torn, None);
        opened.controller.image()
    });
    assert_eq!((&after, topics(&after)), (&before, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn the_watchers_and_then_the_proposer_get_the_image_and_delta_of_a_commit() {
    live(&Dir::new(), |opened| async move {
        let controller = opened.controller;
        format(&controller).await;
        let seen = Rc::new(RefCell::new(Vec::new()));
        let record = seen.clone();
        controller.watch(move |committed| record.borrow_mut().push(committed.clone()));
        let committed = create(&controller, "a").await.unwrap();
        assert_eq!(*seen.borrow(), std::slice::from_ref(&committed));
        assert_eq!(committed.delta.topics_created[0].name.as_str(), "a");
        assert_eq!(controller.image(), committed.image);
    });
}

#[test]
fn a_rejected_proposal_changes_nothing() {
    let dir = Dir::new();
    live(&dir, |opened| async move {
        let controller = opened.controller;
        format(&controller).await;
        create(&controller, "a").await.unwrap();
        let before = controller.image();
        controller.watch(|committed| panic!("{committed:?}"));
        assert_eq!(
            create(&controller, "a").await,
            Err(ProposeError::Rejected(CommandRejected::TopicExists("a".into())))
        );
        let (nothing, answer) =
            controller.propose_plan(|image| Plan { commands: vec![], answer: image.index }).await.unwrap();
        assert_eq!((nothing.image, answer), (before.clone(), before.index));
    });
    assert_eq!(live(&dir, |opened| async move { topics(&opened.controller.image()) }), ["a"]);
}

#[test]
fn ctrl_2_each_plan_sees_the_changes_of_the_plans_before_it() {
    live(&Dir::new(), |opened| async move {
        let controller = opened.controller;
        format(&controller).await;
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let controller = controller.clone();
                // All plans create the same topic; the second and later ones find it.
                runtime::spawn(Class::Foreground, "proposer", async move {
                    let plan = |image: &Image| {
                        let is_new = image.topic("t").is_none();
                        let commands = if is_new { vec![create_command(image, "t", &[&[1]])] } else { vec![] };
                        Plan { commands, answer: is_new }
                    };
                    controller.propose_plan(plan).await.unwrap().1
                })
            })
            .collect();
        let mut made = 0;
        for task in tasks {
            made += u32::from(task.await);
        }
        assert_eq!(made, 1);
    });
}

#[test]
fn the_proposal_of_a_dropped_proposer_is_committed() {
    live(&Dir::new(), |opened| async move {
        let controller = opened.controller;
        format(&controller).await;
        let gone = controller.clone();
        let started = Rc::new(Cell::new(false));
        let flag = started.clone();
        let task = runtime::spawn(Class::Foreground, "gone", async move {
            let plan = move |image: &Image| {
                flag.set(true);
                Plan { commands: vec![create_command(image, "a", &[&[1]])], answer: () }
            };
            gone.propose_plan(plan).await
        });
        while !started.get() {
            runtime::yield_now().await;
        }
        task.abort();
        create(&controller, "b").await.unwrap();
        assert_eq!(topics(&controller.image()), ["a", "b"]);
    });
}

#[test]
fn ctrl_4_a_torn_write_is_cut_off_and_reported() {
    let dir = Dir::new();
    live(&dir, |opened| async move {
        format(&opened.controller).await;
        create(&opened.controller, "a").await.unwrap();
    });
    let whole = std::fs::read(dir.path(0)).unwrap();
    live(&dir, |opened| async move { create(&opened.controller, "b").await.unwrap() });
    let longer = std::fs::read(dir.path(0)).unwrap();
    assert_eq!(longer[..whole.len()], whole);
    std::fs::write(dir.path(0), &longer[..longer.len() - 3]).unwrap();
    let torn_bytes = (longer.len() - 3 - whole.len()) as u64;
    live(&dir, move |opened| async move {
        assert_eq!(opened.torn.map(|(bytes, _)| bytes), Some(torn_bytes));
        assert_eq!(topics(&opened.controller.image()), ["a"]);
        create(&opened.controller, "c").await.unwrap();
    });
    assert_eq!(
        live(&dir, |opened| async move { (opened.torn, topics(&opened.controller.image())) }),
        (None, vec!["a".into(), "c".into()])
    );
}

#[test]
fn damage_in_the_middle_is_rejected_with_the_file_and_the_position() {
    let dir = Dir::new();
    live(&dir, |opened| async move {
        format(&opened.controller).await;
        create(&opened.controller, "a").await.unwrap();
    });
    let mut bytes = std::fs::read(dir.path(0)).unwrap();
    bytes[40] ^= 1;
    std::fs::write(dir.path(0), bytes).unwrap();
    let message = open_error(&dir, None);
    assert!(message.contains("00000000000000000000.tml: the metadata log is damaged at byte 0"), "{message}");
    assert!(message.contains("Restore the file from a copy"), "{message}");
}

/// CTRL-1: the watcher is not called for a change whose write failed.
#[test]
fn ctrl_3_a_failed_write_is_final() {
    let dir = Dir::new();
    live(&dir, |opened| async move {
        let controller = opened.controller;
        format(&controller).await;
        create(&controller, "a").await.unwrap();
        controller.watch(|committed| panic!("CTRL-1: {committed:?}"));
        runtime::install_faults(Some(FaultPlan::fail(Target::WriteSync, 1, 5)));
        assert!(matches!(create(&controller, "b").await, Err(ProposeError::Failed(_))));
        // The disk works again, but the end of the log is unknown, so the log rejects the change.
        assert!(matches!(create(&controller, "c").await, Err(ProposeError::Failed(_))));
        assert_eq!(topics(&controller.image()), ["a"]);
    });
    assert_eq!(live(&dir, |opened| async move { topics(&opened.controller.image()) }), ["a"]);
}

/// Appends until a snapshot is due.
async fn grow(controller: &Controller) {
    let id = controller.image().topic("a").unwrap().id;
    for size in [600_000, 600_001] {
        let changes = vec![("x".to_owned(), Some("y".repeat(size)))];
        controller.propose(vec![Command::SetTopicConfig { id, changes }]).await.unwrap();
    }
}

#[test]
fn a_long_log_continues_after_a_snapshot() {
    let dir = Dir::new();
    let before = live(&dir, |opened| async move {
        let controller = opened.controller;
        format(&controller).await;
        create(&controller, "a").await.unwrap();
        grow(&controller).await;
        create(&controller, "b").await.unwrap();
        controller.image()
    });
    assert_eq!(dir.files(), ["00000000000000000004.tml"]);
    let after = live(&dir, |opened| async move { opened.controller.image() });
    assert_eq!(after, before);
}

#[test]
fn ctrl_4_a_snapshot_that_fails_at_any_step_loses_nothing() {
    // The log stays usable while it is known which file the next start will find.
    for (target, nth, and_after, usable) in [
        (Target::Open, 1, false, true),
        (Target::Write, 3, false, true),
        (Target::Sync, 1, false, true),
        (Target::Rename, 1, false, false),
        (Target::Sync, 2, false, false),
        (Target::Remove, 1, true, true),
    ] {
        let dir = Dir::new();
        let name = if usable { "after" } else { "lost" };
        let before = live(&dir, move |opened| async move {
            let controller = opened.controller;
            format(&controller).await;
            create(&controller, "a").await.unwrap();
            let rule = Rule { target, nth, and_after, fault: Fault::Errno(28) };
            runtime::install_faults(Some(FaultPlan::new([rule])));
            grow(&controller).await;
            assert_eq!(create(&controller, name).await.is_ok(), usable, "{target:?} {nth}");
            controller.image()
        });
        let after = live(&dir, |opened| async move { opened.controller.image() });
        assert_eq!(after, before, "{target:?} {nth}");
        assert_eq!(dir.files().len(), 1, "{target:?} {nth}: {:?}", dir.files());
    }
}

#[test]
fn a_file_without_its_snapshot_is_rejected() {
    let dir = Dir::new();
    live(&dir, |opened| async move { format(&opened.controller).await });
    std::fs::rename(dir.path(0), dir.path(7)).unwrap();
    let message = open_error(&dir, None);
    assert!(message.contains("does not start with the snapshot"), "{message}");
}

/// Each attempt leaves the directory as it was, so that it can be repaired.
#[test]
fn ctrl_4_a_log_that_lacks_a_proved_entry_is_rejected_and_not_changed() {
    let dir = Dir::new();
    let message = open_error(&dir, expected("c", 1));
    assert!(message.contains("contains no metadata log, but a/checkpoint was written"), "{message}");
    assert!(!dir.0.exists(), "no log is begun");
    live(&dir, |opened| async move {
        format(&opened.controller).await;
        create(&opened.controller, "a").await.unwrap();
    });
    let whole = std::fs::read(dir.path(0)).unwrap();
    let check = |bytes: &[u8], expected: Option<ExpectedLog>, words: &[&str]| {
        std::fs::write(dir.path(0), bytes).unwrap();
        let message = open_error(&dir, expected);
        assert!(words.iter().all(|words| message.contains(words)), "{message}");
        assert_eq!(std::fs::read(dir.path(0)).unwrap(), bytes, "the file is not cut");
    };
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let behind = ["ends at index 1, but a/checkpoint was written after index 2 was durable", "bytes are damaged"];
    check(&damaged, expected("c", 2), &behind);
    check(&[], expected("c", 1), &["ends at index 0, but a/checkpoint was written after index 1"]);
    check(&damaged[..40], expected("c", 1), &["ends at index 0", "its last 40 bytes are damaged"]);
    check(&whole, expected("other", 2), &["belongs to cluster c, and a/checkpoint to cluster other"]);
    check(&damaged, expected("other", 1), &["belongs to cluster c"]);
    std::fs::write(dir.path(0), &damaged).unwrap();
    let path = dir.0.clone();
    let open = || async move { Controller::open(&path, expected("c", 1).as_ref()).await.unwrap().controller.image() };
    assert_eq!(topics(&runtime::run(Config::default(), open).unwrap()), [""; 0], "the last entry may be a torn write");
}
