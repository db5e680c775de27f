//! Logs the changes of topics, groups and brokers by the commands of an entry: one line for each topic that is created,
//! altered or deleted, and for each group or broker whose settings change.

use crate::config::dynamic;
use crate::metadata::{Command, Image};
use crate::model::counted;

/// Logs the commands that led from `before` to `after`.
pub(super) fn log(before: &Image, after: &Image, commands: &[Command]) {
    for line in commands.iter().filter_map(|command| line(before, after, command)) {
        tracing::info!("{line}");
    }
}

/// `None` for a command that changes no topic, no group and no setting of a broker.
fn line(before: &Image, after: &Image, command: &Command) -> Option<String> {
    let name = |id| {
        let topic = before.topic_by_id(id).or_else(|| after.topic_by_id(id));
        topic.map_or("(deleted at once)", |topic| topic.name.as_str())
    };
    Some(match command {
        Command::CreateTopic { id, name, replicas, overrides } => {
            let partitions = counted(replicas.len(), "partition");
            let replicas = counted(replicas.first().map_or(0, Vec::len), "replica");
            let settings: String = overrides.iter().map(|(name, value)| format!(", {name}={value}")).collect();
            format!("created topic {name}: id {id}, {partitions}, {replicas}{settings}")
        }
        Command::DeleteTopic { id } => {
            let count = before.topic_by_id(*id).map_or(0, |topic| topic.partitions.len());
            format!("deleted topic {}: id {id}, {}", name(*id), counted(count, "partition"))
        }
        Command::CreatePartitions { id, have, replicas } => {
            let (count, added) = (*have as usize + replicas.len(), counted(replicas.len(), "partition"));
            format!("added {added} to topic {}: id {id}, {} now", name(*id), counted(count, "partition"))
        }
        Command::SetTopicConfig { id, changes } => {
            format!("altered topic {}: id {id}, {}", name(*id), settings(changes))
        }
        Command::SetGroupConfig { group, changes } => format!("altered group {group}: {}", settings(changes)),
        Command::SetBrokerConfig { broker, changes } => {
            // A name without a setting may be that of a password.
            let shown = |(name, value): &(String, Option<String>)| {
                let value =
                    value.clone().map(|value| if dynamic::setting(name).is_some() { value } else { "(hidden)".into() });
                (name.clone(), value)
            };
            let changes = settings(&changes.iter().map(shown).collect::<Vec<_>>());
            match broker {
                Some(broker) => format!("altered broker {}: {changes}", broker.0),
                None => format!("altered the defaults of all brokers: {changes}"),
            }
        }
        Command::FormatCluster { .. }
        | Command::NodeStarted { .. }
        | Command::NodeStopped { .. }
        | Command::AllocateProducerIds { .. } => return None,
    })
}

fn settings(changes: &[(String, Option<String>)]) -> String {
    let changed = |(name, value): &(String, Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name} removed"),
    };
    changes.iter().map(changed).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::apply::tests::{create, image_with_nodes, run};
    use crate::model::{BrokerId, NodeId, TopicId};

    #[test]
    fn each_change_of_a_topic_has_one_line_with_its_name_id_and_change() {
        let image = create(&image_with_nodes(2), "orders", 1);
        let id = image.topic("orders").unwrap().id;
        let other = TopicId([7; 16]);
        let replicas = vec![vec![NodeId(1), NodeId(2)]; 3];
        let overrides = vec![("retention.ms".into(), "5".into()), ("segment.ms".into(), "6".into())];
        let of_broker = vec![
            ("log.segment.bytes".into(), None),
            ("nope".into(), Some("secret".into())),
            ("num.io.threads".into(), Some("4".into())),
        ];
        let changes = vec![("retention.ms".into(), Some("7".into())), ("segment.ms".into(), None)];
        for (command, expected) in [
            (
                Command::CreateTopic { id: other, name: "t".into(), replicas: replicas.clone(), overrides },
                format!("created topic t: id {other}, 3 partitions, 2 replicas, retention.ms=5, segment.ms=6"),
            ),
            (
                Command::CreatePartitions { id, have: 1, replicas: vec![vec![NodeId(1)]; 2] },
                format!("added 2 partitions to topic orders: id {id}, 3 partitions now"),
            ),
            (
                Command::SetTopicConfig { id, changes: changes.clone() },
                format!("altered topic orders: id {id}, retention.ms=7, segment.ms removed"),
            ),
            (
                Command::SetGroupConfig { group: "g".into(), changes },
                "altered group g: retention.ms=7, segment.ms removed".into(),
            ),
            (
                Command::SetBrokerConfig { broker: Some(BrokerId(1001)), changes: of_broker.clone() },
                "altered broker 1001: log.segment.bytes removed, nope=(hidden), num.io.threads=4".into(),
            ),
            (
                Command::SetBrokerConfig { broker: None, changes: of_broker[..1].to_vec() },
                "altered the defaults of all brokers: log.segment.bytes removed".into(),
            ),
            (Command::DeleteTopic { id }, format!("deleted topic orders: id {id}, 1 partition")),
        ] {
            let after = run(&image, &command).0;
            assert_eq!(line(&image, &after, &command), Some(expected));
        }
        let allocate = Command::AllocateProducerIds { node: NodeId(1), count: 1 };
        assert_eq!(line(&image, &image, &allocate), None);
    }
}
