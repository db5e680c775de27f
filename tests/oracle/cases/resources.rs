//! DescribeLogDirs and ListConfigResources.

use tidemill::wire::ApiKey;
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
