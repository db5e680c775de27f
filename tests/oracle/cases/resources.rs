//! DescribeLogDirs, AlterReplicaLogDirs and ListConfigResources.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use tidemill::wire::admin::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use tidemill::wire::admin::list_config_resources::ListConfigResourcesRequest;

use super::super::case::{Case, case, say};

fn sizes(name: &'static str, topics: Option<&'static [(&'static str, &'static [i32])]>) -> Case {
    let topic = |(name, partitions): &(&str, &[i32])| DescribableLogDirTopic {
        topic: (*name).into(),
        partitions: partitions.to_vec(),
    };
    case(ApiKey::DescribeLogDirs, name, move |_, v| {
        say(&DescribeLogDirsRequest { topics: topics.map(|topics| topics.iter().map(topic).collect()) }, v)
    })
}

/// Each peer has a directory of its own, so the requests name others.
fn moved(name: &'static str, topics: &'static [(&'static str, &'static [i32])]) -> Case {
    let topic = |(name, partitions): &(&str, &[i32])| AlterReplicaLogDirTopic {
        name: (*name).into(),
        partitions: partitions.to_vec(),
    };
    case(ApiKey::AlterReplicaLogDirs, name, move |_, v| {
        let topics = topics.iter().map(topic).collect();
        say(&AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: "/nowhere".into(), topics }] }, v)
    })
}

fn list(name: &'static str, resource_types: &'static [i8]) -> Case {
    let case = case(ApiKey::ListConfigResources, name, move |_, v| {
        say(&ListConfigResourcesRequest { resource_types: resource_types.to_vec() }, v)
    });
    if resource_types.is_empty() { case } else { case.since(1) }
}

pub fn cases() -> Vec<Case> {
    vec![
        sizes("all", None),
        sizes("some", Some(&[("plain", &[0, 2]), ("read", &[1])])),
        sizes("an unknown topic and partition", Some(&[("plain", &[9, -1, 1]), ("nope", &[0])])),
        sizes("a topic twice", Some(&[("plain", &[0]), ("plain", &[1])])),
        sizes("no topics", Some(&[])),
        sizes("no partitions", Some(&[("plain", &[])])),
        sizes("bad names", Some(&[("..", &[0]), ("", &[0])])),
        moved("to an unknown directory", &[("plain", &[0, 2]), ("read", &[1])]),
        moved("unknown partitions to an unknown directory", &[("plain", &[9, -1]), ("nope", &[0])]),
        moved("no partitions", &[("plain", &[])]),
        moved("no topics", &[]),
        list("all", &[]),
        list("topics", &[2]),
        list("brokers", &[4]),
        list("brokers and topics", &[4, 2, 4]),
        list("loggers", &[8]),
        list("client metrics", &[16]),
        list("groups", &[32]),
        list("an unknown type beside another", &[2, 77]),
        list("no type", &[0]),
    ]
}
