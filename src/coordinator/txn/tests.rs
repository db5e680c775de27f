//! The transaction state machine without a log: each step's records are replayed at once.

use super::*;
use crate::coordinator::StateMachine;
use crate::model::{ErrorCode, Offset};
use ErrorCode::{
    ConcurrentTransactions, InvalidProducerIdMapping, InvalidTransactionTimeout, InvalidTxnState, ProducerFenced,
    TransactionAbortable,
};

const ID: &str = "tx";
/// The fresh producer id, where the test provides one.
const FRESH: i64 = 500;

struct World {
    machine: Transactions,
    now: Now,
    offset: i64,
}

fn world() -> World {
    let settings = Settings {
        max_timeout_ms: 900_000,
        id_expiration_ms: 1_000_000,
        abort_interval_ms: 10_000,
        expire_interval_ms: 100_000,
    };
    let machine = Transactions::new(Rc::new(settings), Rc::default());
    World { machine, now: Now { mono: Mono::from_nanos(1), wall_ms: 1_000_000 }, offset: 0 }
}

impl World {
    fn step<A>(&mut self, step: impl FnOnce(&mut Transactions, Now, &mut Writes<Transactions>) -> A) -> A {
        let mut writes = Writes::new(self.now);
        let answer = step(&mut self.machine, self.now, &mut writes);
        self.offset += writes.replay_into(&mut self.machine, self.offset, Ok(())).len() as i64;
        answer
    }

    fn init(&mut self, expected: Option<(i64, i16)>) -> Result<(i64, i16), ErrorCode> {
        let init = InitProducer { timeout_ms: 60_000, expected };
        match self.step(|machine, now, writes| machine.init(ID, init, None, now, writes))? {
            ProducerDecision::Producer { id, epoch } => Ok((id, epoch)),
            ProducerDecision::NeedsProducerId => {
                match self.step(|machine, now, writes| machine.init(ID, init, Some(FRESH), now, writes))? {
                    ProducerDecision::Producer { id, epoch } => Ok((id, epoch)),
                    ProducerDecision::NeedsProducerId => panic!("a fresh producer id was provided"),
                }
            }
        }
    }

    fn add_partitions(&mut self, producer: (i64, i16), partitions: &[i32], version: i16) -> Result<(), ErrorCode> {
        let partitions: Vec<_> = partitions.iter().map(|at| ("t".to_string(), *at)).collect();
        self.step(|machine, now, writes| machine.add_partitions(ID, producer, &partitions, version, now, writes))
    }

    fn end_v1(&mut self, producer: (i64, i16), ending: Ending) -> Result<(), ErrorCode> {
        self.step(|machine, now, writes| machine.end_v1(ID, producer, ending, now, writes))
    }

    fn end_v2(&mut self, producer: (i64, i16), ending: Ending) -> Result<(i64, i16), ErrorCode> {
        let end =
            |fresh| move |m: &mut Transactions, now, w: &mut Writes<_>| m.end_v2(ID, producer, ending, fresh, now, w);
        match self.step(end(None))? {
            ProducerDecision::Producer { id, epoch } => Ok((id, epoch)),
            ProducerDecision::NeedsProducerId => match self.step(end(Some(FRESH + 1)))? {
                ProducerDecision::Producer { id, epoch } => Ok((id, epoch)),
                ProducerDecision::NeedsProducerId => panic!("a fresh producer id was provided"),
            },
        }
    }

    /// Does the marker writer's part. Returns the markers that it would write.
    fn finish(&mut self) -> PendingMarkers {
        assert_eq!(self.machine.prepared.ids.borrow_mut().pop_front().as_deref(), Some(ID), "the id is queued");
        let pending_markers = self.machine.pending_markers(ID).expect("its end is decided");
        self.step(|machine, now, writes| machine.complete(ID, &pending_markers, now, writes));
        pending_markers
    }

    fn state(&self) -> (TransactionState, i64, i16) {
        let transaction = self.machine.get(ID).expect("it is known");
        (transaction.state, transaction.producer_id, transaction.epoch)
    }

    /// Restores the machine from the last record, as after a restart.
    fn restart(&mut self) {
        let value = self.machine.by_id[ID].to_value().to_bytes();
        let (now, offset) = (self.now, self.offset);
        *self = world();
        (self.now, self.offset) = (now, offset);
        let key = key(ID);
        let record =
            ReplayedRecord { offset: Offset(0), timestamp_ms: 0, key: &key, value: Some(&value), transaction: None };
        self.machine.replay(&record).expect("readable");
        self.step(|machine, now, writes| machine.on_loaded(&Default::default(), now, writes));
    }

    /// Advances the clock and runs the due work.
    fn look(&mut self, after_ms: i64) {
        self.now.wall_ms += after_ms;
        self.now.mono = self.machine.deadline().expect("a sweep is due");
        self.step(|machine, now, writes| machine.on_deadline(now, writes));
    }

    fn with_epoch(&mut self, epoch: i16) {
        self.machine.by_id.get_mut(ID).expect("it is known").epoch = epoch;
    }
}

#[test]
fn statement_65_each_producer_of_an_id_has_the_next_epoch() {
    let mut world = world();
    assert_eq!(world.init(None), Ok((FRESH, 0)));
    assert_eq!(world.init(None), Ok((FRESH, 1)));
    assert_eq!(world.add_partitions((FRESH, 0), &[0], 0), Err(ProducerFenced));
    assert_eq!(world.add_partitions((FRESH + 9, 1), &[0], 0), Err(InvalidProducerIdMapping));
    assert_eq!(world.add_partitions((FRESH, 1), &[0, 1], 0), Ok(()));
    // The coordinator aborts an open transaction first, with an epoch that no producer has.
    assert_eq!(world.init(None), Err(ConcurrentTransactions));
    assert_eq!(world.state(), (TransactionState::PrepareAbort, FRESH, 2));
    assert_eq!(world.init(None), Err(ConcurrentTransactions));
    assert_eq!(world.end_v1((FRESH, 1), Ending::Commit), Err(ProducerFenced));
    let finished = world.finish();
    assert_eq!((finished.producer_epoch, finished.ending, finished.is_v2), (2, Ending::Abort, true));
    assert_eq!(finished.partitions, [("t".into(), 0), ("t".into(), 1)]);
    assert_eq!(world.init(None), Ok((FRESH, 3)));
}

#[test]
fn statement_66_a_timeout_must_be_positive_and_within_the_maximum() {
    let mut world = world();
    for timeout_ms in [0, -1, 900_001] {
        let init = InitProducer { timeout_ms, expected: None };
        let refused = world.step(|machine, now, writes| machine.init(ID, init, Some(FRESH), now, writes));
        assert_eq!(refused, Err(InvalidTransactionTimeout), "{timeout_ms}");
    }
    assert!(world.machine.get(ID).is_none());
}

#[test]
fn statement_67_a_producer_may_raise_its_own_epoch_and_retry() {
    let mut world = world();
    world.init(None).unwrap();
    assert_eq!(world.init(Some((FRESH, 0))), Ok((FRESH, 1)));
    assert_eq!(world.init(Some((FRESH, 0))), Ok((FRESH, 1)), "its answer was lost");
    assert_eq!(world.init(Some((FRESH, 1))), Ok((FRESH, 2)));
    assert_eq!(world.init(Some((FRESH, 0))), Err(ProducerFenced));
    assert_eq!(world.init(Some((FRESH + 9, 2))), Err(ProducerFenced));
    // Another producer took over: the earlier epochs are invalid.
    assert_eq!(world.init(None), Ok((FRESH, 3)));
    assert_eq!(world.init(Some((FRESH, 2))), Err(ProducerFenced));
}

#[test]
fn statement_68_exhausted_epochs_lead_to_another_producer_id() {
    let mut world = world();
    world.init(None).unwrap();
    world.with_epoch(i16::MAX - 1);
    world.machine.by_id.get_mut(ID).unwrap().producer_id = 7;
    assert_eq!(world.init(Some((7, i16::MAX - 2))), Err(ProducerFenced));
    assert_eq!(world.init(None), Ok((FRESH, 0)));
    assert_eq!(world.machine.get(ID).unwrap().previous_producer_id, 7);
    // The previous producer, whose answer was lost, tries to continue.
    world.init(None).unwrap();
    assert_eq!(world.init(Some((7, i16::MAX - 1))), Err(ProducerFenced), "another producer took over");
}

// TXN-1
#[test]
fn statement_71_an_end_may_be_retried_but_not_changed() {
    for (ending, other, complete) in [
        (Ending::Commit, Ending::Abort, TransactionState::CompleteCommit),
        (Ending::Abort, Ending::Commit, TransactionState::CompleteAbort),
    ] {
        let mut world = world();
        let producer = world.init(None).unwrap();
        assert_eq!(world.end_v1(producer, ending), Err(InvalidTxnState), "no transaction is open");
        world.add_partitions(producer, &[0], 0).unwrap();
        assert_eq!(world.end_v1(producer, ending), Ok(()));
        assert_eq!(world.end_v1(producer, ending), Err(ConcurrentTransactions));
        assert_eq!(world.end_v1(producer, other), Err(ConcurrentTransactions));
        assert_eq!(world.add_partitions(producer, &[1], 0), Err(ConcurrentTransactions));
        let finished = world.finish();
        assert_eq!((finished.ending, finished.is_v2, finished.producer_epoch), (ending, false, producer.1));
        assert_eq!(world.state(), (complete, producer.0, producer.1));
        assert_eq!(world.end_v1(producer, ending), Ok(()));
        assert_eq!(world.end_v1(producer, other), Err(InvalidTxnState));
        assert_eq!(world.add_partitions(producer, &[1], 0), Ok(()));
        assert_eq!(world.machine.get(ID).unwrap().partitions.len(), 1, "the earlier partitions are removed");
        assert!(!world.machine.get(ID).unwrap().has("t", 0));
    }
}

#[test]
fn under_version_2_each_end_raises_the_epoch() {
    for (ending, other) in [(Ending::Commit, Ending::Abort), (Ending::Abort, Ending::Commit)] {
        let mut world = world();
        let producer = world.init(None).unwrap();
        world.add_partitions(producer, &[0], 2).unwrap();
        let next = (producer.0, producer.1 + 1);
        assert_eq!(world.end_v2(producer, ending), Ok(next));
        assert_eq!(world.end_v2(producer, ending), Err(ConcurrentTransactions), "a retry");
        assert_eq!(world.end_v2(producer, other), Err(ConcurrentTransactions));
        // A producer that ends its next, empty transaction must wait; it is not fenced.
        assert_eq!(world.end_v2(next, ending), Err(ConcurrentTransactions), "the previous one is completing");
        let finished = world.finish();
        assert_eq!((finished.producer_epoch, finished.is_v2), (next.1, true));
        assert_eq!(world.end_v2(producer, ending), Ok(next), "a late retry");
        assert_eq!(world.end_v2(producer, other), Err(InvalidTxnState));
        assert_eq!(world.add_partitions(producer, &[0], 2), Err(ProducerFenced));
        assert_eq!(world.add_partitions(next, &[0], 2), Ok(()));
        assert_eq!(world.end_v2(next, ending), Ok((producer.0, next.1 + 1)));
    }
}

#[test]
fn under_version_2_an_empty_transaction_can_be_aborted_but_not_committed() {
    let mut world = world();
    let producer = world.init(None).unwrap();
    assert_eq!(world.end_v2(producer, Ending::Commit), Err(InvalidTxnState));
    let next = world.end_v2(producer, Ending::Abort).unwrap();
    assert_eq!(next, (producer.0, producer.1 + 1));
    assert_eq!(world.finish().partitions, []);
    let after = world.end_v2(next, Ending::Abort).unwrap();
    assert_eq!(after.1, next.1 + 1);
}

#[test]
fn under_version_2_an_end_with_exhausted_epochs_switches_the_producer_id() {
    let mut world = world();
    world.init(None).unwrap();
    world.with_epoch(i16::MAX - 1);
    let producer = (FRESH, i16::MAX - 1);
    world.add_partitions(producer, &[0], 2).unwrap();
    assert_eq!(world.end_v2(producer, Ending::Commit), Ok((FRESH + 1, 0)));
    assert_eq!(world.state(), (TransactionState::PrepareCommit, FRESH, i16::MAX), "its markers have the old id");
    // The producer may use the id from its answer only when the transaction has completed.
    let next = (FRESH + 1, 0);
    assert_eq!(world.add_partitions(next, &[0], 2), Err(ConcurrentTransactions));
    assert_eq!(world.end_v2(next, Ending::Abort), Err(ConcurrentTransactions));
    assert_eq!(world.init(Some(next)), Err(ConcurrentTransactions));
    world.restart();
    assert_eq!(world.finish().producer_epoch, i16::MAX);
    assert_eq!(world.state(), (TransactionState::CompleteCommit, FRESH + 1, 0));
    assert_eq!(world.end_v2(producer, Ending::Commit), Ok((FRESH + 1, 0)), "a retry");
    assert_eq!(world.add_partitions((FRESH + 1, 0), &[0], 2), Ok(()));
}

#[test]
fn fencing_uses_the_last_epoch_and_no_producer_gets_it() {
    let last = (FRESH, i16::MAX - 1);
    let fenced = || {
        let mut world = world();
        world.init(None).unwrap();
        world.with_epoch(last.1);
        world.add_partitions(last, &[0], 2).unwrap();
        world.look(60_001);
        assert_eq!(world.state(), (TransactionState::PrepareAbort, FRESH, i16::MAX));
        assert_eq!(world.end_v2(last, Ending::Abort), Err(ConcurrentTransactions));
        world.finish();
        let fencing = (FRESH, i16::MAX);
        assert_eq!(world.add_partitions(fencing, &[0], 2), Err(ProducerFenced));
        assert_eq!(world.end_v2(fencing, Ending::Abort), Err(ProducerFenced));
        assert_eq!(world.end_v1(fencing, Ending::Abort), Err(ProducerFenced));
        world
    };
    // The producer aborts the transaction that the coordinator has aborted.
    let mut world = fenced();
    assert_eq!(world.end_v2(last, Ending::Commit), Err(InvalidTxnState));
    assert_eq!(world.end_v2(last, Ending::Abort), Ok((FRESH + 1, 0)));
    assert_eq!(world.end_v2(last, Ending::Abort), Ok((FRESH + 1, 0)), "a retry");
    assert_eq!(world.add_partitions((FRESH + 1, 0), &[0], 2), Ok(()));
    // Or the producer initializes again.
    let mut world = fenced();
    world.machine.by_id.get_mut(ID).unwrap().producer_id = 7;
    assert_eq!(world.init(Some((7, last.1 - 1))), Err(ProducerFenced));
    assert_eq!(world.init(Some((7, last.1))), Ok((FRESH, 0)));
    assert_eq!(world.init(Some((7, last.1))), Ok((FRESH, 0)), "a retry");
}

#[test]
fn expired_transactions_are_aborted_in_batches_that_the_topic_accepts() {
    let mut world = world();
    let partitions: Vec<_> = (0..9_000).map(|at| ("t".to_string(), at)).collect();
    let init = InitProducer { timeout_ms: 60_000, expected: None };
    for number in 0..30 {
        let id = format!("id-{number}");
        world.step(|machine, now, writes| machine.init(&id, init, Some(number), now, writes)).unwrap();
        world
            .step(|machine, now, writes| machine.add_partitions(&id, (number, 0), &partitions, 2, now, writes))
            .unwrap();
    }
    let is_open = |world: &World| world.machine.by_id.values().any(|known| known.state == TransactionState::Ongoing);
    world.now.wall_ms += 60_001;
    for _ in 0..40 {
        world.now.mono = world.machine.deadline().expect("a sweep is due");
        let mut writes = Writes::new(world.now);
        world.machine.on_deadline(world.now, &mut writes);
        assert!(writes.bytes() < 256 << 10, "{}", writes.bytes());
        writes.replay_into(&mut world.machine, world.offset, Ok(()));
    }
    assert!(!is_open(&world));
}

#[test]
fn statement_78_a_transaction_that_exceeds_its_timeout_is_aborted() {
    let mut world = world();
    let producer = world.init(None).unwrap();
    world.add_partitions(producer, &[3], 2).unwrap();
    world.look(60_000);
    assert_eq!(world.state().0, TransactionState::Ongoing);
    world.look(1);
    assert_eq!(world.state(), (TransactionState::PrepareAbort, producer.0, producer.1 + 1));
    assert_eq!(world.end_v1(producer, Ending::Commit), Err(ProducerFenced));
    assert_eq!(world.finish().partitions, [("t".into(), 3)]);
    assert_eq!(world.add_partitions(producer, &[3], 2), Err(ProducerFenced));
}

#[test]
fn an_unused_id_is_removed_unless_its_transaction_is_open() {
    let mut world = world();
    let producer = world.init(None).unwrap();
    let sweep = |world: &mut World, after_ms: i64| {
        world.now.wall_ms += after_ms;
        for _ in 0..20 {
            let Some(at) = world.machine.deadline() else { return };
            world.now.mono = at;
            world.step(|machine, now, writes| machine.on_deadline(now, writes));
        }
    };
    sweep(&mut world, 999_999);
    assert!(world.machine.get(ID).is_some());
    sweep(&mut world, 1);
    assert!(world.machine.get(ID).is_none());
    assert_eq!(world.machine.deadline(), None, "no sweep is needed");
    assert_eq!(world.add_partitions(producer, &[0], 2), Err(InvalidProducerIdMapping));
}

#[test]
fn a_decided_end_is_completed_after_a_restart() {
    let mut world = world();
    let producer = world.init(None).unwrap();
    world.add_partitions(producer, &[0, 5], 2).unwrap();
    world.end_v2(producer, Ending::Commit).unwrap();
    world.restart();
    assert_eq!(world.add_partitions((producer.0, producer.1 + 1), &[0], 2), Err(ConcurrentTransactions));
    let finished = world.finish();
    assert_eq!((finished.ending, finished.partitions.len(), finished.is_v2), (Ending::Commit, 2, true));
    assert_eq!(world.state().0, TransactionState::CompleteCommit);
    // An open transaction stays open.
    world.add_partitions((producer.0, producer.1 + 1), &[0], 2).unwrap();
    world.restart();
    assert_eq!(world.state(), (TransactionState::Ongoing, producer.0, producer.1 + 1));
    assert!(world.machine.prepared.ids.borrow().is_empty());
}

#[test]
fn verification_accepts_only_partitions_of_the_open_transaction() {
    let mut world = world();
    let producer = world.init(None).unwrap();
    let verify = |world: &World, producer, at: &[i32]| {
        let partitions: Vec<_> = at.iter().map(|at| ("t".to_string(), *at)).collect();
        world.machine.verify(ID, producer, &partitions)
    };
    assert_eq!(verify(&world, producer, &[0]), Ok(vec![TransactionAbortable]));
    world.add_partitions(producer, &[0], 0).unwrap();
    assert_eq!(verify(&world, producer, &[0, 1]), Ok(vec![ErrorCode::None, TransactionAbortable]));
    assert_eq!(verify(&world, (producer.0, 9), &[0]), Err(ProducerFenced));
    assert_eq!(verify(&world, (9, producer.1), &[0]), Err(InvalidProducerIdMapping));
    world.end_v1(producer, Ending::Commit).unwrap();
    assert_eq!(verify(&world, producer, &[0]), Err(ConcurrentTransactions));
    world.finish();
    assert_eq!(verify(&world, producer, &[0]), Ok(vec![TransactionAbortable]));
    assert_eq!(world.machine.verify("other", producer, &[]), Err(InvalidProducerIdMapping));
}

// TXN-1
#[test]
fn a_prepared_state_becomes_only_its_own_complete_state() {
    let all: Vec<TransactionState> = (0..8).filter_map(TransactionState::from_code).collect();
    let followers =
        |state: TransactionState| all.iter().copied().filter(|next| state.can_become(*next)).collect::<Vec<_>>();
    assert_eq!(followers(TransactionState::PrepareCommit), [TransactionState::CompleteCommit]);
    assert_eq!(followers(TransactionState::PrepareAbort), [TransactionState::CompleteAbort]);
    assert!(all.iter().all(|state| state.is_prepared() || !state.can_become(TransactionState::CompleteCommit)));
}

#[test]
fn a_failed_append_changes_nothing() {
    let mut world = world();
    let producer = world.init(None).unwrap();
    world.add_partitions(producer, &[0], 2).unwrap();
    let before = world.machine.by_id.clone();
    let mut writes = Writes::new(world.now);
    world.machine.end_v2(ID, producer, Ending::Commit, None, world.now, &mut writes).unwrap();
    writes.replay_into(&mut world.machine, world.offset, Err(ErrorCode::NotCoordinator));
    assert_eq!(world.machine.by_id, before);
    assert!(world.machine.prepared.ids.borrow().is_empty(), "an undecided end must not get markers");
}

#[test]
fn a_record_restores_everything_but_the_last_epoch() {
    let mut world = world();
    let producer = world.init(None).unwrap();
    world.add_partitions(producer, &[4, 0], 2).unwrap();
    let known = world.machine.get(ID).unwrap().clone();
    let value = known.to_value().to_bytes();
    assert_eq!(value[..2], [0, 1], "version 1");
    let read = Transaction::from_value(&TransactionLogValue::parse(&value).unwrap()).unwrap();
    assert_eq!(read, Transaction { last_epoch: -1, ..known });
    let mut unknown_state = world.machine.get(ID).unwrap().to_value();
    unknown_state.transaction_status = 9;
    assert!(Transaction::from_value(&unknown_state).is_err());
}
