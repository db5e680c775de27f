//! Statement 111: the bytes of SyncGroup responses.

use std::time::Duration;

use crate::groups::{coordinator, settled};
use crate::support::node::Node;
use crate::support::talk::Talk;
use crate::support::wait_for;
use tidemill::model::ErrorCode;
use tidemill::wire::group::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use tidemill::wire::group::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use tidemill::wire::{ApiKey, Bytes, Message, Wire, frame};

/// The correlation id of requests whose responses are read as bytes.
const ID: i32 = 7;
const GROUP: &str = "g";
const SOON: Duration = Duration::from_secs(30);

fn join_request(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member_id.into(),
        protocol_type: "type".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "name".into(), metadata: Bytes(vec![1]) }],
        ..Default::default()
    }
}

fn sync_request(generation_id: i32, member_id: &str, given: &[(&str, &[u8])]) -> SyncGroupRequest {
    let assignment = |(id, bytes): &(&str, &[u8])| SyncGroupRequestAssignment {
        member_id: (*id).into(),
        assignment: Bytes(bytes.to_vec()),
    };
    SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id,
        member_id: member_id.into(),
        protocol_type: Some("type".into()),
        protocol_name: Some("name".into()),
        assignments: given.iter().map(assignment).collect(),
        ..Default::default()
    }
}

fn send(talk: &mut Talk, request: &impl Message, version: i16) {
    talk.send(&frame::encode_request(request, version, ID, None).expect("encodable"));
}

#[test]
fn s111_followers_wait_for_the_leader_and_an_empty_assignment_has_length_0() {
    let node = Node::tidemill("empty-assignment", &["--shards", "1", "--set", "group.initial.rebalance.delay.ms=0"]);
    let [mut leader, mut follower] = [coordinator(node.bootstrap(), GROUP), coordinator(node.bootstrap(), GROUP)];
    // Version 3 gives a new member its id at once.
    let first: JoinGroupResponse = settled(|| {
        let joined: JoinGroupResponse = leader.call(&join_request(""), 3);
        (joined.error_code, joined)
    });
    assert_eq!((first.error_code, &first.leader), (ErrorCode::None, &first.member_id));
    // The second member joins in the next generation, which waits for the first one.
    send(&mut follower, &join_request(""), 3);
    let joined = wait_for("the second member is joining", SOON, || {
        let synced: SyncGroupResponse = leader.call(&sync_request(first.generation_id, &first.member_id, &[]), 3);
        (synced.error_code == ErrorCode::RebalanceInProgress).then_some(())?;
        Some(leader.call::<JoinGroupResponse>(&join_request(&first.member_id), 3))
    });
    let second =
        follower.answer(ApiKey::JoinGroup, 3, ID, |r| <JoinGroupResponse as Wire>::decode(r, 3).expect("valid"));
    assert_eq!((joined.error_code, joined.members.len(), joined.generation_id), (ErrorCode::None, 2, 2));
    assert_eq!((second.error_code, &second.leader), (ErrorCode::None, &first.member_id));

    // The follower asks first. The leader gives an assignment of no bytes to itself, and none to the follower.
    send(&mut follower, &sync_request(2, &second.member_id, &[]), 3);
    send(&mut leader, &sync_request(2, &first.member_id, &[(&first.member_id, &[])]), 3);
    // Correlation id, throttle time, error code, and the length of the assignment.
    let expected = [&[0, 0, 0, 7][..], &[0; 4], &[0; 2], &[0; 4]].concat();
    assert_eq!(leader.receive().expect("an answer"), expected);
    assert_eq!(follower.receive().expect("an answer"), expected);
    // Flexible versions write the length plus 1, and add tags.
    send(&mut follower, &sync_request(2, &second.member_id, &[]), 4);
    let expected = [&[0, 0, 0, 7][..], &[0], &[0; 4], &[0; 2], &[1], &[0]].concat();
    assert_eq!(follower.receive().expect("an answer"), expected);
}
