//! One internal partition and the state that its records tell.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::load;
use super::{Now, StateMachine, Writes, code_of_append};
use crate::disk::journal::Sequence;
use crate::metadata::Image;
use crate::model::ErrorCode;
use crate::partition::Partition;
use crate::partition::transactions::EndTransaction;
use crate::record::Records;
use crate::record::control::Ending;
use crate::record::validate::Accepted;
use crate::runtime::sync::{First, Notify, Permits, first};
use crate::runtime::{self, Class, Mono};
use crate::shard::Shard;

pub struct Ledger<M> {
    shard: Rc<Shard>,
    partition: Rc<Partition>,
    phase: RefCell<Phase<M>>,
    /// COOR-2: whoever holds it is the one step that is under way.
    step_permit: Permits,
    /// The journal's newest group that a step has written into.
    sequence: Cell<Sequence>,
    /// What the clock task sleeps to; and a sign that it should look again.
    armed_deadline: Cell<Option<Mono>>,
    rearm: Notify,
}

enum Phase<M> {
    Loading,
    Ready(M),
    /// The log could not be read; why is in this node's own log.
    Failed,
    /// The partition is not this shard's any more.
    Closed,
}

impl<M: StateMachine> Ledger<M> {
    /// Begins to load. A partition without records is ready at once.
    pub(super) fn open(shard: &Rc<Shard>, partition: Rc<Partition>, machine: M) -> Rc<Ledger<M>> {
        let ledger = Rc::new(Ledger {
            shard: shard.clone(),
            partition,
            phase: RefCell::new(Phase::Loading),
            step_permit: Permits::new(1),
            sequence: Cell::new(0),
            armed_deadline: Cell::new(None),
            rearm: Notify::new(),
        });
        if ledger.partition.log.end_offset() == ledger.partition.log.start_offset() {
            *ledger.phase.borrow_mut() = Phase::Ready(machine);
            runtime::spawn(Class::Foreground, "coordinator", ledger.clone().run());
        } else {
            runtime::spawn(Class::Foreground, "coordinator load", ledger.clone().load(machine));
        }
        ledger
    }

    pub fn partition(&self) -> &Rc<Partition> {
        &self.partition
    }

    /// Whoever waits in the machine is let go; every later step is refused.
    pub(super) fn close(&self) {
        *self.phase.borrow_mut() = Phase::Closed;
        self.rearm.notify_all();
    }

    async fn load(self: Rc<Self>, mut machine: M) {
        let started = runtime::clock::now();
        match load::load(&self.partition, &mut machine).await {
            _ if self.is_closed() => return,
            Ok(()) => {
                tracing::debug!("{} is loaded after {:?}", self.name(), started.elapsed());
                *self.phase.borrow_mut() = Phase::Ready(machine);
            }
            Err(why) => {
                tracing::error!("{} cannot be loaded, and what it coordinates is not available: {why}", self.name());
                *self.phase.borrow_mut() = Phase::Failed;
                return;
            }
        }
        self.run().await;
    }

    /// The partition is not this shard's any more: every later step is refused.
    pub fn is_closed(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Closed)
    }

    fn name(&self) -> String {
        format!("{}-{}", self.partition.name, self.partition.id.partition)
    }

    /// The machine's clock, for as long as there is a machine.
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
                        self.background_step(|machine, now, writes| machine.on_deadline(now, writes)).await;
                    }
                }
            }
        }
    }

    /// A step that nobody asked for.
    pub(super) async fn background_step(&self, step: impl FnOnce(&mut M, Now, &mut Writes<M>)) {
        if let Err(error) = self.step(step).await
            && !self.is_closed()
        {
            tracing::warn!("{}: what was due could not be written: {error}", self.name());
            // What is due stays due: not again at once.
            runtime::sleep(std::time::Duration::from_millis(500)).await;
        }
    }

    pub(super) async fn image_changed(&self, before: Arc<Image>, after: Arc<Image>) {
        if matches!(*self.phase.borrow(), Phase::Ready(_)) {
            self.background_step(move |machine, now, writes| machine.on_image_changed(&before, &after, now, writes))
                .await;
        }
    }

    /// Decides, writes, replays: all of it or nothing (COOR-3). Waits only for steps before it, and when memory or the journal
    /// is short. What comes back may be told to nobody before [`wait_durable`](Self::wait_durable).
    pub async fn step<A>(&self, step: impl FnOnce(&mut M, Now, &mut Writes<M>) -> A) -> Result<A, ErrorCode> {
        let _permit = match self.step_permit.try_acquire(1) {
            Some(permit) => permit,
            None => self.step_permit.acquire(1).await,
        };
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
        if deadline
            .is_some_and(|deadline| self.armed_deadline.get().is_none_or(|armed_deadline| deadline < armed_deadline))
        {
            self.rearm.notify_all();
        }
        appended.map(|()| answer)
    }

    /// Ends a producer's transaction here: its marker is written, and what the producer wrote counts or never did. As a step,
    /// after those before it.
    pub async fn end_transaction(&self, end: &EndTransaction) -> Result<Sequence, ErrorCode> {
        let _permit = self.step_permit.acquire(1).await;
        // A log that is being read would not show the marker for sure.
        self.with_machine(|_| ())?;
        let produced = self.shard.end_transaction(&self.partition, end, Now::read().wall_ms).await;
        let produced = produced.map_err(|refusal| refusal.error)?;
        self.sequence.set(produced.sequence);
        self.with_machine(|machine| machine.end_transaction(end.producer_id, end.marker.ending == Ending::Commit))?;
        Ok(produced.sequence)
    }

    /// COOR-4: waits until everything that steps have written so far is durable.
    pub async fn wait_durable(&self) -> Result<(), ErrorCode> {
        self.shard.committed_to(self.sequence.get()).await.map_err(|_| code_of_append(ErrorCode::KafkaStorageError))
    }

    /// Whether [`wait_durable`](Self::wait_durable) will not wait.
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
            tracing::warn!("{}: an append was refused: {}", self.name(), refusal.error);
            code_of_append(refusal.error)
        })?;
        self.sequence.set(produced.sequence);
        self.with_machine(|machine| {
            for record in Records::new(&batch.header, &batch.records) {
                let record = record.expect("a batch as it was built");
                let offset = produced.base_offset + i64::from(record.offset_delta);
                let entry = load::replayed_record(&batch.header, offset, &record).expect("every record has a key");
                machine.replay(&entry).expect("a machine can read what it wrote");
            }
        })
    }
}
