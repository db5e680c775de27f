//! One internal partition and the state machine that its records produce.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::load;
use super::{Now, StateMachine, Writes, code_of_append};
use crate::disk::journal::Sequence;
use crate::metadata::ImageUpdate;
use crate::model::ErrorCode;
use crate::partition::Partition;
use crate::partition::transactions::EndTransaction;
use crate::record::Records;
use crate::record::control::Ending;
use crate::record::validate::Accepted;
use crate::runtime::sync::{First, Notify, Permits, first};
use crate::runtime::{self, Class, Mono};
use crate::shard::Shard;

/// From this time on, a wait for the journal delays deadlines.
pub(super) const STALL: Duration = Duration::from_millis(200);

/// A partition of an internal topic and its state machine.
pub struct Ledger<M> {
    shard: Rc<Shard>,
    partition: Rc<Partition>,
    phase: RefCell<Phase<M>>,
    /// COOR-2: the running step holds the only permit.
    step_permit: Permits,
    /// The newest journal group that contains records of a step.
    sequence: Cell<Sequence>,
    /// The deadline that the clock task sleeps until, and the signal that an earlier one is set.
    armed_deadline: Cell<Option<Mono>>,
    rearm: Notify,
}

enum Phase<M> {
    Loading,
    Ready(M),
    /// The log could not be read. The reason is in this node's log.
    Failed,
    /// The partition moved away from this shard, or was deleted.
    Closed,
}

impl<M: StateMachine> Ledger<M> {
    /// Starts to load the partition. A partition without records is ready at once.
    pub(super) fn open(shard: &Rc<Shard>, partition: Rc<Partition>, machine: M) -> Rc<Ledger<M>> {
        assert_eq!(shard.owner(partition.id), shard.id, "COOR-1: the partition belongs to this shard");
        let ledger = Rc::new(Ledger {
            shard: shard.clone(),
            partition,
            phase: RefCell::new(Phase::Loading),
            step_permit: Permits::new(1),
            sequence: Cell::new(Sequence::ZERO),
            armed_deadline: Cell::new(None),
            rearm: Notify::new(),
        });
        if ledger.partition.log_end() == ledger.partition.log_start() {
            ledger.enter(Phase::Ready(machine));
            runtime::spawn(Class::Foreground, "coordinator", ledger.clone().run());
        } else {
            runtime::spawn(Class::Foreground, "coordinator load", ledger.clone().load(machine));
        }
        ledger
    }

    /// Reads the machine as it is, with the steps that are not durable yet. `None` while it is not loaded.
    pub fn peek<A>(&self, read: impl FnOnce(&M) -> A) -> Option<A> {
        match &*self.phase.borrow() {
            Phase::Ready(machine) => Some(read(machine)),
            Phase::Loading | Phase::Failed | Phase::Closed => None,
        }
    }

    /// The partition that stores the records.
    pub fn partition(&self) -> &Rc<Partition> {
        &self.partition
    }

    /// Drops the machine with its waiters. Every later step fails.
    pub(super) fn close(&self) {
        self.enter(Phase::Closed);
        self.rearm.notify_all();
    }

    /// Enters the next phase: Ready or Failed after Loading, and Closed at the end.
    fn enter(&self, next: Phase<M>) {
        let mut phase = self.phase.borrow_mut();
        let is_legal =
            matches!((&*phase, &next), (Phase::Loading, Phase::Ready(_) | Phase::Failed) | (_, Phase::Closed));
        assert!(is_legal, "a ledger loads once, and stays closed");
        *phase = next;
    }

    async fn load(self: Rc<Self>, mut machine: M) {
        let started = runtime::clock::now();
        match load::load(&self.partition, &mut machine).await {
            _ if self.is_closed() => return,
            Ok(()) => {
                tracing::debug!("{} loaded in {:?}", self.name(), started.elapsed());
                self.enter(Phase::Ready(machine));
            }
            Err(why) => {
                tracing::error!("{} cannot be loaded; its coordinator is unavailable: {why}", self.name());
                self.enter(Phase::Failed);
                return;
            }
        }
        self.run().await;
    }

    /// The partition moved away from this shard, or was deleted. Every later step fails.
    pub fn is_closed(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Closed)
    }

    fn name(&self) -> String {
        format!("{}-{}", self.partition.name, self.partition.id.partition)
    }

    /// The machine's clock task. It ends when the ledger closes.
    async fn run(self: Rc<Self>) {
        let image = self.shard.image();
        self.background_step(move |machine, now, writes| machine.on_loaded(&image, now, writes)).await;
        loop {
            let deadline = match &*self.phase.borrow() {
                Phase::Ready(machine) => machine.deadline(),
                _ => return,
            };
            self.armed_deadline.set(deadline);
            let rearmed = self.rearm.notified();
            match deadline {
                None => rearmed.await,
                Some(at) => {
                    if let First::Left(()) = first(runtime::sleep_until(at), rearmed).await {
                        self.outlast_stall().await;
                        self.background_step(|machine, now, writes| machine.on_deadline(now, writes)).await;
                    }
                }
            }
        }
    }

    /// Waits until the journal has written all records so far. A client whose commit waits for a slow device sends no
    /// heartbeat on that connection, so the time of a stall does not count against sessions: after a long one, they get
    /// as much time again as this waited.
    async fn outlast_stall(&self) {
        if let Ok(stalled) = self.shard.wait_appended().await
            && stalled >= STALL
        {
            tracing::warn!("{}: its deadlines waited {stalled:.1?} for the journal", self.name());
            runtime::sleep(stalled).await;
        }
    }

    /// A step that no request waits for.
    pub(super) async fn background_step(&self, step: impl FnOnce(&mut M, Now, &mut Writes<M>)) {
        if let Err(error) = self.step(step).await
            && !self.is_closed()
        {
            tracing::warn!("{}: a background step failed: {error}", self.name());
            // The work stays due. Pause, so that a full disk does not turn the clock task into a busy loop.
            runtime::sleep(Duration::from_millis(500)).await;
        }
    }

    pub(super) async fn image_changed(&self, update: &ImageUpdate) {
        if matches!(*self.phase.borrow(), Phase::Ready(_)) {
            self.background_step(|machine, now, writes| machine.on_image_changed(update, now, writes)).await;
        }
    }

    /// Decides, writes and replays: all of it or nothing (COOR-3). Waits for earlier steps, and while memory or journal
    /// space is short. The answer must not leave the shard before [`wait_durable`](Self::wait_durable) returns.
    pub async fn step<A>(&self, step: impl FnOnce(&mut M, Now, &mut Writes<M>) -> A) -> Result<A, ErrorCode> {
        let _permit = match self.step_permit.try_acquire(1) {
            Some(permit) => permit,
            None => self.step_permit.acquire(1).await,
        };
        assert_eq!(self.step_permit.available(), 0, "COOR-2: no other step runs");
        let now = Now::read();
        let mut writes = Writes::new(now);
        let answer = self.with_machine(|machine| step(machine, now, &mut writes))?;
        let (batch, callbacks) = writes.into_parts();
        let appended = match &batch {
            None => Ok(()),
            Some(batch) => self.write(batch, now).await,
        };
        self.with_machine(|machine| callbacks.into_iter().for_each(|callback| callback(machine, now, appended)))?;
        let deadline = self.with_machine(|machine| machine.deadline())?;
        if deadline.is_some_and(|next| self.armed_deadline.get().is_none_or(|armed| next < armed)) {
            self.rearm.notify_all();
        }
        appended.map(|()| answer)
    }

    /// Ends a producer's transaction in this partition: writes its marker, and applies or discards the producer's
    /// records. Runs in order with the steps.
    pub async fn end_transaction(&self, end: &EndTransaction) -> Result<Sequence, ErrorCode> {
        let _permit = self.step_permit.acquire(1).await;
        // While the log loads, the load may miss the marker.
        self.with_machine(|_| ())?;
        let produced = self.shard.end_transaction(&self.partition, end, Now::read().wall_ms).await;
        let produced = produced.map_err(|refusal| refusal.error)?;
        self.sequence.set(produced.sequence);
        self.with_machine(|machine| machine.end_transaction(end.producer_id, end.marker.ending == Ending::Commit))?;
        Ok(produced.sequence)
    }

    /// COOR-4: waits until all records that steps have written so far are durable.
    pub async fn wait_durable(&self) -> Result<(), ErrorCode> {
        let sequence = self.sequence.get();
        self.shard.wait_committed(sequence).await.map_err(|_| code_of_append(ErrorCode::KafkaStorageError))?;
        assert!(self.shard.committed() >= sequence, "COOR-4: an answer leaves after its records are durable");
        Ok(())
    }

    /// Whether [`wait_durable`](Self::wait_durable) returns at once.
    pub fn is_durable(&self) -> bool {
        self.shard.committed() >= self.sequence.get()
    }

    fn with_machine<A>(&self, act: impl FnOnce(&mut M) -> A) -> Result<A, ErrorCode> {
        match &mut *self.phase.borrow_mut() {
            Phase::Ready(machine) => Ok(act(machine)),
            Phase::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
            Phase::Failed => Err(ErrorCode::CoordinatorNotAvailable),
            Phase::Closed => Err(ErrorCode::NotCoordinator),
        }
    }

    async fn write(&self, batch: &Accepted<'_>, now: Now) -> Result<(), ErrorCode> {
        let appended = self.shard.append(&self.partition, batch, now.wall_ms).await;
        let produced = appended.map_err(|refusal| {
            tracing::warn!("{}: append failed: {}", self.name(), refusal.error);
            code_of_append(refusal.error)
        })?;
        self.sequence.set(produced.sequence);
        self.with_machine(|machine| {
            for record in Records::new(&batch.header, &batch.records) {
                let record = record.expect("the builder made a valid batch");
                let offset = produced.base_offset + i64::from(record.offset_delta);
                assert!(offset < self.partition.log_end(), "COOR-3: the log has every record that is replayed");
                let replayed = load::replayed_record(&batch.header, offset, &record).expect("every record has a key");
                machine.replay(&replayed).expect("a machine can replay its own records");
            }
        })
    }
}
