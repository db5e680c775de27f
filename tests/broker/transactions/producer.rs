//! A transactional producer that sends exactly the requests of a test.

use std::time::Duration;

use crate::support::bench::{Shared, Topic};
use crate::support::node::Node;
use crate::support::talk::{Produced, Talk, batch_with};
use crate::support::wait_for;
use tidemill::model::ErrorCode;
use tidemill::record::builder::BatchOptions;
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse, TRANSACTION};
use tidemill::wire::txn::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use tidemill::wire::txn::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, DescribedTransaction,
};
use tidemill::wire::txn::end_txn::{EndTxnRequest, EndTxnResponse};
use tidemill::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

/// Two shards behind one port, so that each accepts every request; expired transactions are looked for often.
pub static FORWARD: Shared = Shared::new(
    "transactions",
    &[
        "--shards",
        "2",
        "--set",
        "routing=forward",
        "--set",
        "journal.bytes=134217728",
        "--set",
        "transaction.state.log.num.partitions=4",
        "--set",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms=100",
    ],
);

pub struct Producer {
    pub talk: Talk,
    pub id: String,
    pub producer_id: i64,
    pub epoch: i16,
}

/// Waits until the coordinator's internal topic exists.
pub fn find_coordinator(talk: &mut Talk, id: &str) -> FindCoordinatorResponse {
    let request = FindCoordinatorRequest {
        key_type: TRANSACTION,
        coordinator_keys: vec![id.into()],
        ..FindCoordinatorRequest::default()
    };
    wait_for("there is a coordinator", Duration::from_secs(20), || {
        let answer: FindCoordinatorResponse = talk.call(&request, 6);
        (answer.coordinators[0].error_code == ErrorCode::None).then_some(answer)
    })
}

pub fn init_as(talk: &mut Talk, id: &str, expected: (i64, i16), version: i16) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms: 60_000,
        producer_id: expected.0,
        producer_epoch: expected.1,
    };
    talk.call(&request, version)
}

impl Producer {
    /// Initialises a new producer of the id; waits until the previous one's transaction has ended.
    pub fn new(node: &Node, id: &str) -> Producer {
        let mut talk = Talk::to(node.bootstrap());
        find_coordinator(&mut talk, id);
        talk.transactional_id = Some(id.into());
        let answer = wait_for("the producer is initialised", Duration::from_secs(20), || {
            let answer = init_as(&mut talk, id, (-1, -1), 5);
            let again = [ErrorCode::ConcurrentTransactions, ErrorCode::CoordinatorLoadInProgress];
            (!again.contains(&answer.error_code)).then_some(answer)
        });
        assert_eq!(answer.error_code, ErrorCode::None);
        let (producer_id, epoch) = (answer.producer_id, answer.producer_epoch);
        Producer { talk, id: id.into(), producer_id, epoch }
    }

    /// The error of each partition of the first topic.
    pub fn add(&mut self, topic: &str, partitions: &[i32]) -> Vec<ErrorCode> {
        self.add_at(topic, partitions, 3)
    }

    pub fn add_at(&mut self, topic: &str, partitions: &[i32], version: i16) -> Vec<ErrorCode> {
        let request = AddPartitionsToTxnRequest {
            transactional_id: self.id.clone(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            topics: vec![AddPartitionsToTxnTopic { name: topic.into(), partitions: partitions.into() }],
            ..AddPartitionsToTxnRequest::default()
        };
        let answer: AddPartitionsToTxnResponse = self.talk.call(&request, version);
        let results = answer.results_by_topic[0].results_by_partition.iter();
        results.map(|result| result.partition_error_code).collect()
    }

    pub fn batch(&self, sequence: i32, values: &[&str]) -> Vec<u8> {
        let options = BatchOptions {
            is_transactional: true,
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            base_sequence: sequence,
            ..BatchOptions::default()
        };
        batch_with(options, values)
    }

    pub fn produce(&mut self, version: i16, topic: &Topic, partition: i32, sequence: i32, values: &[&str]) -> Produced {
        let batch = self.batch(sequence, values);
        let name = if version >= 13 { topic.by_id() } else { topic.by_name() };
        self.talk.produce(version, -1, &[(name, partition, &batch)]).remove(0)
    }

    /// Produces under `transaction.version` 2; returns the base offset.
    pub fn append(&mut self, topic: &Topic, partition: i32, sequence: i32, values: &[&str]) -> i64 {
        let answer = wait_for("the transaction before is finished", Duration::from_secs(20), || {
            let answer = self.produce(12, topic, partition, sequence, values);
            (answer.code != ErrorCode::ConcurrentTransactions).then_some(answer)
        });
        assert_eq!(answer.code, ErrorCode::None, "{answer:?}");
        answer.base_offset
    }

    pub fn end_at(&mut self, committed: bool, version: i16) -> EndTxnResponse {
        let request = EndTxnRequest {
            transactional_id: self.id.clone(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            committed,
        };
        self.talk.call(&request, version)
    }

    /// Ends the transaction under version 2, takes the next epoch, and waits until the markers are written.
    pub fn end(&mut self, committed: bool) {
        let answer = self.end_at(committed, 5);
        assert_eq!(answer.error_code, ErrorCode::None);
        (self.producer_id, self.epoch) = (answer.producer_id, answer.producer_epoch);
        self.finished();
    }

    pub fn finished(&mut self) {
        wait_for("the transaction is finished", Duration::from_secs(20), || {
            self.describe().transaction_state.starts_with("Complete").then_some(())
        });
    }

    pub fn describe(&mut self) -> DescribedTransaction {
        describe(&mut self.talk, &self.id)
    }
}

pub fn describe(talk: &mut Talk, id: &str) -> DescribedTransaction {
    let request = DescribeTransactionsRequest { transactional_ids: vec![id.into()] };
    let answer: DescribeTransactionsResponse = talk.call(&request, 0);
    answer.transaction_states.into_iter().next().expect("one was asked for")
}
