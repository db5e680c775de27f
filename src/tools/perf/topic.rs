//! The topic under load: creates it, groups its partitions by leader, and assigns them to connections.

use super::Target;
use crate::tools::Failure;
use crate::tools::client::admin::NewTopic;
use crate::tools::client::offsets::LATEST;
use crate::tools::client::{Client, ClientError, TopicInfo};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A broker and those partitions under load that it leads.
pub struct Leader {
    pub address: String,
    pub partitions: Vec<i32>,
}

/// The leaders of the target's partitions. With `create`, creates the topic if it does not exist.
pub fn leaders(client: &mut Client, target: &Target, create: bool) -> Result<Vec<Leader>, Failure> {
    let topic = match client.topic(&target.topic) {
        Err(ClientError::UnknownTopic { .. }) if create => {
            client.create_topic(&NewTopic {
                name: target.topic.clone(),
                partitions: Some(target.partitions),
                replication_factor: None,
                configs: target.configs.clone(),
            })?;
            wait_for_leaders(client, target)?
        }
        other => other?.clone(),
    };
    let count = usize::try_from(target.partitions).expect("--partitions is at least 1");
    if create && topic.partitions.len() < count {
        return Err(Failure::with_hint(
            format!("topic {} has only {} partitions", topic.name, topic.partitions.len()),
            "choose another --topic, or fewer --partitions",
        ));
    }
    let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in topic.partitions.iter().take(count) {
        by_leader.entry(partition.leader_id).or_default().push(partition.partition);
    }
    let mut leaders = Vec::with_capacity(by_leader.len());
    for (leader_id, partitions) in by_leader {
        let Some(broker) = client.cluster().brokers.get(&leader_id) else {
            return Err(ClientError::UnknownBroker { broker_id: leader_id }.into());
        };
        leaders.push(Leader { address: broker.address(), partitions });
    }
    Ok(leaders)
}

/// Waits until every partition of the new topic has a leader that responds.
fn wait_for_leaders(client: &mut Client, target: &Target) -> Result<TopicInfo, Failure> {
    let deadline = Instant::now() + client.config().timeout;
    loop {
        match client.topic(&target.topic) {
            Ok(topic) if topic.partitions.iter().all(|partition| partition.leader_id >= 0) => {
                let topic = topic.clone();
                // A new leader may not know yet that it leads; Kafka responds with NOT_LEADER_OR_FOLLOWER until then.
                // This call retries.
                let partitions: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
                client.list_offsets(&target.topic, &partitions, LATEST)?;
                return Ok(topic);
            }
            Ok(_) | Err(ClientError::UnknownTopic { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(_) => return Err(Failure::new(format!("topic {} has partitions without a leader", target.topic))),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Assigns partitions to connections. Each element is a connection: the index of its leader, and its partitions.
///
/// Every leader has at least one connection. If a leader has more connections than partitions, several connections
/// share a partition. With `exclusive`, the leader gets fewer connections instead.
pub fn assign_connections(leaders: &[Leader], connections: usize, exclusive: bool) -> Vec<(usize, Vec<i32>)> {
    let connections = connections.max(leaders.len());
    let mut assigned = Vec::with_capacity(connections);
    for (index, leader) in leaders.iter().enumerate() {
        let mut own = connections / leaders.len() + usize::from(index < connections % leaders.len());
        if exclusive {
            own = own.min(leader.partitions.len());
        }
        for number in 0..own {
            let mut partitions: Vec<i32> = leader.partitions.iter().copied().skip(number).step_by(own).collect();
            if partitions.is_empty() {
                partitions.push(leader.partitions[number % leader.partitions.len()]);
            }
            assigned.push((index, partitions));
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaders(counts: &[i32]) -> Vec<Leader> {
        let mut next = 0;
        let mut take = |count: i32| {
            next += count;
            (next - count..next).collect()
        };
        counts.iter().map(|&count| Leader { address: String::new(), partitions: take(count) }).collect()
    }

    #[test]
    fn connections_cover_every_partition_and_share_only_if_they_must() {
        type Expected<'a> = &'a [(usize, &'a [i32])];
        let cases: [(&[i32], usize, bool, Expected); 5] = [
            (&[4], 2, false, &[(0, &[0, 2]), (0, &[1, 3])]),
            (&[2, 2], 3, false, &[(0, &[0]), (0, &[1]), (1, &[2, 3])]),
            (&[1, 1, 1], 2, false, &[(0, &[0]), (1, &[1]), (2, &[2])]),
            (&[1], 3, false, &[(0, &[0]), (0, &[0]), (0, &[0])]),
            (&[1], 3, true, &[(0, &[0])]),
        ];
        for (counts, connections, exclusive, expected) in cases {
            let assigned = assign_connections(&leaders(counts), connections, exclusive);
            let assigned: Vec<_> =
                assigned.iter().map(|(leader, partitions)| (*leader, partitions.as_slice())).collect();
            assert_eq!(assigned, expected, "{counts:?} over {connections}");
        }
    }
}
