use super::*;
use crate::api::admin::fixture::{World, check_encodes};
use crate::wire::admin::describe_topic_partitions::TopicRequest;

fn request(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
    DescribeTopicPartitionsRequest {
        topics: names.iter().map(|name| TopicRequest { name: (*name).into() }).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(name, index)| Cursor { topic_name: name.into(), partition_index: index }),
    }
}

/// Topics a (2 partitions), b (3) and c (1).
fn world() -> World {
    World::nodes(1).topic("b", &[&[1][..]; 3]).topic("a", &[&[1][..]; 2]).topic("c", &[&[1]])
}

type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

/// Each topic with its error and the partitions in this page; and the cursor of the next.
fn page(world: &World, request: &DescribeTopicPartitionsRequest) -> Page {
    let response = answer(request, &world.at(0));
    check_encodes(&response, 0);
    let topic = |topic: &DescribedTopic| {
        let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        (topic.name.clone().unwrap(), topic.error_code.code(), partitions)
    };
    let cursor = response.next_cursor.map(|cursor| (cursor.topic_name, cursor.partition_index));
    (response.topics.iter().map(topic).collect(), cursor)
}

fn described(name: &str, partitions: &[i32]) -> (String, i16, Vec<i32>) {
    (name.into(), 0, partitions.to_vec())
}

#[test]
fn statement_40_topics_come_by_name_in_order_and_unknown_ones_with_their_error() {
    let (topics, cursor) = page(&world(), &request(&["c", "nope", "a", "a b", "c"], 2000, None));
    assert_eq!(
        topics,
        [described("a", &[0, 1]), ("a b".into(), 17, vec![]), described("c", &[0]), ("nope".into(), 3, vec![])]
    );
    assert_eq!(cursor, None);
}

#[test]
fn statement_40_pages_follow_each_other_by_their_cursor() {
    let world = world();
    for names in [&[][..], &["a", "b", "c"]] {
        for limit in 1..=7 {
            let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
            loop {
                let at = cursor.as_ref().map(|(name, index): &(String, i32)| (name.as_str(), *index));
                let (topics, next) = page(&world, &request(names, limit, at));
                let partitions: usize = topics.iter().map(|topic| topic.2.len()).sum();
                assert!(partitions <= limit as usize);
                seen.extend(
                    topics.into_iter().flat_map(|(name, _, all)| all.into_iter().map(move |i| (name.clone(), i))),
                );
                pages += 1;
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            let expected: Vec<(String, i32)> =
                [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("c", 0)].map(|(name, i)| (name.into(), i)).into();
            assert_eq!((seen, pages), (expected, 6usize.div_ceil(limit as usize)), "limit {limit}");
        }
    }
}

#[test]
fn statement_40_a_cursor_of_a_deleted_topic_continues_with_the_next() {
    let (topics, _) = page(&world(), &request(&[], 2000, Some(("aa", 1))));
    assert_eq!(topics, [described("b", &[0, 1, 2]), described("c", &[0])]);
    let (topics, cursor) = page(&world(), &request(&["a"], 2000, Some(("a", 7))));
    assert_eq!((topics, cursor), (vec![described("a", &[])], None));
}

#[test]
fn statement_40_a_cursor_that_was_not_asked_for_is_refused() {
    for cursor in [("b", 0), ("a", -1)] {
        let (topics, next) = page(&world(), &request(&["a"], 2000, Some(cursor)));
        assert_eq!((topics, next), (vec![("a".into(), ErrorCode::InvalidRequest.code(), vec![])], None));
    }
}

#[test]
fn a_page_has_at_least_one_partition_and_at_most_2000() {
    assert_eq!(page(&world(), &request(&[], 0, None)).1, Some(("a".into(), 1)));
    let world = World::nodes(1).topic("big", &[&[1][..]; 2001]);
    assert_eq!(page(&world, &request(&[], i32::MAX, None)).1, Some(("big".into(), 2000)));
}

#[test]
fn a_partition_is_described_as_metadata_does() {
    let world = World::nodes(2).topic("a", &[&[2]]).without_node(2);
    let response = answer(&request(&["a"], 10, None), &world.at(0));
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.leader_id), (ErrorCode::LeaderNotAvailable, -1));
    assert_eq!((partition.replica_nodes.len(), &partition.offline_replicas), (1, &partition.replica_nodes));
    assert_eq!(response.topics[0].topic_authorized_operations, 3576);
}
