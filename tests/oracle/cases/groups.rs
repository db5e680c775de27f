//! Groups: coordinators, members and committed offsets.
//!
//! The broker chooses member ids, so most members here are static: the case names the instance, and takes the member id
//! from the last response.

use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, GROUP, TRANSACTION};
use tidemill::wire::group::delete_groups::DeleteGroupsRequest;
use tidemill::wire::group::describe_groups::DescribeGroupsRequest;
use tidemill::wire::group::heartbeat::HeartbeatRequest;
use tidemill::wire::group::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use tidemill::wire::group::leave_group::{LeaveGroupRequest, MemberIdentity};
use tidemill::wire::group::list_groups::ListGroupsRequest;
use tidemill::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use tidemill::wire::group::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use tidemill::wire::group::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use tidemill::wire::group::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use tidemill::wire::{ApiKey, Bytes};

use super::super::case::{Case, UNKNOWN_ID, case, say};
use super::super::pair::Side;

fn find(name: &'static str, key_type: i8, keys: &'static [&'static str]) -> Case {
    case(ApiKey::FindCoordinator, name, move |_, v| {
        let key_type = if v == 0 { GROUP } else { key_type };
        let mut request = FindCoordinatorRequest { key_type, ..Default::default() };
        if v < 4 {
            request.key = keys[0].into();
        } else {
            request.coordinator_keys = keys.iter().map(|key| (*key).into()).collect();
        }
        say(&request, v)
    })
}

/// A commit by topic name, or by id from the version that has it; `offsets` are partition, offset and metadata.
fn commit(
    side: &Side,
    v: i16,
    group: &str,
    topic: &'static str,
    offsets: &[(i32, i64, Option<&str>)],
    member: (i32, &str),
) -> Vec<u8> {
    let partitions = offsets.iter().map(|(partition_index, committed_offset, metadata)| OffsetCommitRequestPartition {
        partition_index: *partition_index,
        committed_offset: *committed_offset,
        committed_leader_epoch: if v >= 6 { 3 } else { -1 },
        committed_metadata: metadata.map(str::to_owned),
    });
    let mut asked =
        OffsetCommitRequestTopic { name: topic.into(), partitions: partitions.collect(), ..Default::default() };
    if v >= 10 {
        asked.topic_id = if topic == "nope" { UNKNOWN_ID } else { side.id(topic) };
    }
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: member.0,
        member_id: member.1.into(),
        topics: vec![asked],
        ..Default::default()
    };
    say(&request, v)
}

/// Fetches the committed offsets of groups; without topics, all of them.
fn fetch_offsets(side: &Side, v: i16, groups: &[&str], topics: Option<&[(&'static str, &[i32])]>) -> Vec<u8> {
    let mut request = OffsetFetchRequest::default();
    if v < 8 {
        request.group_id = groups[0].into();
        request.topics = topics.map(|topics| {
            let topic = |(name, indexes): &(&str, &[i32])| OffsetFetchRequestTopic {
                name: (*name).into(),
                partition_indexes: indexes.to_vec(),
            };
            topics.iter().map(topic).collect()
        });
    } else {
        let topic = |(name, indexes): &(&'static str, &[i32])| OffsetFetchRequestTopics {
            name: (*name).into(),
            topic_id: match v {
                10.. if *name == "nope" => UNKNOWN_ID,
                10.. => side.id(name),
                _ => tidemill::model::TopicId::ZERO,
            },
            partition_indexes: indexes.to_vec(),
        };
        let group = |id: &&str| OffsetFetchRequestGroup {
            group_id: (*id).into(),
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            ..Default::default()
        };
        request.groups = groups.iter().map(group).collect();
    }
    say(&request, v)
}

/// The longest timeout of a session. No session ends while the cases run, on one side earlier than on another.
pub const BEYOND_THE_RUN_MS: i32 = 1_800_000;

pub fn join(group: String, member_id: &str, instance: Option<&str>, v: i16) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group,
        session_timeout_ms: BEYOND_THE_RUN_MS,
        rebalance_timeout_ms: if v == 0 { -1 } else { BEYOND_THE_RUN_MS },
        member_id: member_id.into(),
        group_instance_id: instance.filter(|_| v >= 5).map(str::to_owned),
        protocol_type: "consumer".into(),
        protocols: vec![
            JoinGroupRequestProtocol { name: "range".into(), metadata: subscription() },
            JoinGroupRequestProtocol { name: "roundrobin".into(), metadata: Bytes(vec![9]) },
        ],
        reason: None,
    }
}

/// A subscription to the topic `small`, as a consumer of version 0 encodes it.
fn subscription() -> Bytes {
    Bytes([&[0, 0, 0, 0, 0, 1, 0, 5][..], b"small", &[255, 255, 255, 255]].concat())
}

pub fn sync(group: String, generation_id: i32, member_id: &str, instance: Option<&str>, v: i16) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group,
        generation_id,
        member_id: member_id.into(),
        group_instance_id: instance.filter(|_| v >= 3).map(str::to_owned),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment { member_id: member_id.into(), assignment: Bytes(vec![1, 2, 3]) }],
    }
}

fn heartbeat(group: String, generation_id: i32, member_id: &str, instance: Option<&str>, v: i16) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group,
        generation_id,
        member_id: member_id.into(),
        group_instance_id: instance.filter(|_| v >= 3).map(str::to_owned),
    }
}

fn leave(group: &str, member_id: &str, instance: Option<&str>, v: i16) -> LeaveGroupRequest {
    let (group_id, member_id) = (group.to_owned(), member_id.to_owned());
    match v {
        0..3 => LeaveGroupRequest { group_id, member_id, members: vec![] },
        _ => {
            let group_instance_id = instance.map(str::to_owned);
            let members = vec![MemberIdentity { member_id, group_instance_id, reason: None }];
            LeaveGroupRequest { group_id, member_id: String::new(), members }
        }
    }
}

fn list(name: &'static str, states: &'static [&'static str], types: &'static [&'static str]) -> Case {
    case(ApiKey::ListGroups, name, move |_, v| {
        let words = |words: &[&str], since| match v >= since {
            true => words.iter().map(|word| (*word).to_owned()).collect(),
            false => vec![],
        };
        say(&ListGroupsRequest { states_filter: words(states, 4), types_filter: words(types, 5) }, v)
    })
}

fn describe(name: &'static str, groups: &'static [&'static str]) -> Case {
    case(ApiKey::DescribeGroups, name, move |_, v| {
        let groups = groups.iter().map(|group| (*group).into()).collect();
        say(&DescribeGroupsRequest { groups, include_authorized_operations: v >= 3 }, v)
    })
}

fn delete(name: &'static str, groups: &'static [&'static str]) -> Case {
    case(ApiKey::DeleteGroups, name, move |_, v| {
        say(&DeleteGroupsRequest { groups_names: groups.iter().map(|group| (*group).into()).collect() }, v)
    })
}

fn forget(name: &'static str, group: &'static str, topics: &'static [(&'static str, &'static [i32])]) -> Case {
    case(ApiKey::OffsetDelete, name, move |_, v| {
        let topic = |(name, indexes): &(&str, &[i32])| OffsetDeleteRequestTopic {
            name: (*name).into(),
            partitions: indexes.iter().map(|index| OffsetDeleteRequestPartition { partition_index: *index }).collect(),
        };
        say(&OffsetDeleteRequest { group_id: group.into(), topics: topics.iter().map(topic).collect() }, v)
    })
}

pub fn cases() -> Vec<Case> {
    let mut cases = coordinators();
    cases.extend(offsets());
    cases.extend(strangers());
    cases.extend(members());
    cases.extend(ends());
    cases
}

fn coordinators() -> Vec<Case> {
    vec![
        find("a group", GROUP, &["g"]),
        find("several groups", GROUP, &["g", "h", "g"]),
        find("an empty key", GROUP, &[""]),
        find("no keys", GROUP, &[]).since(4),
        find("a transactional id", TRANSACTION, &["t"]).since(1),
        find("an unknown type", 7, &["g"]).since(1),
        find("a share group below its version", 2, &["g"]).since(1).until(5),
    ]
}

/// Commits without a member.
fn offsets() -> Vec<Case> {
    let long: &'static str = "m".repeat(4097).leak();
    vec![
        case(ApiKey::OffsetCommit, "a simple commit", |side, v| {
            commit(side, v, "simple", "small", &[(0, 5, Some("some metadata")), (1, 7, None)], (-1, ""))
        }),
        case(ApiKey::OffsetCommit, "an empty group id", |side, v| {
            commit(side, v, "", "small", &[(0, 5, None)], (-1, ""))
        }),
        case(ApiKey::OffsetCommit, "an unknown topic", |side, v| {
            commit(side, v, "simple", "nope", &[(0, 5, None)], (-1, ""))
        }),
        case(ApiKey::OffsetCommit, "an unknown partition", |side, v| {
            commit(side, v, "simple", "small", &[(0, 6, None), (99, 5, None), (-1, 5, None)], (-1, ""))
        }),
        case(ApiKey::OffsetCommit, "metadata too large", move |side, v| {
            commit(side, v, "simple", "small", &[(0, 8, Some(&long[1..])), (1, 9, Some(long))], (-1, ""))
        }),
        case(ApiKey::OffsetCommit, "negative offsets", |side, v| {
            commit(side, v, "simple", "small", &[(0, -1, None), (1, -5, None)], (-1, ""))
        }),
        case(ApiKey::OffsetCommit, "a member of a group that is not there", |side, v| {
            commit(side, v, "nobodys", "small", &[(0, 5, None)], (3, "member"))
        }),
        case(ApiKey::OffsetCommit, "a member of an empty group", |side, v| {
            commit(side, v, "simple", "small", &[(0, 5, None)], (3, "member"))
        }),
        case(ApiKey::OffsetCommit, "no generation but a member", |side, v| {
            commit(side, v, "simple", "small", &[(0, 5, Some("x"))], (-1, "member"))
        }),
        case(ApiKey::OffsetCommit, "no topics", |_, v| {
            say(&OffsetCommitRequest { group_id: "simple".into(), ..Default::default() }, v)
        }),
        case(ApiKey::OffsetFetch, "what was committed", |side, v| {
            fetch_offsets(side, v, &["simple"], Some(&[("small", &[0, 1]), ("plain", &[0, 77])]))
        }),
        case(ApiKey::OffsetFetch, "all that was committed", |side, v| fetch_offsets(side, v, &["simple"], None))
            .since(2),
        case(ApiKey::OffsetFetch, "several groups", |side, v| {
            fetch_offsets(side, v, &["simple", "nobodys", ""], Some(&[("small", &[0])]))
        })
        .since(8),
        case(ApiKey::OffsetFetch, "of an unknown group", |side, v| {
            fetch_offsets(side, v, &["nobodys"], Some(&[("small", &[0])]))
        }),
        case(ApiKey::OffsetFetch, "all of an unknown group", |side, v| fetch_offsets(side, v, &["nobodys"], None))
            .since(2),
        case(ApiKey::OffsetFetch, "an unknown topic", |side, v| {
            fetch_offsets(side, v, &["simple"], Some(&[("nope", &[0]), ("small", &[1])]))
        }),
        case(ApiKey::OffsetFetch, "no topics", |side, v| fetch_offsets(side, v, &["simple"], Some(&[]))),
        case(ApiKey::OffsetFetch, "only what is stable", |side, v| {
            let groups = vec![OffsetFetchRequestGroup { group_id: "simple".into(), ..Default::default() }];
            let _ = side;
            match v {
                7 => say(
                    &OffsetFetchRequest { group_id: "simple".into(), require_stable: true, ..Default::default() },
                    v,
                ),
                _ => say(&OffsetFetchRequest { groups, require_stable: true, ..Default::default() }, v),
            }
        })
        .since(7),
        describe("a simple group", &["simple"]),
        list("with a simple group", &[], &[]),
        forget("of a simple group", "simple", &[("small", &[1, 5]), ("nope", &[0])]),
        forget("of nobody", "nobodys", &[("small", &[0])]),
        forget("of an empty group id", "", &[("small", &[0])]),
        case(ApiKey::OffsetFetch, "what was not forgotten", |side, v| {
            fetch_offsets(side, v, &["simple"], Some(&[("small", &[0, 1])]))
        }),
    ]
}

/// Requests of unknown members.
fn strangers() -> Vec<Case> {
    vec![
        case(ApiKey::JoinGroup, "an empty group id", |_, v| say(&join(String::new(), "", Some("i"), v), v)),
        case(ApiKey::JoinGroup, "too short a session", |_, v| {
            say(&JoinGroupRequest { session_timeout_ms: 5999, ..join("short".into(), "", Some("i"), v) }, v)
        }),
        case(ApiKey::JoinGroup, "too long a session", |_, v| {
            say(&JoinGroupRequest { session_timeout_ms: 1_800_001, ..join("long".into(), "x", Some("i"), v) }, v)
        }),
        case(ApiKey::JoinGroup, "a member of a group that is not there", |_, v| {
            say(&join("nobodys".into(), "nobody", None, v), v)
        }),
        case(ApiKey::JoinGroup, "no protocols", |_, v| {
            say(&JoinGroupRequest { protocols: vec![], ..join("unprotocolled".into(), "", Some("i"), v) }, v)
        }),
        case(ApiKey::JoinGroup, "no protocol type", |_, v| {
            say(&JoinGroupRequest { protocol_type: String::new(), ..join("untyped".into(), "", Some("i"), v) }, v)
        }),
        case(ApiKey::JoinGroup, "without an id", |_, v| say(&join(format!("anonymous-{v}"), "", None, v), v)).since(4),
        case(ApiKey::SyncGroup, "a group that is not there", |_, v| {
            say(&sync("nobodys".into(), 1, "nobody", None, v), v)
        }),
        case(ApiKey::SyncGroup, "an empty group id", |_, v| say(&sync(String::new(), 1, "nobody", None, v), v)),
        case(ApiKey::SyncGroup, "without a protocol", |_, v| {
            let request = sync("simple".into(), 1, "nobody", None, v);
            say(&SyncGroupRequest { protocol_type: None, protocol_name: None, ..request }, v)
        }),
        case(ApiKey::SyncGroup, "an empty group", |_, v| say(&sync("simple".into(), 0, "nobody", None, v), v)),
        case(ApiKey::Heartbeat, "a group that is not there", |_, v| {
            say(&heartbeat("nobodys".into(), 1, "nobody", None, v), v)
        }),
        case(ApiKey::Heartbeat, "an empty group id", |_, v| say(&heartbeat(String::new(), 1, "nobody", None, v), v)),
        case(ApiKey::Heartbeat, "an empty group", |_, v| say(&heartbeat("simple".into(), 0, "nobody", None, v), v)),
        case(ApiKey::LeaveGroup, "a group that is not there", |_, v| say(&leave("nobodys", "nobody", None, v), v)),
        case(ApiKey::LeaveGroup, "an empty group id", |_, v| say(&leave("", "nobody", None, v), v)),
        case(ApiKey::LeaveGroup, "an empty group", |_, v| say(&leave("simple", "nobody", Some("i"), v), v)),
        case(ApiKey::LeaveGroup, "an instance that is not there", |_, v| say(&leave("simple", "", Some("i"), v), v))
            .since(3),
        describe("groups that are not there", &["nobodys", "", "nobodys"]),
        delete("groups that are not there", &["nobodys", ""]),
    ]
}

/// One static member: its group forms, is stable, and ends. The group's name contains the version.
fn members() -> Vec<Case> {
    let group = |v: i16| format!("static-{v}");
    let own = move |side: &Side| side.member_id();
    vec![
        case(ApiKey::JoinGroup, "a static member", move |_, v| say(&join(group(v), "", Some("i"), v), v))
            .since(5)
            .then(move |side, v| say(&join(group(v), &own(side), Some("i"), v), v))
            .then(move |_, v| {
                say(&JoinGroupRequest { protocol_type: "other".into(), ..join(group(v), "", Some("j"), v) }, v)
            })
            .then(move |_, v| say(&join(group(v), "stranger", Some("i"), v), v))
            .then(move |_, v| say(&join(group(v), "stranger", Some("k"), v), v))
            .then(move |_, v| say(&join(group(v), "stranger", None, v), v)),
        another_kind(),
        // Version 9 of JoinGroup was the last one, so the other cases use its group.
        case(ApiKey::Heartbeat, "before the assignment", move |side, v| {
            say(&heartbeat(group(9), 1, &own(side), Some("i"), v), v)
        }),
        case(ApiKey::OffsetCommit, "before the assignment", move |side, v| {
            commit(side, v, &group(9), "small", &[(0, 5, None)], (1, &own(side)))
        }),
        describe("a group that completes", &["static-9"]),
        case(ApiKey::SyncGroup, "another generation", move |side, v| {
            say(&sync(group(9), 7, &own(side), Some("i"), v), v)
        }),
        case(ApiKey::SyncGroup, "another member", move |_, v| say(&sync(group(9), 1, "stranger", None, v), v)),
        case(ApiKey::SyncGroup, "another member of the instance", move |_, v| {
            say(&sync(group(9), 1, "stranger", Some("i"), v), v)
        })
        .since(3),
        case(ApiKey::SyncGroup, "another protocol", move |side, v| {
            let request = sync(group(9), 1, &own(side), Some("i"), v);
            say(&SyncGroupRequest { protocol_name: Some("roundrobin".into()), ..request }, v)
        })
        .since(5),
        case(ApiKey::SyncGroup, "the leader", move |side, v| say(&sync(group(9), 1, &own(side), Some("i"), v), v)),
        case(ApiKey::Heartbeat, "a stable group", move |side, v| {
            say(&heartbeat(group(9), 1, &own(side), Some("i"), v), v)
        })
        .then(move |side, v| say(&heartbeat(group(9), 2, &own(side), Some("i"), v), v))
        .then(move |_, v| say(&heartbeat(group(9), 1, "stranger", Some("i"), v), v))
        .then(move |_, v| say(&heartbeat(group(9), 1, "stranger", None, v), v)),
        case(ApiKey::OffsetCommit, "a member", move |side, v| {
            commit(side, v, &group(9), "small", &[(0, 5, Some("by a member"))], (1, &own(side)))
        })
        .then(move |side, v| commit(side, v, &group(9), "small", &[(0, 5, None)], (2, &own(side))))
        .then(move |side, v| commit(side, v, &group(9), "small", &[(0, 5, None)], (1, "stranger")))
        .then(move |side, v| commit(side, v, &group(9), "small", &[(0, 5, None)], (-1, ""))),
        describe("a stable group", &["static-9", "simple"]),
        list("stable ones", &["stable"], &[]).since(4),
        list("empty ones", &["Empty", "Dead"], &[]).since(4),
        list("in no state there is", &["nonsense"], &[]).since(4),
        list("classic ones", &[], &["classic"]).since(5),
        list("consumer ones", &[], &["Consumer"]).since(5),
        list("of a type that is none", &[], &["nonsense"]).since(5),
        delete("a stable group", &["static-9"]),
        forget("of a topic that is read", "static-9", &[("small", &[0]), ("plain", &[0])]),
        case(ApiKey::JoinGroup, "the leader again", move |side, v| say(&join(group(9), &own(side), Some("i"), v), v))
            .since(9)
            .then(move |_, v| say(&join(group(9), "", Some("i"), v), v)),
        case(ApiKey::SyncGroup, "the next generation", move |side, v| {
            say(&sync(group(9), 3, &own(side), Some("i"), v), v)
        }),
        case(ApiKey::JoinGroup, "an instance that was restarted", move |_, v| {
            say(&join(group(9), "", Some("i"), v), v)
        })
        .since(5),
    ]
}

/// Statement 117: members of any protocol type are served, and the broker does not parse their metadata.
fn another_kind() -> Case {
    let group = |v: i16| format!("workers-{v}");
    case(ApiKey::JoinGroup, "of another kind", move |_, v| {
        let protocols = vec![JoinGroupRequestProtocol { name: "default".into(), metadata: Bytes(vec![0xff, 0, 1]) }];
        let protocol_type = "connect".into();
        say(&JoinGroupRequest { protocol_type, protocols, ..join(group(v), "", Some("i"), v) }, v)
    })
    .since(5)
    .and(ApiKey::SyncGroup, 5, move |side, v, at| {
        let request = sync(group(v), 1, &side.member_id(), Some("i"), at);
        let [protocol_type, protocol_name] = ["connect", "default"].map(|name| Some(name.to_owned()));
        say(&SyncGroupRequest { protocol_type, protocol_name, ..request }, at)
    })
    .and(ApiKey::OffsetCommit, 9, move |side, v, at| {
        commit(side, at, &group(v), "small", &[(0, 5, None)], (1, &side.member_id()))
    })
    .and(ApiKey::DescribeGroups, 6, move |_, v, at| {
        say(&DescribeGroupsRequest { groups: vec![group(v)], include_authorized_operations: false }, at)
    })
    .and(ApiKey::OffsetDelete, 0, move |_, v, at| {
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
        let topics = vec![OffsetDeleteRequestTopic { name: "small".into(), partitions }];
        say(&OffsetDeleteRequest { group_id: group(v), topics }, at)
    })
    .and(ApiKey::LeaveGroup, 5, move |_, v, at| say(&leave(&group(v), "", Some("i"), at), at))
    .and(ApiKey::DeleteGroups, 2, move |_, v, at| say(&DeleteGroupsRequest { groups_names: vec![group(v)] }, at))
}

fn ends() -> Vec<Case> {
    vec![
        case(ApiKey::LeaveGroup, "another member of the instance", |_, v| {
            say(&leave("static-9", "stranger", Some("i"), v), v)
        })
        .since(3),
        case(ApiKey::LeaveGroup, "the instance", |_, v| say(&leave("static-9", "", Some("i"), v), v)).since(3),
        describe("an empty group", &["static-9"]),
        case(ApiKey::OffsetFetch, "of an empty group", |side, v| {
            fetch_offsets(side, v, &["static-9"], Some(&[("small", &[0, 1])]))
        }),
        delete("empty groups", &["static-9", "simple", "nobodys"]),
        case(ApiKey::OffsetFetch, "of a deleted group", |side, v| {
            fetch_offsets(side, v, &["static-9", "simple"], Some(&[("small", &[0])]))
        }),
        describe("a deleted group", &["static-9"]),
    ]
}
