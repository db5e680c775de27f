//! A transactional producer of protocol version 2 (KIP-890). It produces, commits the offsets of a group and ends the
//! transaction, one request after another. Then it uses the epoch from the EndTxn response.

use std::collections::HashMap;

use tidemill::model::{ErrorCode, Offset};
use tidemill::record::header::attributes;
use tidemill::record::{Batch, TimestampType};
use tidemill::wire::Topic;
use tidemill::wire::admin::find_coordinator::TRANSACTION;
use tidemill::wire::group::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
};
use tidemill::wire::txn::end_txn::{EndTxnRequest, EndTxnResponse};
use tidemill::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::cluster::{coordinators, retried};
use super::talk::Talk;

/// A transactional producer and its connection to the transaction coordinator.
pub struct Producer {
    /// The transactional id.
    id: String,
    coordinator: Talk,
    producer_id: i64,
    epoch: i16,
    /// The next sequence of each partition.
    sequences: HashMap<i32, i32>,
}

impl Producer {
    /// Initializes the producer with the transactional id `id`.
    pub fn new(bootstrap: &str, id: &str) -> Producer {
        let mut coordinator = Talk::to(&coordinators(bootstrap, TRANSACTION, &[id.into()])[0]);
        let request = InitProducerIdRequest {
            transactional_id: Some(id.into()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let (producer_id, epoch) = retried(|| {
            let response: InitProducerIdResponse = coordinator.call(&request, 5);
            (response.error_code, (response.producer_id, response.producer_epoch))
        });
        Producer { id: id.into(), coordinator, producer_id, epoch, sequences: HashMap::new() }
    }

    /// A connection to a leader for this producer's records.
    pub fn leader(&self, address: &str) -> Talk {
        let mut talk = Talk::to(address);
        talk.transactional_id = Some(self.id.clone());
        talk
    }

    /// Produces the records of a batch as part of the transaction.
    pub fn produce(&mut self, leader: &mut Talk, topic: &str, partition: i32, batch: &Batch<'_>) {
        let sequence = self.sequences.entry(partition).or_default();
        let mut header = batch.header;
        header.base_offset = Offset(0);
        header.attributes = attributes(header.codec().expect("a known codec"), TimestampType::CreateTime, true, false);
        (header.producer_id, header.producer_epoch, header.base_sequence) = (self.producer_id, self.epoch, *sequence);
        header.crc = header.crc_with(batch.stored_records());
        let bytes = [&header.encode()[..], batch.stored_records()].concat();
        *sequence += header.records_count;
        retried(|| (leader.produce(12, -1, &[(Topic::Name(topic), partition, &bytes)])[0].code, ()));
    }

    /// Commits the offset of a group as part of the transaction.
    pub fn commit(&mut self, group_coordinator: &mut Talk, group: &str, topic: &str, partition: i32, offset: i64) {
        let partition = TxnOffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            committed_metadata: Some(String::new()),
            ..Default::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: self.id.clone(),
            group_id: group.into(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: topic.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        retried(|| {
            let response: TxnOffsetCommitResponse = group_coordinator.call(&request, 5);
            (response.topics[0].partitions[0].error_code, ())
        });
    }

    /// Commits the transaction.
    pub fn end(&mut self) {
        let request = EndTxnRequest {
            transactional_id: self.id.clone(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            committed: true,
        };
        let response: EndTxnResponse = self.coordinator.call(&request, 5);
        assert_eq!(response.error_code, ErrorCode::None, "EndTxn of {}", self.id);
        (self.producer_id, self.epoch) = (response.producer_id, response.producer_epoch);
        self.sequences.clear();
    }
}
