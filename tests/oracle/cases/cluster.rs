//! ApiVersions, DescribeCluster and DescribeTopicPartitions.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::api_versions::ApiVersionsRequest;
use tidemill::wire::admin::describe_cluster::DescribeClusterRequest;
use tidemill::wire::admin::describe_topic_partitions::{Cursor, DescribeTopicPartitionsRequest, TopicRequest};

use super::super::case::{Case, case, say};
use super::super::pair::Side;

fn from_client(name: &'static str, software: &'static str, its_version: &'static str) -> Case {
    case(ApiKey::ApiVersions, name, |_, v| {
        let (client_software_name, client_software_version) = (software.into(), its_version.into());
        say(&ApiVersionsRequest { client_software_name, client_software_version, ..Default::default() }, v)
    })
}

/// A client that expects a cluster and a broker (statement 9). Both sides have one broker, with id 1.
fn expecting(name: &'static str, cluster: fn(&Side) -> Option<String>, node_id: i32) -> Case {
    case(ApiKey::ApiVersions, name, move |side, v| {
        let (client_software_name, client_software_version) = ("test".into(), "1".into());
        let cluster_id = cluster(side);
        say(&ApiVersionsRequest { client_software_name, client_software_version, cluster_id, node_id }, v)
    })
}

fn cluster(name: &'static str, request: DescribeClusterRequest) -> Case {
    case(ApiKey::DescribeCluster, name, move |_, v| say(&request, v))
}

fn pages(name: &'static str, topics: &'static [&'static str], limit: i32, cursor: Option<(&'static str, i32)>) -> Case {
    case(ApiKey::DescribeTopicPartitions, name, move |_, v| {
        let request = DescribeTopicPartitionsRequest {
            topics: topics.iter().map(|name| TopicRequest { name: (*name).into() }).collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|(topic, partition_index)| Cursor { topic_name: topic.into(), partition_index }),
        };
        say(&request, v)
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        from_client("a client", "apache-kafka-java", "4.4.0"),
        from_client("a client without a name", "", "4.4.0"),
        from_client("a client with a bad name", "a b", "4.4.0"),
        from_client("a client with a bad version", "client", "-1"),
        expecting("a client of this broker", |side| Some(side.cluster_id()), 1),
        expecting("a client of another broker", |side| Some(side.cluster_id()), 2),
        expecting("a client of any broker", |side| Some(side.cluster_id()), -1),
        expecting("a client of another cluster", |_| Some("another".into()), 1),
        expecting("a client of no cluster", |_| Some(String::new()), 1),
        expecting("a client of broker 2 of any cluster", |_| None, 2),
        cluster("brokers", DescribeClusterRequest::default()),
        cluster(
            "operations",
            DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() },
        ),
        cluster("controllers", DescribeClusterRequest { endpoint_type: 2, ..Default::default() }).since(1),
        cluster("neither", DescribeClusterRequest { endpoint_type: 3, ..Default::default() }).since(1),
        cluster("fenced ones too", DescribeClusterRequest { include_fenced_brokers: true, ..Default::default() })
            .since(2),
        pages("topics", &["small", "plain", "empty"], 100, None),
        pages("an unknown topic", &["nope", "plain", "__consumer_offsets"], 100, None),
        pages("bad names", &["..", "a b", ""], 100, None),
        pages("a topic twice", &["plain", "plain"], 100, None),
        pages("all topics", &[], 2000, None),
        pages("a page", &["plain", "empty", "small"], 3, None),
        pages("a page that ends with a topic", &["plain", "empty", "small"], 2, None),
        pages("the next page", &["plain", "empty", "small"], 3, Some(("plain", 1))),
        pages("a cursor at a topic's end", &["plain", "empty", "small"], 3, Some(("plain", 3))),
        pages("a cursor behind a topic's end", &["plain", "empty", "small"], 3, Some(("plain", 30))),
        pages("a cursor at an unknown topic", &["plain", "nope"], 3, Some(("nope", 1))),
        pages("a cursor at another topic", &["plain", "empty"], 3, Some(("other", 0))),
        pages("a cursor in all topics", &[], 4, Some(("plain", 1))),
        pages("a cursor between all topics", &[], 4, Some(("plain0", 0))),
        pages("a negative cursor", &["plain"], 3, Some(("plain", -1))),
        pages("no room", &["plain", "empty"], 0, None),
        pages("negative room", &["plain", "empty"], -1, None),
    ]
}
