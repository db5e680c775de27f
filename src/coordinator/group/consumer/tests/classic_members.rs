//! Classic members of a consumer group, and the conversion of a group between the two protocols.

use super::*;

fn classic_request(id: &str, topics: &[&str]) -> JoinGroupRequest {
    let mut request = request(id, &["range"]);
    request.protocols[0].metadata = subscription(topics);
    request
}

fn sync(world: &mut World, generation: i32, member: &str) -> SyncGroupResponse {
    let request = SyncGroupRequest {
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        group_id: G.into(),
        generation_id: generation,
        member_id: member.into(),
        ..SyncGroupRequest::default()
    };
    let (sender, receiver) = crate::runtime::sync::oneshot();
    world.step(|groups, now, writes| groups.sync(request, sender, now, writes));
    now(receiver)
}

fn assigned(response: &SyncGroupResponse) -> PartitionsByName {
    assert_eq!(response.error_code, ErrorCode::None);
    Assignment::parse(&response.assignment.0).unwrap().assigned
}

/// A classic group of two members, each with half of `t`.
fn classic_group(world: &mut World) -> (String, String) {
    let (a, b) =
        (world.join_with(classic_request("", &["t"]), false), world.join_with(classic_request("", &["t"]), false));
    world.pass(6000);
    let (a, b) = (now(a), now(b));
    assert_eq!(a.generation_id, 1);
    let half = |first: i32| Bytes(Assignment::to_bytes(&vec![("t".into(), (first..first + 3).collect())], 0));
    let (sender, receiver) = crate::runtime::sync::oneshot();
    let request = SyncGroupRequest {
        group_id: G.into(),
        generation_id: 1,
        member_id: a.member_id.clone(),
        assignments: [(&a, 0), (&b, 3)]
            .map(|(member, first)| crate::wire::group::sync_group::SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: half(first),
            })
            .into(),
        ..SyncGroupRequest::default()
    };
    world.step(|groups, now, writes| groups.sync(request, sender, now, writes));
    now(receiver);
    assert_eq!(world.state(), "Stable");
    (a.member_id, b.member_id)
}

fn beat(world: &mut World, generation: i32, member: &str) -> Result<(), ErrorCode> {
    let request = HeartbeatRequest {
        group_id: G.into(),
        generation_id: generation,
        member_id: member.into(),
        group_instance_id: None,
    };
    world.step(|groups, now, writes| groups.heartbeat(&request, now, writes))
}

fn kind(world: &World) -> String {
    world.groups.list(&ListGroupsRequest::default())[0].group_type.clone()
}

#[test]
fn statement_120_a_classic_group_is_upgraded_and_downgraded_with_its_members() {
    let mut world = World::with_image(EAGER, topics());
    let (a, b) = classic_group(&mut world);
    world.commit(1, &a, "t", 5).unwrap();
    let mut new = TestConsumer::new("new", &["t"]);
    new.beat(&mut world).unwrap();
    assert_eq!((kind(&world).as_str(), new.epoch, new.has.len()), ("consumer", 2, 0));
    assert_eq!(describe(&world).members.len(), 3);
    let described = describe(&world);
    world.restart();
    assert_eq!(describe(&world), described);
    // The classic members must rejoin, report their partitions, and revoke some of them.
    for member in [&a, &b] {
        assert_eq!(beat(&mut world, 1, member), Err(ErrorCode::RebalanceInProgress));
        let joined = now(world.join_with(classic_request(member, &["t"]), true));
        assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 2));
        assert_eq!((joined.protocol_name.as_deref(), joined.leader.as_str()), (Some("range"), ""));
        // It reports no partitions: eager members revoke all before they join.
        assert_eq!(
            assigned(&sync(&mut world, 2, member)),
            [("t".to_owned(), if *member == a { vec![0, 1] } else { vec![3, 4] })]
        );
        assert_eq!(beat(&mut world, 2, member), Ok(()));
    }
    new.beat(&mut world).unwrap();
    assert_eq!((new.has.len(), world.state()), (2, "Stable"));
    assert_eq!(world.committed("t", false), Ok(5));
    // The member of the consumer protocol leaves: the group becomes classic again and rebalances.
    new.leave(&mut world, -1).unwrap();
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "PreparingRebalance"));
    world.restart();
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "PreparingRebalance"));
    assert_eq!(beat(&mut world, 3, &a), Err(ErrorCode::IllegalGeneration));
    let generation = describe_generation(&mut world, &a);
    assert_eq!(beat(&mut world, generation, &a), Err(ErrorCode::RebalanceInProgress));
    let (mut first, mut second) =
        (world.join_with(classic_request(&a, &["t"]), true), world.join_with(classic_request(&b, &["t"]), true));
    let (first, second) = (poll(&mut first).unwrap(), poll(&mut second).unwrap());
    assert_eq!((first.generation_id, second.generation_id), (generation + 1, generation + 1));
    assert_eq!(first.members.len() + second.members.len(), 2, "one of them is the leader");
    assert_eq!(world.committed("t", false), Ok(5));
    world.restart();
    assert_eq!(kind(&world), "classic");
    assert_eq!(world.committed("t", false), Ok(5));
}

/// The generation that a member's heartbeats carry.
fn describe_generation(world: &mut World, member: &str) -> i32 {
    (0..10).find(|generation| beat(world, *generation, member) != Err(ErrorCode::IllegalGeneration)).unwrap()
}

#[test]
fn an_upgrade_aborts_a_rebalance_and_the_members_rejoin() {
    let mut world = World::with_image(EAGER, topics());
    let (a, b) = classic_group(&mut world);
    let mut waits = world.join_with(
        {
            let mut request = classic_request(&b, &["t", "u"]);
            request.reason = None;
            request
        },
        true,
    );
    assert!(poll(&mut waits).is_none());
    TestConsumer::new("new", &["t"]).beat(&mut world).unwrap();
    assert_eq!(now(waits).error_code, ErrorCode::RebalanceInProgress);
    assert_eq!(beat(&mut world, 1, &a), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn a_classic_member_that_does_not_rejoin_or_sync_in_time_is_removed() {
    let mut world = World::with_image(EAGER, topics());
    let (a, b) = classic_group(&mut world);
    let mut new = TestConsumer::new("new", &["t"]);
    new.beat(&mut world).unwrap();
    let _ = beat(&mut world, 1, &a);
    // b rejoins and never syncs. a sends heartbeats and never rejoins. Both had 20 seconds.
    now(world.join_with(classic_request(&b, &["t"]), true));
    for _ in 0..5 {
        world.pass(4000);
        new.beat(&mut world).unwrap();
        let _ = (beat(&mut world, 1, &a), beat(&mut world, 2, &b));
    }
    let members: Vec<String> = describe(&world).members.into_iter().map(|member| member.member_id).collect();
    assert_eq!(members, ["new"]);
    new.beat(&mut world).unwrap();
    new.beat(&mut world).unwrap();
    assert_eq!(new.has.len(), 6);
}

#[test]
fn classic_members_get_the_usual_errors() {
    let mut world = World::with_image(EAGER, topics());
    TestConsumer::new("new", &["t"]).beat(&mut world).unwrap();
    let joined = now(world.join_with(classic_request("", &["t"]), true));
    assert_eq!((joined.error_code, joined.member_id.is_empty()), (ErrorCode::MemberIdRequired, false));
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..classic_request(&joined.member_id, &["t"]) };
    assert_eq!(now(world.join_with(other, true)).error_code, ErrorCode::InconsistentGroupProtocol);
    let classic = now(world.join_with(classic_request(&joined.member_id, &["t"]), true));
    assert_eq!((classic.error_code, classic.generation_id), (ErrorCode::None, 3));
    let strange = {
        let mut request = request("z", &["other"]);
        request.protocols[0].metadata = subscription(&["t"]);
        request
    };
    assert_eq!(now(world.join_with(strange, true)).error_code, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(beat(&mut world, 3, "new"), Err(ErrorCode::UnknownMemberId), "a member of the consumer protocol");
    assert_eq!(beat(&mut world, 3, "unknown"), Err(ErrorCode::UnknownMemberId));
    assert_eq!(beat(&mut world, 9, &joined.member_id), Err(ErrorCode::IllegalGeneration));
    assert_eq!(sync(&mut world, 9, &joined.member_id).error_code, ErrorCode::IllegalGeneration);
    let members = [("unknown", None), ("", Some("i")), (joined.member_id.as_str(), None)].map(|(member, instance)| {
        let group_instance_id = instance.map(str::to_owned);
        MemberIdentity { member_id: member.into(), group_instance_id, ..MemberIdentity::default() }
    });
    let request = LeaveGroupRequest { group_id: G.into(), members: members.into(), ..LeaveGroupRequest::default() };
    let left = world.step(|groups, now, writes| groups.leave(&request, now, writes));
    let codes: Vec<ErrorCode> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [ErrorCode::UnknownMemberId, ErrorCode::UnknownMemberId, ErrorCode::None]);
    assert_eq!(describe(&world).members.len(), 1);
}

#[test]
fn an_empty_group_changes_its_protocol_and_keeps_its_offsets() {
    let mut world = World::with_image(EAGER, topics());
    world.commit(-1, "", "t", 5).unwrap();
    assert_eq!(kind(&world), "classic");
    let mut new = TestConsumer::new("new", &["t"]);
    new.beat(&mut world).unwrap();
    assert_eq!(kind(&world), "consumer");
    new.leave(&mut world, -1).unwrap();
    let joined = now(world.join_with(classic_request("", &["t"]), true));
    assert_eq!((joined.error_code, kind(&world).as_str()), (ErrorCode::MemberIdRequired, "classic"));
    assert_eq!(world.committed("t", false), Ok(5));
    world.restart();
    assert_eq!((kind(&world).as_str(), world.committed("t", false)), ("classic", Ok(5)));
}

#[test]
fn the_policy_decides_whether_a_group_is_upgraded_or_downgraded() {
    for (policy, upgrades, downgrades) in [
        ("bidirectional", true, true),
        ("upgrade", true, false),
        ("downgrade", false, true),
        ("disabled", false, false),
    ] {
        let setting = format!("group.consumer.migration.policy={policy}");
        let mut world = World::with_image(&[EAGER[0], &setting], topics());
        classic_group(&mut world);
        let mut new = TestConsumer::new("new", &["t"]);
        let answer = new.beat(&mut world);
        assert_eq!(answer.is_ok(), upgrades, "{policy}");
        if upgrades {
            new.leave(&mut world, -1).unwrap();
            assert_eq!(kind(&world), if downgrades { "classic" } else { "consumer" }, "{policy}");
        } else {
            assert_eq!((answer, kind(&world).as_str()), (Err(ErrorCode::GroupIdNotFound), "classic"));
        }
    }
}

#[test]
fn classic_members_take_over_the_partitions_of_a_leaving_consumer() {
    let mut world = World::with_image(&[EAGER[0], "group.consumer.migration.policy=upgrade"], topics());
    let (a, b) = classic_group(&mut world);
    let mut new = TestConsumer::new("new", &["t"]);
    new.beat(&mut world).unwrap();
    for member in [&a, &b] {
        now(world.join_with(classic_request(member, &["t"]), true));
        assigned(&sync(&mut world, 2, member));
    }
    new.beat(&mut world).unwrap();
    assert_eq!((new.has.len(), world.state()), (2, "Stable"));
    new.leave(&mut world, -1).unwrap();
    let mut all = BTreeSet::new();
    for member in [&a, &b] {
        assert_eq!(beat(&mut world, 2, member), Err(ErrorCode::RebalanceInProgress));
        assert_eq!(now(world.join_with(classic_request(member, &["t"]), true)).generation_id, 3);
        all.extend(assigned(&sync(&mut world, 3, member)).into_iter().flat_map(|(_, partitions)| partitions));
        assert_eq!(beat(&mut world, 3, member), Ok(()));
    }
    assert_eq!(all, (0..6).collect());
}

#[test]
fn a_downgrade_during_reconciliation_begins_a_rebalance() {
    let mut world = World::with_image(EAGER, topics());
    classic_group(&mut world);
    let mut new = TestConsumer { instance: Some("i".into()), ..TestConsumer::new("new", &["t"]) };
    new.beat(&mut world).unwrap();
    assert_eq!((new.has.len(), world.state()), (0, "Reconciling"), "the others have not revoked anything yet");
    let back = JoinGroupRequest { group_instance_id: Some("i".into()), ..classic_request("", &["t"]) };
    assert_eq!(now(world.join_with(back, true)).error_code, ErrorCode::None);
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "PreparingRebalance"));
    world.restart();
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "PreparingRebalance"));
}

#[test]
fn a_static_member_that_returns_as_classic_makes_the_group_classic() {
    let mut world = World::with_image(EAGER, topics());
    let mut new = TestConsumer { instance: Some("i".into()), ..TestConsumer::new("new", &["t"]) };
    new.beat(&mut world).unwrap();
    assert_eq!(new.has.len(), 6);
    let back = JoinGroupRequest { group_instance_id: Some("i".into()), ..classic_request("", &["t"]) };
    let joined = now(world.join_with(back, true));
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 2));
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "Stable"));
    let all = vec![("t".to_owned(), (0..6).collect())];
    assert_eq!(assigned(&sync(&mut world, 2, &joined.member_id)), all);
    world.restart();
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "Stable"));
    assert_eq!(assigned(&sync(&mut world, 2, &joined.member_id)), all);
}
