//! `tidemill txn`: lists, describes and aborts transactions (KIP-664).

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, ClientError};
use super::connect::Connect;
use super::output::{align_right, or_dash, table, table_of_numbers};
use crate::model::ErrorCode;
use crate::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse, TRANSACTION};
use crate::wire::txn::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeProducersTopic, ProducerState,
};
use crate::wire::txn::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, DescribedTransaction,
};
use crate::wire::txn::list_transactions::{ListTransactionsRequest, ListTransactionsResponse, ListedTransaction};
use crate::wire::txn::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

/// The arguments of `tidemill txn`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// List the transactional ids and the states of their transactions
    List(List),
    /// Show transactional ids, or with --topic the producers and open transactions of its partitions
    Describe(Describe),
    /// Abort a hanging transaction in a partition; find it with `txn describe --topic`
    Abort(Abort),
}

#[derive(clap::Args, Debug)]
struct List {
    /// Show only this state, such as Ongoing; may be repeated
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
struct Describe {
    /// The transactional ids
    #[arg(required_unless_present = "topic", value_name = "TRANSACTIONAL-ID")]
    ids: Vec<String>,
    /// Show the producers of this topic's partitions instead
    #[arg(long, conflicts_with = "ids")]
    topic: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
struct Abort {
    /// The topic
    #[arg(long)]
    topic: String,
    /// The partition number
    #[arg(long)]
    partition: i32,
    /// The offset of the transaction's first record in the partition
    #[arg(long)]
    start_offset: i64,
    #[command(flatten)]
    connect: Connect,
}

/// Runs `tidemill txn`.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match args.verb {
        Verb::List(list) => run_list(list, &mut out),
        Verb::Describe(Describe { topic: Some(topic), connect, .. }) => run_producers(&topic, &connect, &mut out),
        Verb::Describe(describe) => run_describe(describe, &mut out),
        Verb::Abort(abort) => run_abort(abort, &mut out),
    }
}

fn run_list(args: List, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    client.refresh(None)?;
    let brokers: Vec<i32> = client.cluster().brokers.keys().copied().collect();
    let mut all: Vec<(i32, ListedTransaction)> = Vec::new();
    for broker in brokers {
        let request = ListTransactionsRequest { state_filters: args.states.clone(), ..Default::default() };
        let response: ListTransactionsResponse = client.broker(broker)?.call(&request)?;
        ClientError::check(response.error_code, None, || format!("cannot list the transactions of broker {broker}"))?;
        if let Some(unknown) = response.unknown_state_filters.first() {
            return Err(Failure::with_hint(
                format!("{unknown:?} is not a transaction state"),
                "states are Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort",
            ));
        }
        all.extend(response.transaction_states.into_iter().map(|listed| (broker, listed)));
    }
    all.sort_by(|a, b| a.1.transactional_id.cmp(&b.1.transactional_id));
    if args.connect.json {
        let all = all.iter().map(|(broker, listed)| {
            json!({
                "transactional_id": listed.transactional_id, "coordinator": broker,
                "producer_id": listed.producer_id, "state": listed.transaction_state,
            })
        });
        writeln!(out, "{}", Value::Array(all.collect()))?;
    } else if all.is_empty() {
        writeln!(out, "no transactions")?;
    } else {
        let mut table = table(&["transactional id", "coordinator", "producer id", "state"]);
        for (broker, listed) in all {
            table.add_row([
                listed.transactional_id,
                broker.to_string(),
                listed.producer_id.to_string(),
                listed.transaction_state,
            ]);
        }
        align_right(&mut table, [1, 2]);
        writeln!(out, "{table}")?;
    }
    Ok(())
}

fn run_describe(args: Describe, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let mut all = Vec::new();
    for id in &args.ids {
        let coordinator = coordinator(&mut client, id)?;
        let request = DescribeTransactionsRequest { transactional_ids: vec![id.clone()] };
        let response: DescribeTransactionsResponse = client.broker(coordinator)?.call(&request)?;
        let described = response.transaction_states.into_iter().next().unwrap_or_default();
        ClientError::check(described.error_code, None, || format!("cannot describe the transactional id {id:?}"))?;
        all.push((coordinator, described));
    }
    if args.connect.json {
        let all = all.iter().map(|(coordinator, described)| {
            json!({
                "transactional_id": described.transactional_id, "coordinator": coordinator,
                "producer_id": described.producer_id, "producer_epoch": described.producer_epoch,
                "state": described.transaction_state, "timeout_ms": described.transaction_timeout_ms,
                "start_ms": described.transaction_start_time_ms, "partitions": partitions(described),
            })
        });
        writeln!(out, "{}", Value::Array(all.collect()))?;
        return Ok(());
    }
    let heads =
        ["transactional id", "coordinator", "producer id", "epoch", "state", "timeout ms", "started ms", "partitions"];
    let mut table = table(&heads);
    for (coordinator, described) in all {
        let partitions = partitions(&described).join(" ");
        table.add_row([
            described.transactional_id,
            coordinator.to_string(),
            described.producer_id.to_string(),
            described.producer_epoch.to_string(),
            described.transaction_state,
            described.transaction_timeout_ms.to_string(),
            or_dash(described.transaction_start_time_ms),
            partitions,
        ]);
    }
    align_right(&mut table, [1, 2, 3, 5, 6]);
    writeln!(out, "{table}")?;
    Ok(())
}

fn partitions(described: &DescribedTransaction) -> Vec<String> {
    let topics = described.topics.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|index| format!("{}-{index}", topic.topic))).collect()
}

/// The id of the broker that coordinates a transactional id.
fn coordinator(client: &mut Client, id: &str) -> Result<i32, Failure> {
    client.refresh(None)?;
    let request = FindCoordinatorRequest { key: id.into(), key_type: TRANSACTION, ..FindCoordinatorRequest::default() };
    // From v4 on the request has a list of keys. One key is enough here.
    let response: FindCoordinatorResponse = client.bootstrap().call_at_most(&request, 3)?;
    let subject = || format!("cannot find the coordinator of {id:?}");
    ClientError::check(response.error_code, response.error_message, subject)?;
    Ok(response.node_id)
}

/// The active producers of a topic, by partition.
fn producers(client: &mut Client, topic: &str) -> Result<BTreeMap<i32, Vec<ProducerState>>, Failure> {
    let leaders: Vec<(i32, i32)> =
        client.topic(topic)?.partitions.iter().map(|partition| (partition.partition, partition.leader_id)).collect();
    let mut all = BTreeMap::new();
    for (partition, leader) in leaders {
        let topics = vec![DescribeProducersTopic { name: topic.into(), partition_indexes: vec![partition] }];
        let response: DescribeProducersResponse = client.broker(leader)?.call(&DescribeProducersRequest { topics })?;
        let result = response.topics.into_iter().flat_map(|topic| topic.partitions).next().unwrap_or_default();
        let subject = || format!("cannot describe the producers of {topic}-{partition}");
        ClientError::check(result.error_code, result.error_message, subject)?;
        all.insert(partition, result.active_producers);
    }
    Ok(all)
}

fn run_producers(topic: &str, connect: &Connect, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = connect.client()?;
    let all = producers(&mut client, topic)?;
    let rows = || all.iter().flat_map(|(partition, producers)| producers.iter().map(move |p| (partition, p)));
    if connect.json {
        let rows = rows().map(|(partition, producer)| {
            json!({
                "topic": topic, "partition": partition, "producer_id": producer.producer_id,
                "producer_epoch": producer.producer_epoch, "last_sequence": producer.last_sequence,
                "last_timestamp": producer.last_timestamp, "coordinator_epoch": producer.coordinator_epoch,
                "transaction_start_offset": producer.current_txn_start_offset,
            })
        });
        writeln!(out, "{}", Value::Array(rows.collect()))?;
        return Ok(());
    }
    if rows().next().is_none() {
        writeln!(out, "{topic} has no active producers")?;
        return Ok(());
    }
    let heads = ["partition", "producer id", "epoch", "last sequence", "last timestamp", "transaction begins at"];
    let mut table = table_of_numbers(&heads, 0);
    for (partition, producer) in rows() {
        table.add_row([
            partition.to_string(),
            producer.producer_id.to_string(),
            producer.producer_epoch.to_string(),
            or_dash(producer.last_sequence.into()),
            or_dash(producer.last_timestamp),
            or_dash(producer.current_txn_start_offset),
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(())
}

fn run_abort(args: Abort, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let Abort { topic, partition, start_offset, connect } = args;
    let all = producers(&mut client, &topic)?;
    let of_partition =
        all.get(&partition).ok_or_else(|| Failure::new(format!("{topic} has no partition {partition}")))?;
    let open = of_partition.iter().find(|producer| producer.current_txn_start_offset == start_offset);
    let open = open.filter(|_| start_offset >= 0).ok_or_else(|| {
        Failure::with_hint(
            format!("no open transaction in {topic}-{partition} begins at offset {start_offset}"),
            format!("list the open transactions with `tidemill txn describe --topic {topic}`"),
        )
    })?;
    let marker = WritableTxnMarker {
        producer_id: open.producer_id,
        producer_epoch: open.producer_epoch as i16,
        transaction_result: false,
        topics: vec![WritableTxnMarkerTopic { name: topic.clone(), partition_indexes: vec![partition] }],
        // The epoch is -1 if the partition has no marker of this producer yet.
        coordinator_epoch: open.coordinator_epoch.max(0),
        transaction_version: 0,
    };
    let leader = client.topic(&topic)?.partition(partition)?.leader_id;
    let response: WriteTxnMarkersResponse =
        client.broker(leader)?.call(&WriteTxnMarkersRequest { markers: vec![marker] })?;
    let topics = response.markers.into_iter().flat_map(|marker| marker.topics);
    let result = topics.flat_map(|topic| topic.partitions).next();
    let code = result.map_or(ErrorCode::UnknownServerError, |result| result.error_code);
    ClientError::check(code, None, || format!("cannot abort the transaction in {topic}-{partition}"))?;
    let producer_id = open.producer_id;
    if connect.json {
        let aborted = json!({
            "topic": topic, "partition": partition, "producer_id": producer_id, "start_offset": start_offset,
        });
        writeln!(out, "{aborted}")?;
    } else {
        writeln!(out, "aborted the transaction of producer {producer_id} in {topic}-{partition}")?;
    }
    Ok(())
}
