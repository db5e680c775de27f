//! A ledger across restarts and failed appends, with the smallest state machine: the last value of each key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::STALL;
use super::topic::InternalTopic;
use super::{Ledger, Ledgers, Now, ReplayedRecord, StateMachine, Unreadable, Writes};
use crate::config::BrokerConfig;
use crate::disk::journal;
use crate::disk::layout::DataDirectory;
use crate::metadata::apply::tests::{create, image_with_nodes};
use crate::metadata::owner::shard_of;
use crate::metadata::{Command, Image, ImageUpdate, apply_to};
use crate::model::{ErrorCode, NodeId, Offset, ProducerId, ShardId};
use crate::runtime::fault::{FaultPlan, Target};
use crate::runtime::{self, Mono, clock};
use crate::shard::Shard;
use crate::shard::open::ShardLocation;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tidemill-coordinator-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Default)]
struct Notes {
    notes: BTreeMap<Vec<u8>, Vec<u8>>,
    offsets: Vec<i64>,
    is_loaded: bool,
    due: Option<Mono>,
    images: usize,
}

impl StateMachine for Notes {
    const TOPIC: InternalTopic = InternalTopic::ConsumerOffsets;

    fn replay(&mut self, record: &ReplayedRecord<'_>) -> Result<(), Unreadable> {
        match (record.key, record.value) {
            (b"newer", _) => return Err(Unreadable::UnknownKey(9)),
            (b"broken", _) => return Err(Unreadable::NoKey),
            (key, Some(value)) => drop(self.notes.insert(key.into(), value.into())),
            (key, None) => drop(self.notes.remove(key)),
        }
        self.offsets.push(record.offset.0);
        Ok(())
    }

    fn end_transaction(&mut self, _: ProducerId, _: bool) {}

    fn on_loaded(&mut self, _: &Arc<Image>, _: Now, _: &mut Writes<Notes>) {
        self.is_loaded = true;
    }

    fn on_image_changed(&mut self, _: &ImageUpdate, _: Now, _: &mut Writes<Notes>) {
        self.images += 1;
    }

    fn deadline(&self) -> Option<Mono> {
        self.due
    }

    fn on_deadline(&mut self, now: Now, writes: &mut Writes<Notes>) {
        assert!(self.due.take().is_some_and(|due| due <= now.mono), "nothing was due");
        writes.put(b"rang", Some(b"yes"));
    }
}

/// One node of two shards. The image has the internal topic with one partition.
fn world() -> (Image, ShardId) {
    let image = create(&image_with_nodes(1), InternalTopic::ConsumerOffsets.name(), 1);
    let owner = shard_of(image.topic(InternalTopic::ConsumerOffsets.name()).unwrap().id, 0, 2);
    (image, owner)
}

/// Opens the shard that owns the partition, or the other one.
async fn open(directory: &Path, image: &Image, id: ShardId) -> Rc<Shard> {
    let mut config = BrokerConfig::default();
    config.memory_bytes = Some(64 << 20);
    let place = ShardLocation {
        id,
        node: NodeId(1),
        shards: 2,
        layout: 0,
        data: DataDirectory::new(directory, None),
        config: Arc::new(config),
        journal_file_bytes: 4 << 20,
        journal_idle: journal::IDLE,
    };
    Shard::open(place, Arc::new(image.clone())).await.expect("the directory is good").0
}

async fn loaded(ledger: &Rc<Ledger<Notes>>) {
    loop {
        match ledger.step(|notes, _, _| notes.is_loaded).await {
            Ok(true) => return,
            Ok(false) | Err(ErrorCode::CoordinatorLoadInProgress) => runtime::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}

async fn note(ledger: &Ledger<Notes>, key: &'static [u8], value: Option<&'static [u8]>) -> Result<(), ErrorCode> {
    ledger.step(|_, _, writes| writes.put(key, value)).await?;
    ledger.wait_durable().await
}

fn run<T>(future: impl Future<Output = T>) -> T {
    runtime::run(runtime::Config::default(), || future).expect("io_uring is here")
}

// COOR-4
#[test]
fn appended_state_survives_a_crash() {
    let scratch = Scratch::new("crash");
    let (image, owner) = world();
    run(async {
        let ledgers = Ledgers::new(&open(&scratch.0, &image, owner).await, Notes::default);
        let ledger = ledgers.ledger("any").unwrap();
        loaded(&ledger).await;
        note(&ledger, b"a", Some(b"1")).await.unwrap();
        note(&ledger, b"b", Some(b"2")).await.unwrap();
        let three = ledger.step(|_, _, writes| {
            writes.put(b"c", Some(b"3"));
            writes.put(b"a", None);
            writes.put(b"b", Some(b"4"));
        });
        three.await.unwrap();
        ledger.wait_durable().await.unwrap();
    });
    // No orderly shutdown ran.
    run(async {
        let ledgers = Ledgers::new(&open(&scratch.0, &image, owner).await, Notes::default);
        let ledger = ledgers.ledger("any").unwrap();
        assert_eq!(ledger.step(|_, _, _| ()).await, Err(ErrorCode::CoordinatorLoadInProgress));
        loaded(&ledger).await;
        let state = ledger.step(|notes, _, _| (notes.notes.clone(), notes.offsets.clone())).await.unwrap();
        let expected = [(b"b".to_vec(), b"4".to_vec()), (b"c".to_vec(), b"3".to_vec())];
        assert_eq!(state, (BTreeMap::from(expected), vec![0, 1, 2, 3, 4]));
        note(&ledger, b"d", Some(b"5")).await.unwrap();
        assert_eq!(ledger.partition().log_end(), Offset(6));
    });
}

#[test]
fn deadlines_wait_while_the_journal_stalls() {
    let scratch = Scratch::new("stall");
    let (image, owner) = world();
    run(async {
        let shard = open(&scratch.0, &image, owner).await;
        let ledgers = Ledgers::new(&shard, Notes::default);
        let ledger = ledgers.ledger("any").unwrap();
        loaded(&ledger).await;
        let has_rung = || ledger.peek(|notes| notes.due.is_none()).unwrap();
        runtime::install_faults(Some(FaultPlan::hold(Target::Write, 1)));
        let due = clock::now() + Duration::from_millis(20);
        let noted = ledger.step(|notes, _, writes| {
            notes.due = Some(due);
            writes.put(b"a", Some(b"1"));
        });
        noted.await.unwrap();
        runtime::sleep(STALL * 2).await;
        assert!(!has_rung(), "a client may be unable to send a heartbeat");
        let released = clock::now();
        runtime::install_faults(None);
        ledger.wait_durable().await.unwrap();
        while !has_rung() {
            runtime::sleep(Duration::from_millis(5)).await;
        }
        assert!(released.elapsed() >= STALL, "clients get time for a heartbeat");
        shard.stop().await.expect("storage works");
    });
}

// COOR-2
#[test]
fn concurrent_steps_run_in_order_and_see_earlier_records() {
    let scratch = Scratch::new("order");
    let (image, owner) = world();
    run(async {
        let ledgers = Ledgers::new(&open(&scratch.0, &image, owner).await, Notes::default);
        let ledger = ledgers.ledger("any").unwrap();
        loaded(&ledger).await;
        let steps = (0..20usize).map(|number| {
            let ledger = ledger.clone();
            runtime::spawn(runtime::Class::Foreground, "step", async move {
                let seen = ledger.step(move |notes, _, writes| {
                    writes.put(&number.to_be_bytes(), Some(b"x"));
                    notes.notes.len()
                });
                seen.await.unwrap()
            })
        });
        let steps: Vec<_> = steps.collect();
        for (number, step) in steps.into_iter().enumerate() {
            assert_eq!(step.await, number);
        }
    });
}

// COOR-3
#[test]
fn a_failed_append_changes_nothing() {
    let scratch = Scratch::new("refused");
    let (image, owner) = world();
    run(async {
        let ledgers = Ledgers::new(&open(&scratch.0, &image, owner).await, Notes::default);
        let ledger = ledgers.ledger("any").unwrap();
        loaded(&ledger).await;
        let too_large = vec![0; 2 << 20];
        let seen = Rc::new(std::cell::Cell::new(None));
        let callback_seen = seen.clone();
        let refused = ledger.step(move |_, _, writes| {
            writes.put(b"a", Some(b"1"));
            writes.put(b"b", Some(&too_large));
            writes.after_append(move |notes, _, appended| callback_seen.set(Some((notes.notes.len(), appended))));
        });
        assert_eq!(refused.await, Err(ErrorCode::UnknownServerError));
        assert_eq!(seen.take(), Some((0, Err(ErrorCode::UnknownServerError))));
        assert_eq!(
            (ledger.partition().log_end(), ledger.step(|notes, _, _| notes.notes.len()).await),
            (Offset(0), Ok(0))
        );
    });
}

#[test]
fn records_of_a_newer_release_are_skipped_and_unreadable_ones_fail_the_load() {
    for (key, expected) in [(b"newer".as_slice(), Ok(1)), (b"broken", Err(ErrorCode::CoordinatorNotAvailable))] {
        let scratch = Scratch::new("unreadable");
        let (image, owner) = world();
        run(async {
            let shard = open(&scratch.0, &image, owner).await;
            let id = image.topic(InternalTopic::ConsumerOffsets.name()).map(|topic| topic.id).unwrap();
            let partition = shard.partition(crate::model::TopicPartition { topic: id, partition: 0 }).unwrap();
            let mut writes = Writes::<Notes>::new(Now::read());
            writes.put(key, Some(b"?"));
            writes.put(b"a", Some(b"1"));
            let (batch, _) = writes.into_parts();
            let appended = shard.append(&partition, &batch.unwrap(), 0).await.unwrap();
            shard.wait_committed(appended.sequence).await.unwrap();
            let ledger = Ledgers::new(&shard, Notes::default).ledger("any").unwrap();
            let loaded = loop {
                match ledger.step(|notes, _, _| notes.notes.len()).await {
                    Err(ErrorCode::CoordinatorLoadInProgress) => runtime::yield_now().await,
                    other => break other,
                }
            };
            assert_eq!(loaded, expected);
        });
    }
}

#[test]
fn a_deadline_set_by_a_step_fires_and_its_work_can_write() {
    let scratch = Scratch::new("deadline");
    let (image, owner) = world();
    run(async {
        let ledgers = Ledgers::new(&open(&scratch.0, &image, owner).await, Notes::default);
        let ledger = ledgers.ledger("any").unwrap();
        loaded(&ledger).await;
        ledger.step(|notes, now, _| notes.due = Some(now.mono + Duration::from_millis(5))).await.unwrap();
        let rang = async {
            while !ledger.step(|notes, _, _| notes.notes.contains_key(&b"rang"[..])).await.unwrap() {
                runtime::yield_now().await;
            }
        };
        runtime::timeout(Duration::from_secs(10), rang).await.expect("the deadline fires");
    });
}

// COOR-1
#[test]
fn a_ledger_opens_and_closes_with_its_partition_on_the_owning_shard_only() {
    let scratch = Scratch::new("image");
    let (image, owner) = world();
    run(async {
        let none = image_with_nodes(1);
        let shard = open(&scratch.0, &none, owner).await;
        let ledgers = Ledgers::new(&shard, Notes::default);
        assert_eq!(ledgers.ledger("any").err(), Some(ErrorCode::NotCoordinator));
        let update = ImageUpdate::between(&none, &image);
        shard.apply_image(&update).await;
        ledgers.apply_image(&update);
        let ledger = ledgers.ledger("any").unwrap();
        loaded(&ledger).await;

        let mut gone = image.clone();
        let id = image.topic(InternalTopic::ConsumerOffsets.name()).unwrap().id;
        let delete = Command::DeleteTopic { id };
        apply_to(&mut gone, &mut Default::default(), image.index + 1, &[delete]).unwrap();
        let update = ImageUpdate::between(&image, &gone);
        shard.apply_image(&update).await;
        ledgers.apply_image(&update);
        assert_eq!(ledgers.ledger("any").err(), Some(ErrorCode::NotCoordinator));
        assert_eq!(ledger.step(|_, _, _| ()).await, Err(ErrorCode::NotCoordinator));
        assert!(ledgers.all().is_empty());
    });
    let scratch = Scratch::new("image-other");
    run(async {
        let other = ShardId(1 - owner.0);
        let ledgers = Ledgers::new(&open(&scratch.0, &image, other).await, Notes::default);
        assert_eq!(
            (ledgers.ledger("any").err(), ledgers.owner("any")),
            (Some(ErrorCode::NotCoordinator), Ok((0, owner)))
        );
    });
}
