//! AddPartitionsToTxn (key 24): adds partitions to a transaction, all of them or none.

use std::rc::Rc;

use super::transactions::{ask, check_coordinator};
use crate::api::gather::by_topic;
use crate::api::server::Server;
use crate::metadata::Image;
use crate::metadata::image::is_internal;
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::router::message::{TransactionOperation, TransactionReply, TransactionRequest};
use crate::wire::txn::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
};

/// The first version that brokers send, with several transactions.
const BATCHED_FROM: i16 = 4;

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> AddPartitionsToTxnResponse {
    let mut response = AddPartitionsToTxnResponse::default();
    if version < BATCHED_FROM {
        let asked = TransactionPartitions {
            producer: (request.producer_id, request.producer_epoch),
            transactional_id: request.transactional_id,
            topics: request.topics,
            is_batched: false,
            verify_only: false,
        };
        response.results_by_topic = asked.answer(server, version).await;
        return response;
    }
    for transaction in request.transactions {
        let asked = TransactionPartitions {
            producer: (transaction.producer_id, transaction.producer_epoch),
            transactional_id: transaction.transactional_id.clone(),
            topics: transaction.topics,
            is_batched: true,
            verify_only: transaction.verify_only,
        };
        let topic_results = asked.answer(server, version).await;
        let transactional_id = transaction.transactional_id;
        response.results_by_transaction.push(AddPartitionsToTxnResult { transactional_id, topic_results });
    }
    response
}

/// One transaction of the request.
struct TransactionPartitions {
    producer: (ProducerId, ProducerEpoch),
    transactional_id: String,
    topics: Vec<AddPartitionsToTxnTopic>,
    is_batched: bool,
    verify_only: bool,
}

impl TransactionPartitions {
    async fn answer(self, server: &Rc<Server>, version: i16) -> Vec<AddPartitionsToTxnTopicResult> {
        let partitions: Vec<(String, i32)> =
            self.topics.iter().flat_map(|topic| topic.partitions.iter().map(|at| (topic.name.clone(), *at))).collect();
        let image = server.shard.image();
        let mut empty = Vec::new();
        let errors = match unknown_partitions(&image, &partitions, self.is_batched) {
            Some(errors) => errors,
            None => {
                // Kafka's answer to an addition names each topic of the request, also one without partitions.
                let topics = self.topics.iter().filter(|topic| topic.partitions.is_empty() && !self.verify_only);
                empty.extend(topics.map(|topic| topic.name.clone()));
                self.ask(server, partitions.clone()).await
            }
        };
        // PRODUCER_FENCED came with version 2.
        let in_version = |error| match error {
            ErrorCode::ProducerFenced if version < 2 => ErrorCode::InvalidProducerEpoch,
            error => error,
        };
        let results = partitions.into_iter().zip(errors).map(|((topic, partition_index), error)| {
            let partition_error_code = in_version(error);
            (topic, Some(AddPartitionsToTxnPartitionResult { partition_index, partition_error_code }))
        });
        let results = results.chain(empty.into_iter().map(|topic| (topic, None)));
        let result = |(name, results_by_partition)| AddPartitionsToTxnTopicResult { name, results_by_partition };
        by_topic(results).into_iter().map(result).collect()
    }

    async fn ask(self, server: &Rc<Server>, partitions: Vec<(String, i32)>) -> Vec<ErrorCode> {
        let count = partitions.len();
        if self.transactional_id.is_empty() {
            return vec![ErrorCode::InvalidRequest; count];
        }
        if let Err(error) = check_coordinator(server, &self.transactional_id) {
            return vec![error; count];
        }
        let producer = self.producer;
        let version = if self.is_batched { 2 } else { 0 };
        let operation = match self.verify_only {
            true => TransactionOperation::Verify { producer, partitions },
            false => TransactionOperation::Add { producer, partitions, version },
        };
        match ask(server, TransactionRequest { transactional_id: self.transactional_id, operation }).await {
            TransactionReply::Partitions(errors) => errors,
            _ => unreachable!("an addition is answered by Partitions"),
        }
    }
}

/// The errors, if a partition cannot be added. The other partitions then get OPERATION_NOT_ATTEMPTED.
fn unknown_partitions(image: &Image, partitions: &[(String, i32)], is_by_broker: bool) -> Option<Vec<ErrorCode>> {
    let is_there =
        |topic: &str, partition: i32| image.topic(topic).is_some_and(|topic| topic.partition(partition).is_some());
    let errors = partitions.iter().map(|(topic, partition)| match () {
        // Clients add `__consumer_offsets` with AddOffsetsToTxn.
        () if is_internal(topic) && !is_by_broker => ErrorCode::TopicAuthorizationFailed,
        () if !is_there(topic, *partition) => ErrorCode::UnknownTopicOrPartition,
        () => ErrorCode::None,
    });
    let mut errors: Vec<ErrorCode> = errors.collect();
    if !errors.iter().any(|error| error.is_error()) {
        return None;
    }
    errors.iter_mut().filter(|error| !error.is_error()).for_each(|error| *error = ErrorCode::OperationNotAttempted);
    Some(errors)
}
