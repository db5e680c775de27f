//! The topic under load: made when it is not there, its partitions grouped by leader, connections shared out.

use super::Target;
use crate::tools::Failure;
use crate::tools::client::admin::NewTopic;
use crate::tools::client::offsets::LATEST;
use crate::tools::client::{Client, ClientError, TopicInfo};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A broker and the partitions it leads, among those under load.
pub struct Leader {
    pub address: String,
    pub partitions: Vec<i32>,
}

/// The leaders of the target's partitions. Makes the topic if `create`.
pub fn leaders(client: &mut Client, target: &Target, create: bool) -> Result<Vec<Leader>, Failure> {
    let topic = match client.topic(&target.topic) {
        Err(ClientError::UnknownTopic { .. }) if create => {
            client.create_topic(&NewTopic {
                name: target.topic.clone(),
                partitions: Some(target.partitions),
                replication_factor: None,
                configs: target.configs.clone(),
            })?;
            appeared(client, target)?
        }
        other => other?.clone(),
    };
    let wanted = usize::try_from(target.partitions).expect("from 1 on");
    if create && topic.partitions.len() < wanted {
        let failure = Failure::new(format!("topic {} has only {} partitions", topic.name, topic.partitions.len()));
        return Err(failure.hinted("choose another --topic, or fewer --partitions"));
    }
    let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in topic.partitions.iter().take(wanted) {
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

/// The topic just made, once it is whole and every partition has a leader.
fn appeared(client: &mut Client, target: &Target) -> Result<TopicInfo, Failure> {
    let deadline = Instant::now() + client.config().timeout;
    loop {
        match client.topic(&target.topic) {
            Ok(topic) if topic.partitions.iter().all(|partition| partition.leader_id >= 0) => {
                let topic = topic.clone();
                // A leader that is named need not know it yet; Kafka's first answers would be NOT_LEADER_OR_FOLLOWER.
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

/// Which partitions each connection carries: (leader, partitions). Every leader has a connection; a partition has
/// just one as long as its leader has at least as many partitions as connections, and else several share it, unless
/// `apart`.
pub fn share_out(leaders: &[Leader], connections: usize, apart: bool) -> Vec<(usize, Vec<i32>)> {
    let connections = connections.max(leaders.len());
    let mut lines = Vec::with_capacity(connections);
    for (index, leader) in leaders.iter().enumerate() {
        let mut own = connections / leaders.len() + usize::from(index < connections % leaders.len());
        if apart {
            own = own.min(leader.partitions.len());
        }
        for turn in 0..own {
            let mut partitions: Vec<i32> = leader.partitions.iter().copied().skip(turn).step_by(own).collect();
            if partitions.is_empty() {
                partitions.push(leader.partitions[turn % leader.partitions.len()]);
            }
            lines.push((index, partitions));
        }
    }
    lines
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
    fn connections_cover_every_partition_and_share_none_needlessly() {
        type Expected<'a> = &'a [(usize, &'a [i32])];
        let cases: [(&[i32], usize, bool, Expected); 5] = [
            (&[4], 2, false, &[(0, &[0, 2]), (0, &[1, 3])]),
            (&[2, 2], 3, false, &[(0, &[0]), (0, &[1]), (1, &[2, 3])]),
            (&[1, 1, 1], 2, false, &[(0, &[0]), (1, &[1]), (2, &[2])]),
            (&[1], 3, false, &[(0, &[0]), (0, &[0]), (0, &[0])]),
            (&[1], 3, true, &[(0, &[0])]),
        ];
        for (counts, connections, apart, expected) in cases {
            let shared = share_out(&leaders(counts), connections, apart);
            let shared: Vec<_> = shared.iter().map(|(leader, partitions)| (*leader, partitions.as_slice())).collect();
            assert_eq!(shared, expected, "{counts:?} over {connections}");
        }
    }
}
