//! Groups with server-side assignment (KIP-848): joins, assignments and revocations, and the other group requests on
//! such groups.
//!
//! Members choose their ids, so that both brokers have the same. A group's name is the case's name and the version, so
//! that each case has its own group.

use tidemill::wire::group::consumer_group_describe::ConsumerGroupDescribeRequest;
use tidemill::wire::group::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use tidemill::wire::group::delete_groups::DeleteGroupsRequest;
use tidemill::wire::group::describe_groups::DescribeGroupsRequest;
use tidemill::wire::group::heartbeat::HeartbeatRequest;
use tidemill::wire::group::join_group::JoinGroupRequest;
use tidemill::wire::group::leave_group::{LeaveGroupRequest, MemberIdentity};
use tidemill::wire::group::list_groups::ListGroupsRequest;
use tidemill::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use tidemill::wire::group::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use tidemill::wire::group::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use tidemill::wire::{ApiKey, Bytes};

use super::super::case::{Case, case, say};
use super::super::pair::Side;
use super::groups::{BEYOND_THE_RUN_MS, join, sync};
use super::transactions::id;

type Beat = ConsumerGroupHeartbeatRequest;

/// The topic of these cases, of three partitions.
const TOPIC: &str = "subscribed";

/// The heartbeat of a joining member.
fn joining(group: &str, member: &str) -> Beat {
    Beat {
        group_id: group.into(),
        member_id: member.into(),
        rebalance_timeout_ms: BEYOND_THE_RUN_MS,
        subscribed_topic_names: Some(vec![TOPIC.into()]),
        topic_partitions: Some(vec![]),
        ..Beat::default()
    }
}

/// The heartbeat of a member without changes.
fn beating(group: &str, member: &str, member_epoch: i32) -> Beat {
    Beat { group_id: group.into(), member_id: member.into(), member_epoch, ..Beat::default() }
}

/// A case of one heartbeat, in a group named by the case and the version.
fn beat(name: &'static str, make: fn(&str, &Side, i16) -> Beat) -> Case {
    Case::new(ApiKey::ConsumerGroupHeartbeat, name).beats(make)
}

/// Partitions of the topic that a member reports as owned.
fn owned(side: &Side, partitions: &[i32]) -> Option<Vec<TopicPartitions>> {
    let topic_partitions = TopicPartitions { topic_id: side.id(TOPIC), partitions: partitions.to_vec() };
    Some(if partitions.is_empty() { vec![] } else { vec![topic_partitions] })
}

fn names(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

impl Case {
    fn beats(self, make: fn(&str, &Side, i16) -> Beat) -> Case {
        let name = self.name;
        self.and(ApiKey::ConsumerGroupHeartbeat, None, move |side, v, at| say(&make(&id(name, v), side, v), at))
    }

    /// The group of another case, which has only one version.
    fn members_shown(self, at: i16) -> Case {
        let name = self.name;
        self.and(ApiKey::ConsumerGroupDescribe, at, move |_, v, at| {
            let group_ids = vec![id(name, v)];
            say(&ConsumerGroupDescribeRequest { group_ids, include_authorized_operations: false }, at)
        })
    }

    fn commits_as(self, at: i16, member: &'static str, member_epoch: i32) -> Case {
        let name = self.name;
        self.and(ApiKey::OffsetCommit, at, move |side, v, at| {
            let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
            let mut topic =
                OffsetCommitRequestTopic { name: TOPIC.into(), partitions: vec![partition], ..Default::default() };
            if at >= 10 {
                topic.topic_id = side.id(TOPIC);
            }
            let request = OffsetCommitRequest {
                group_id: id(name, v),
                generation_id_or_member_epoch: member_epoch,
                member_id: member.into(),
                topics: vec![topic],
                ..Default::default()
            };
            say(&request, at)
        })
    }

    fn fetches_as(self, member: Option<&'static str>, member_epoch: i32) -> Case {
        let name = self.name;
        self.and(ApiKey::OffsetFetch, 9, move |_, v, at| {
            let topic =
                OffsetFetchRequestTopics { name: TOPIC.into(), partition_indexes: vec![0, 1], ..Default::default() };
            let group = OffsetFetchRequestGroup {
                group_id: id(name, v),
                member_id: member.map(str::to_owned),
                member_epoch,
                topics: Some(vec![topic]),
            };
            say(&OffsetFetchRequest { groups: vec![group], ..Default::default() }, at)
        })
    }

    fn then_deleted(self) -> Case {
        let name = self.name;
        self.and(ApiKey::DeleteGroups, 2, move |_, v, at| {
            say(&DeleteGroupsRequest { groups_names: vec![id(name, v)] }, at)
        })
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = invalid();
    cases.extend(lives());
    cases.extend(instances());
    cases.extend(others());
    cases
}

// ---- invalid requests -------------------------------------------------------------------------------------------

fn invalid() -> Vec<Case> {
    vec![
        beat("no group", |_, _, _| joining("", "m")),
        // In version 0 the broker makes the member id; from version 1 the member does.
        beat("no member id", |group, _, _| joining(group, "")),
        beat("no member id later", |group, _, _| beating(group, "", 5)),
        beat("no member id at the end", |group, _, _| beating(group, "", -1)),
        beat("no member id at the end of an instance", |group, _, _| Beat {
            instance_id: Some("i".into()),
            ..beating(group, "", -2)
        }),
        beat("an empty instance id", |group, _, _| Beat { instance_id: Some("".into()), ..joining(group, "m") }),
        beat("an empty rack", |group, _, _| Beat { rack_id: Some("".into()), ..joining(group, "m") }),
        beat("joins without a timeout", |group, _, _| Beat { rebalance_timeout_ms: -1, ..joining(group, "m") }),
        beat("joins with a negative timeout", |group, _, _| Beat { rebalance_timeout_ms: -5, ..joining(group, "m") }),
        beat("joins with no time", |group, _, _| Beat { rebalance_timeout_ms: 0, ..joining(group, "m") }),
        beat("joins with only its topics", |group, _, _| Beat {
            rebalance_timeout_ms: -1,
            topic_partitions: None,
            ..joining(group, "m")
        }),
        beat("joins without what it has", |group, _, _| Beat { topic_partitions: None, ..joining(group, "m") }),
        beat("joins with partitions", |group, side, _| Beat {
            topic_partitions: owned(side, &[0]),
            ..joining(group, "m")
        }),
        beat("joins without a subscription", |group, _, _| Beat {
            subscribed_topic_names: None,
            ..joining(group, "m")
        }),
        beat("joins with an empty subscription", |group, _, _| Beat {
            subscribed_topic_names: names(&[]),
            ..joining(group, "m")
        })
        .members_shown(1),
        beat("joins for what is not there", |group, _, _| Beat {
            subscribed_topic_names: names(&["nope"]),
            ..joining(group, "m")
        })
        .members_shown(1),
        beat("joins for what cannot be", |group, _, _| Beat {
            subscribed_topic_names: names(&["..", ""]),
            ..joining(group, "m")
        }),
        beat("an instance leaves that is none", |group, _, _| beating(group, "m", -2)),
        beat("an epoch of minus three", |group, _, _| beating(group, "m", -3)),
        beat("an unknown assignor", |group, _, _| Beat {
            server_assignor: Some("nonsense".into()),
            ..joining(group, "m")
        }),
        beat("an empty assignor", |group, _, _| Beat { server_assignor: Some("".into()), ..joining(group, "m") }),
        beat("another assignor", |group, _, _| Beat { server_assignor: Some("range".into()), ..joining(group, "m") })
            .members_shown(1),
        beat("a bad pattern", |group, _, _| Beat {
            subscribed_topic_names: None,
            subscribed_topic_regex: Some("(".into()),
            ..joining(group, "m")
        })
        .since(1),
        beat("a bad pattern and names", |group, _, _| Beat {
            subscribed_topic_regex: Some("[".into()),
            ..joining(group, "m")
        })
        .since(1),
        beat("an empty pattern", |group, _, _| Beat {
            subscribed_topic_names: None,
            subscribed_topic_regex: Some("".into()),
            ..joining(group, "m")
        })
        .since(1)
        .members_shown(1),
        beat("a pattern of nothing", |group, _, _| Beat {
            subscribed_topic_names: None,
            subscribed_topic_regex: Some("nope.*".into()),
            ..joining(group, "m")
        })
        .since(1),
        beat("a member of no group", |group, _, _| beating(group, "m", 1)),
        beat("a member of no group leaves", |group, _, _| beating(group, "m", -1)),
        beat("an instance of no group leaves", |group, _, _| Beat {
            instance_id: Some("i".into()),
            ..beating(group, "m", -2)
        }),
        describe("what is not there", &["nobodys", "", "nobodys"]),
        describe("none", &[]),
    ]
}

fn describe(name: &'static str, groups: &'static [&'static str]) -> Case {
    case(ApiKey::ConsumerGroupDescribe, name, move |_, v| {
        let group_ids = groups.iter().map(|group| (*group).into()).collect();
        say(&ConsumerGroupDescribeRequest { group_ids, include_authorized_operations: true }, v)
    })
}

// ---- a group's life ---------------------------------------------------------------------------------------------

fn lives() -> Vec<Case> {
    let life = |name| Case::new(ApiKey::ConsumerGroupHeartbeat, name);
    vec![
        life("alone")
            .beats(|group, _, _| joining(group, "a"))
            // A retry: the response was lost.
            .beats(|group, _, _| joining(group, "a"))
            .beats(|group, _, _| beating(group, "a", 1))
            .beats(|group, side, _| Beat { topic_partitions: owned(side, &[0, 1, 2]), ..beating(group, "a", 1) })
            .beats(|group, side, _| Beat { topic_partitions: owned(side, &[0, 1]), ..beating(group, "a", 1) })
            .members_shown(0)
            .members_shown(1)
            .beats(|group, _, _| beating(group, "a", 2))
            .beats(|group, _, _| beating(group, "a", 7))
            .beats(|group, _, _| beating(group, "stranger", 1))
            .beats(|group, _, _| beating(group, "stranger", -1))
            .beats(|group, _, _| Beat { instance_id: Some("i".into()), ..beating(group, "stranger", 1) })
            .beats(|group, _, _| Beat { instance_id: Some("i".into()), ..beating(group, "stranger", -2) })
            // Subscribes to more, then to nothing, then leaves.
            .beats(|group, _, _| Beat { subscribed_topic_names: names(&[TOPIC, "plain"]), ..beating(group, "a", 1) })
            .beats(|group, _, _| Beat { server_assignor: Some("range".into()), ..beating(group, "a", 2) })
            .members_shown(1)
            .beats(|group, _, _| Beat { rack_id: Some("r".into()), ..beating(group, "a", 2) })
            .beats(|group, _, _| Beat { subscribed_topic_names: names(&[]), ..beating(group, "a", 2) })
            .members_shown(1)
            .beats(|group, side, _| Beat { topic_partitions: owned(side, &[]), ..beating(group, "a", 2) })
            .beats(|group, side, _| Beat { topic_partitions: owned(side, &[]), ..beating(group, "a", 3) })
            .members_shown(1)
            .then_deleted()
            .beats(|group, _, _| beating(group, "a", -1))
            .members_shown(1)
            .beats(|group, _, _| beating(group, "a", 3))
            .beats(|group, _, _| beating(group, "a", -1))
            .then_deleted()
            .members_shown(1),
        // Statement 119.
        life("two share")
            .beats(|group, _, _| joining(group, "a"))
            .beats(|group, _, _| joining(group, "b"))
            .members_shown(1)
            .beats(|group, _, _| beating(group, "b", 2))
            // The member must revoke partitions, delays that, and then confirms it.
            .beats(|group, _, _| beating(group, "a", 1))
            .beats(|group, side, _| Beat { topic_partitions: owned(side, &[0, 1, 2]), ..beating(group, "a", 1) })
            .beats(|group, _, _| beating(group, "b", 2))
            .members_shown(1)
            .beats(|group, side, _| Beat { topic_partitions: owned(side, &[]), ..beating(group, "a", 1) })
            .beats(|group, _, _| beating(group, "b", 2))
            .members_shown(1)
            // The previous epoch, and the one before.
            .beats(|group, side, _| Beat { topic_partitions: owned(side, &[]), ..beating(group, "a", 1) })
            .beats(|group, side, _| Beat { topic_partitions: owned(side, &[0, 1, 2]), ..beating(group, "a", 1) })
            .beats(|group, _, _| beating(group, "a", 1))
            .beats(|group, _, _| beating(group, "a", 2))
            .commits_as(9, "a", 2)
            .commits_as(9, "a", 1)
            .commits_as(9, "a", 3)
            .commits_as(8, "a", 2)
            .commits_as(8, "a", 1)
            .commits_as(9, "stranger", 2)
            .commits_as(9, "", -1)
            .commits_as(10, "a", 1)
            .fetches_as(Some("a"), 2)
            .fetches_as(Some("a"), 1)
            .fetches_as(Some("a"), 3)
            .fetches_as(Some("stranger"), 2)
            .fetches_as(Some(""), -1)
            .fetches_as(None, -1)
            .then_deleted()
            // A member that rejoins starts over; a member that leaves frees its partitions for the other.
            .beats(|group, _, _| joining(group, "b"))
            .beats(|group, _, _| beating(group, "a", -1))
            .beats(|group, _, _| beating(group, "b", 2))
            .members_shown(1)
            .beats(|group, _, _| beating(group, "b", 3))
            .beats(|group, _, _| beating(group, "b", -1))
            .members_shown(0)
            .commits_as(9, "", -1)
            .commits_as(9, "b", 3)
            .fetches_as(None, -1)
            .then_deleted(),
        life("each to its own")
            .beats(|group, _, _| joining(group, "a"))
            .beats(|group, _, _| Beat { subscribed_topic_names: names(&["plain"]), ..joining(group, "b") })
            .beats(|group, _, _| beating(group, "a", 1))
            .beats(|group, _, _| beating(group, "b", 2))
            .members_shown(1)
            .beats(|group, _, _| beating(group, "a", -1))
            .beats(|group, _, _| beating(group, "b", -1)),
    ]
}

// ---- static members ---------------------------------------------------------------------------------------------

fn instances() -> Vec<Case> {
    fn instance(beat: Beat) -> Beat {
        Beat { instance_id: Some("i".into()), ..beat }
    }
    vec![
        beat("an instance", |group, _, _| instance(joining(group, "a")))
            .beats(|group, _, _| instance(beating(group, "a", 1)))
            // Another member with the same instance id.
            .beats(|group, _, _| instance(joining(group, "b")))
            .beats(|group, _, _| instance(beating(group, "b", 1)))
            .beats(|group, _, _| beating(group, "a", 1))
            .beats(|group, _, _| Beat { instance_id: Some("j".into()), ..beating(group, "a", 1) })
            .beats(|group, _, _| instance(beating(group, "b", -2)))
            // It leaves temporarily, and returns with another member id.
            .beats(|group, _, _| instance(beating(group, "a", -2)))
            .members_shown(1)
            .beats(|group, _, _| instance(beating(group, "a", 1)))
            .beats(|group, _, _| instance(joining(group, "b")))
            .members_shown(1)
            .beats(|group, _, _| instance(beating(group, "a", 1)))
            .beats(|group, _, _| beating(group, "a", 1))
            .beats(|group, _, _| instance(beating(group, "b", 1)))
            .commits_as(9, "a", 1)
            .commits_as(9, "b", 1)
            // And with its own member id.
            .beats(|group, _, _| instance(beating(group, "b", -2)))
            .beats(|group, _, _| instance(joining(group, "b")))
            .beats(|group, _, _| instance(beating(group, "b", -1)))
            .members_shown(1),
    ]
}

// ---- other requests on such groups ------------------------------------------------------------------------------

fn list(name: &'static str, states: &'static [&'static str], types: &'static [&'static str]) -> Case {
    case(ApiKey::ListGroups, name, move |_, v| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        say(&ListGroupsRequest { states_filter: words(states), types_filter: words(types) }, v)
    })
    .since(5)
}

fn others() -> Vec<Case> {
    const V: i16 = 1;
    let of = |api, name| Case::new(api, name);
    let group = || id("lasting", V);
    fn last_version(case: Case) -> Case {
        case.since(V).until(V)
    }
    vec![
        last_version(of(ApiKey::ConsumerGroupHeartbeat, "lasting"))
            .beats(|group, _, _| joining(group, "a"))
            .commits_as(9, "a", 1),
        list("with consumers'", &[], &[]),
        list("of the type consumer", &[], &["consumer"]),
        list("of the type Classic", &[], &["Classic"]),
        list("of both types", &[], &["consumer", "classic"]),
        list("of consumers that are stable", &["Stable"], &["consumer"]),
        list("of consumers that assign or reconcile", &["assigning", "Reconciling"], &[]),
        list("of consumers that are empty", &["empty"], &["consumer"]),
        case(ApiKey::DescribeGroups, "a consumers' group", move |_, v| {
            say(&DescribeGroupsRequest { groups: vec![group()], include_authorized_operations: false }, v)
        }),
        case(ApiKey::ConsumerGroupDescribe, "a classic group", |_, v| {
            let group_ids = vec!["a classic one".into(), group_of_classics()];
            say(&ConsumerGroupDescribeRequest { group_ids, include_authorized_operations: false }, v)
        }),
        case(ApiKey::DeleteGroups, "a consumers' group", move |_, v| {
            say(&DeleteGroupsRequest { groups_names: vec![group()] }, v)
        }),
        case(ApiKey::OffsetDelete, "of a consumers' group", move |_, v| {
            let topic = |name: &str| OffsetDeleteRequestTopic {
                name: name.into(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
            };
            say(&OffsetDeleteRequest { group_id: group(), topics: vec![topic(TOPIC), topic("plain")] }, v)
        }),
        case(ApiKey::Heartbeat, "of a consumers' group", move |_, v| {
            let beat = |member_id: &str| HeartbeatRequest {
                group_id: group(),
                generation_id: 1,
                member_id: member_id.into(),
                group_instance_id: None,
            };
            say(&beat("a"), v)
        }),
        case(ApiKey::SyncGroup, "of a consumers' group", move |_, v| say(&sync(group(), 1, "a", None, v), v)),
        case(ApiKey::LeaveGroup, "of a consumers' group", move |_, v| match v {
            0..3 => say(&LeaveGroupRequest { group_id: group(), member_id: "stranger".into(), members: vec![] }, v),
            _ => {
                let members = vec![MemberIdentity { member_id: "stranger".into(), ..Default::default() }];
                say(&LeaveGroupRequest { group_id: group(), member_id: String::new(), members }, v)
            }
        }),
        case(ApiKey::JoinGroup, "a consumers' group, to do something else", move |_, v| {
            say(&JoinGroupRequest { protocol_type: "connect".into(), ..join(group(), "", Some("i"), v) }, v)
        })
        .since(5),
        case(ApiKey::JoinGroup, "a consumers' group, under no id", move |_, v| say(&join(group(), "", None, v), v))
            .since(4),
        case(ApiKey::JoinGroup, "a consumers' group, under an id", move |_, v| {
            say(&join(group(), "stranger", None, v), v)
        }),
        // Statement 120: a classic member joins.
        last_version(of(ApiKey::ConsumerGroupHeartbeat, "mixed"))
            .beats(|group, _, _| joining(group, "a"))
            .and(ApiKey::JoinGroup, 9, |_, v, at| say(&classic(&id("mixed", v), at), at))
            .members_shown(1)
            .and(ApiKey::SyncGroup, 5, |side, v, at| {
                say(&sync(id("mixed", v), 2, &side.member_id(), Some("i"), at), at)
            })
            .and(ApiKey::Heartbeat, 4, |side, v, at| {
                let request = HeartbeatRequest {
                    group_id: id("mixed", v),
                    generation_id: 2,
                    member_id: side.member_id(),
                    group_instance_id: Some("i".into()),
                };
                say(&request, at)
            })
            .beats(|group, _, _| beating(group, "a", 1))
            .beats(|group, side, _| Beat { topic_partitions: owned(side, &[]), ..beating(group, "a", 1) })
            .and(ApiKey::LeaveGroup, 5, |_, v, at| {
                let members = vec![MemberIdentity { group_instance_id: Some("i".into()), ..Default::default() }];
                say(&LeaveGroupRequest { group_id: id("mixed", v), member_id: String::new(), members }, at)
            })
            .members_shown(1)
            .beats(|group, _, _| beating(group, "a", -1)),
        // A consumer in a group of classic members, and in a group of another protocol type.
        case(ApiKey::JoinGroup, "classics", |_, v| say(&join(group_of_classics(), "", Some("i"), v), v))
            .since(9)
            .and(ApiKey::SyncGroup, 5, |side, _, at| {
                say(&sync(group_of_classics(), 1, &side.member_id(), Some("i"), at), at)
            })
            .and(ApiKey::ConsumerGroupDescribe, 1, |_, _, at| {
                let group_ids = vec![group_of_classics()];
                say(&ConsumerGroupDescribeRequest { group_ids, include_authorized_operations: false }, at)
            })
            .and(ApiKey::ConsumerGroupHeartbeat, 1, |_, _, at| say(&joining(&group_of_classics(), "a"), at))
            .and(ApiKey::ConsumerGroupDescribe, 1, |_, _, at| {
                let group_ids = vec![group_of_classics()];
                say(&ConsumerGroupDescribeRequest { group_ids, include_authorized_operations: false }, at)
            })
            .and(ApiKey::ConsumerGroupHeartbeat, 1, |_, _, at| say(&beating(&group_of_classics(), "a", -1), at)),
        case(ApiKey::JoinGroup, "workers", |_, v| {
            say(&JoinGroupRequest { protocol_type: "connect".into(), ..join("workers".into(), "", Some("i"), v) }, v)
        })
        .since(9)
        .and(ApiKey::ConsumerGroupHeartbeat, 1, |_, _, at| say(&joining("workers", "a"), at))
        .and(ApiKey::ConsumerGroupHeartbeat, 1, |_, _, at| say(&beating("workers", "a", 1), at))
        .and(ApiKey::ConsumerGroupHeartbeat, 1, |_, _, at| say(&beating("workers", "a", -1), at)),
        // A simple group has no members, and becomes a consumer group.
        last_version(of(ApiKey::ConsumerGroupHeartbeat, "simple until then"))
            .commits_as(9, "", -1)
            .beats(|group, _, _| joining(group, "a"))
            .fetches_as(Some("a"), 1)
            .members_shown(1)
            .beats(|group, _, _| beating(group, "a", -1)),
    ]
}

fn group_of_classics() -> String {
    "classics".into()
}

/// A classic member whose subscription states its owned partitions.
fn classic(group: &str, at: i16) -> JoinGroupRequest {
    let mut request = join(group.into(), "", Some("i"), at);
    // Version 1, of one topic, without user data and owned partitions.
    let subscription = [&[0, 1, 0, 0, 0, 1, 0, TOPIC.len() as u8][..], TOPIC.as_bytes(), &[255; 4], &[0; 4]].concat();
    request.protocols.iter_mut().for_each(|protocol| protocol.metadata = Bytes(subscription.clone()));
    request
}
