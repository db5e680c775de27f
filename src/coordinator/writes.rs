//! The output of a step: one batch, and callbacks for the result of its append.

use super::Now;
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::record::BatchBuilder;
use crate::record::builder::BatchOptions;
use crate::record::validate::Accepted;

type AfterAppend<M> = Box<dyn FnOnce(&mut M, Now, Result<(), ErrorCode>)>;

/// The records of one step. The log appends all of them or none.
pub struct Writes<M> {
    now: Now,
    batch: Option<BatchBuilder>,
    producer: Option<(ProducerId, ProducerEpoch)>,
    after_append: Vec<AfterAppend<M>>,
}

impl<M> Writes<M> {
    /// No records and no callbacks.
    pub fn new(now: Now) -> Writes<M> {
        Writes { now, batch: None, producer: None, after_append: Vec::new() }
    }

    /// Adds a record. Without a value it is a tombstone.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        let batch = self.batch.get_or_insert_with(|| BatchBuilder::new(BatchOptions::default()));
        batch.append(self.now.wall_ms, Some(key), value, []);
    }

    /// Makes all records part of a producer's open transaction.
    pub fn in_transaction(&mut self, producer: ProducerId, epoch: ProducerEpoch) {
        self.producer = Some((producer, epoch));
    }

    /// Runs the callback after the records are replayed, or with the error of the failed append. Without records it
    /// runs at once.
    pub fn after_append(&mut self, callback: impl FnOnce(&mut M, Now, Result<(), ErrorCode>) + 'static) {
        self.after_append.push(Box::new(callback));
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.batch.is_none()
    }

    /// Discards the records and the callbacks: the step rejects its request after all.
    pub fn clear(&mut self) {
        (self.batch, self.producer) = (None, None);
        self.after_append.clear();
    }

    /// The size of the records so far.
    pub fn bytes(&self) -> usize {
        self.batch.as_ref().map_or(0, BatchBuilder::plain_bytes)
    }

    /// The batch, if there is one, and the callbacks.
    pub(super) fn into_parts(self) -> (Option<Accepted<'static>>, Vec<AfterAppend<M>>) {
        let producer = self.producer;
        let accepted = self.batch.map(|mut batch| {
            if let Some((id, epoch)) = producer {
                batch.set_transactional(id, epoch);
            }
            let (header, records) = batch.finish_apart();
            Accepted { header, records: records.into(), offset_delta_of_max_timestamp: 0, is_as_sent: true }
        });
        (accepted, self.after_append)
    }
}

/// In unit tests of a state machine this replaces the ledger.
#[cfg(test)]
impl<M: super::StateMachine> Writes<M> {
    /// Does the ledger's part without a log: replays the records from `offset` on, or fails them. Returns their keys
    /// and values.
    pub fn replay_into(
        self,
        machine: &mut M,
        offset: i64,
        appended: Result<(), ErrorCode>,
    ) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        use crate::record::Records;
        let now = self.now;
        let (accepted, callbacks) = self.into_parts();
        let mut written = Vec::new();
        if let (Some(accepted), Ok(())) = (&accepted, appended) {
            for record in Records::new(&accepted.header, &accepted.records) {
                let offset = offset + written.len() as i64;
                let replayed =
                    super::load::replayed_record(&accepted.header, crate::model::Offset(offset), &record.unwrap())
                        .unwrap();
                machine.replay(&replayed).unwrap();
                written.push((replayed.key.to_vec(), replayed.value.map(<[u8]>::to_vec)));
            }
        }
        for callback in callbacks {
            callback(machine, now, appended);
        }
        written
    }
}
