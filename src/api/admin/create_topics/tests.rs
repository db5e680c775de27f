use super::*;
use crate::api::admin::fixture::{World, check_encodes, numbers};

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..CreatableTopic::default()
    }
}

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    let config = |(name, value): &(&str, Option<&str>)| CreatableTopicConfig {
        name: (*name).into(),
        value: value.map(str::to_owned),
    };
    CreatableTopic { configs: configs.iter().map(config).collect(), ..topic(name, 1, 1) }
}

/// With replicas chosen by the client.
fn manual(name: &str, partitions: i32, factor: i16, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *index,
        broker_ids: brokers.to_vec(),
    };
    CreatableTopic { assignments: assignments.iter().map(assignment).collect(), ..topic(name, partitions, factor) }
}

fn plan_at(
    world: &World,
    version: i16,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> Plan<CreateTopicsResponse> {
    let request = CreateTopicsRequest { topics, validate_only, ..CreateTopicsRequest::default() };
    let plan = plan(&request, &world.at(version), &mut numbers());
    check_encodes(&plan.answer, version);
    // The plan applies to the image on which it was made.
    world.clone().commit(&plan.commands);
    plan
}

fn check_refused(world: &World, version: i16, topic: CreatableTopic, code: ErrorCode, message: &str) {
    for validate_only in [false, true] {
        let plan = plan_at(world, version, vec![topic.clone()], validate_only);
        let result = &plan.answer.topics[0];
        assert_eq!((result.error_code, &plan.commands), (code, &vec![]), "{topic:?}: {result:?}");
        assert!(result.error_message.as_deref().unwrap().contains(message), "{:?}", result.error_message);
    }
}

#[test]
fn statement_31_minus_one_is_the_brokers_default() {
    let world = World::nodes(3).set(&["num.partitions=5", "default.replication.factor=2"]);
    // KIP-464 requires version 4; Kafka 4.3 ignores the version.
    for version in 2..=7 {
        let plan = plan_at(&world, version, vec![topic("t", -1, -1)], false);
        let Command::CreateTopic { replicas, .. } = &plan.commands[0] else { panic!("{:?}", plan.commands) };
        assert_eq!((replicas.len(), replicas[0].len()), (5, 2));
    }
}

#[test]
fn statement_31_validate_only_answers_the_same_and_changes_nothing() {
    let world = World::nodes(1).topic("old", &[&[1]]);
    let topics =
        vec![topic("new", 3, 1), topic("old", 1, 1), topic("none", 0, 1), configured("x", &[("nope", Some("1"))])];
    let (real, dry) = (plan_at(&world, 7, topics.clone(), false), plan_at(&world, 7, topics, true));
    assert_eq!((real.answer, real.commands.len()), (dry.answer, 1));
    assert_eq!(dry.commands, []);
}

#[test]
fn statement_32_the_answer_has_the_shape_and_every_config_of_the_topic() {
    let world = World::nodes(1).set(&["log.segment.bytes=2097152"]);
    let asked = CreatableTopic { num_partitions: 3, ..configured("t", &[("retention.ms", Some(" 5 "))]) };
    let plan = plan_at(&world, 7, vec![asked], false);
    let result = &plan.answer.topics[0];
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (ErrorCode::None, 3, 1));
    let configs = result.configs.as_ref().unwrap();
    assert_eq!(configs.len(), topic::SETTINGS.len());
    let config = |name: &str| {
        let config = configs.iter().find(|config| config.name == name).unwrap();
        (config.value.as_deref(), config.config_source)
    };
    assert_eq!(config("retention.ms"), (Some(" 5 "), 1), "as written");
    assert_eq!(config("segment.bytes"), (Some("2097152"), 4));
    assert_eq!(config("cleanup.policy"), (Some("delete"), 5));
    let Command::CreateTopic { id, overrides, .. } = &plan.commands[0] else { panic!("{:?}", plan.commands) };
    assert_eq!((*id, id.is_zero()), (result.topic_id, false));
    assert_eq!(*overrides, [("retention.ms".to_owned(), " 5 ".to_owned())]);
}

#[test]
fn statement_33_each_topic_is_refused_on_its_own() {
    let world = World::nodes(1).topic("old", &[&[1]]);
    let topics = vec![
        topic("old", 1, 1),
        topic("twice", 1, 1),
        topic("twice", 2, 1),
        topic("good", 1, 1),
        topic("none", 0, 1),
        topic("far", 1, 3),
        topic("a b", 1, 1),
        configured("odd", &[("nope", Some("1"))]),
        manual("lost", -1, -1, &[(0, &[9])]),
    ];
    let plan = plan_at(&world, 7, topics, false);
    let codes: Vec<_> = plan.answer.topics.iter().map(|result| (result.name.as_str(), result.error_code)).collect();
    assert_eq!(
        codes,
        [
            ("old", ErrorCode::TopicAlreadyExists),
            ("twice", ErrorCode::InvalidRequest),
            ("good", ErrorCode::None),
            ("none", ErrorCode::InvalidPartitions),
            ("far", ErrorCode::InvalidReplicationFactor),
            ("a b", ErrorCode::InvalidTopicException),
            ("odd", ErrorCode::InvalidConfig),
            ("lost", ErrorCode::InvalidReplicaAssignment),
        ]
    );
    assert_eq!(plan.commands.len(), 1);
    let refused = &plan.answer.topics[0];
    assert_eq!((refused.num_partitions, refused.replication_factor, refused.topic_id), (-1, -1, TopicId::ZERO));
}

#[test]
fn statement_33_names_that_differ_in_dots_collide_within_a_request_too() {
    let world = World::nodes(1).topic("old.x", &[&[1]]);
    check_refused(
        &world,
        7,
        topic("old_x", 1, 1),
        ErrorCode::InvalidTopicException,
        "collides with existing topic: old.x",
    );
    let plan = plan_at(&world, 7, vec![topic("p.q", 1, 1), topic("p_q", 1, 1)], false);
    let codes: Vec<_> = plan.answer.topics.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::InvalidTopicException]);
}

#[test]
fn invalid_numbers_are_rejected_as_in_kafka() {
    let world = World::nodes(1);
    let check =
        |partitions, factor, code, message| check_refused(&world, 5, topic("t", partitions, factor), code, message);
    check(0, 1, ErrorCode::InvalidPartitions, "non-positive");
    check(-2, 1, ErrorCode::InvalidPartitions, "non-positive");
    check(1, 0, ErrorCode::InvalidReplicationFactor, "larger than 0");
    check(1, -2, ErrorCode::InvalidReplicationFactor, "larger than 0");
    check(1, 3, ErrorCode::InvalidReplicationFactor, "only 2 broker(s) are registered");
}

#[test]
fn one_node_accepts_a_factor_up_to_its_brokers_and_reports_one_replica() {
    let world = World::nodes(1);
    let check = |topic: CreatableTopic, expected: &str| {
        for version in 2..=7 {
            let plan = plan_at(&world, version, vec![topic.clone()], false);
            let result = &plan.answer.topics[0];
            assert_eq!((result.error_code, result.replication_factor), (ErrorCode::None, 1), "{result:?}");
            assert!(result.error_message.as_deref().unwrap().contains(expected), "{:?}", result.error_message);
            let Command::CreateTopic { replicas, .. } = &plan.commands[0] else { panic!("{:?}", plan.commands) };
            assert!(replicas.iter().all(|replicas| *replicas == [NodeId(1)]), "{replicas:?}");
        }
    };
    check(topic("t", 3, 2), "1 replica in place of 2: the 2 brokers of this cluster are one node");
    check(manual("t", -1, -1, &[(0, &[1001, 1000]), (1, &[1000, 1001])]), "partition 1 lies on [1000], not on [1000, ");
    // Both partitions cannot be on one shard.
    check(manual("t", -1, -1, &[(0, &[1001]), (1, &[1001])]), "lies on [1000], not on [1001]");
    let chosen = manual("t", -1, -1, &[(0, &[1001]), (1, &[1000])]);
    let plan = plan_at(&world, 7, vec![chosen], false);
    assert_eq!(plan.answer.topics[0].error_message, None, "all partitions lie on the chosen brokers");
    check_refused(
        &world,
        7,
        manual("t", -1, -1, &[(0, &[1001]), (1, &[1000, 1001])]),
        ErrorCode::InvalidReplicaAssignment,
        "not consistent with previous",
    );
    // A default of 2 is accepted too.
    let world = World::nodes(1).set(&["default.replication.factor=2"]);
    assert_eq!(plan_at(&world, 7, vec![topic("t", 1, -1)], false).answer.topics[0].replication_factor, 1);
}

#[test]
fn too_many_partitions_reject_the_whole_request() {
    let world = World::nodes(1);
    for topics in [
        vec![topic("small", 1, 1), topic("big", i32::MAX, 1), topic("big2", i32::MAX, 1)],
        vec![topic("a", 5000, 1), topic("b", 5001, 1)],
    ] {
        let plan = plan_at(&world, 7, topics, false);
        assert_eq!(plan.commands, []);
        assert!(plan.answer.topics.iter().all(|result| result.error_code == ErrorCode::PolicyViolation));
    }
    assert_eq!(plan_at(&world, 7, vec![topic("a", 5000, 1), topic("b", 5000, 1)], false).commands.len(), 2);
}

#[test]
fn chosen_replicas_are_used_unchanged() {
    let world = World::nodes(2);
    let asked = manual("t", -1, -1, &[(1, &[2001, 1000]), (0, &[1001, 2000])]);
    let plan = plan_at(&world, 5, vec![asked], false);
    let Command::CreateTopic { replicas, .. } = &plan.commands[0] else { panic!("{:?}", plan.commands) };
    assert_eq!(*replicas, [[NodeId(1), NodeId(2)], [NodeId(2), NodeId(1)]]);
    let result = &plan.answer.topics[0];
    assert_eq!((result.num_partitions, result.replication_factor), (2, 2));
}

#[test]
fn invalid_replica_choices_are_rejected_as_in_kafka() {
    let world = World::nodes(2);
    let check = |assignments: &[(i32, &[i32])], message| {
        check_refused(&world, 5, manual("t", -1, -1, assignments), ErrorCode::InvalidReplicaAssignment, message);
    };
    check(&[(1, &[1000])], "consecutive 0-based");
    check(&[(0, &[1000]), (2, &[1000])], "consecutive 0-based");
    check(&[(-1, &[1000]), (0, &[1000])], "consecutive 0-based");
    check(&[(0, &[1000]), (0, &[1000])], "multiple manual partition assignments for partition 0");
    check(&[(0, &[9000])], "includes broker 9000, but no such broker is registered");
    check(&[(0, &[1002])], "includes broker 1002");
    check(&[(0, &[-1])], "includes broker -1");
    check(&[(0, &[1000, 1000])], "includes the broker 1000 more than once");
    check(&[(0, &[1000, 1001])], "node 1 more than once");
    check(&[(0, &[])], "empty replica list");
    check(&[(0, &[1000]), (1, &[1000, 2000])], "not consistent with previous");
    let mixed = |partitions, factor, message| {
        let asked = manual("t", partitions, factor, &[(0, &[1000])]);
        check_refused(&world, 5, asked, ErrorCode::InvalidRequest, message);
    };
    mixed(1, -1, "numPartitions was not set to -1");
    mixed(-1, 1, "replication factor was not set to -1");
}

#[test]
fn invalid_configs_are_rejected_as_in_kafka() {
    let world = World::nodes(1);
    let check = |configs: &[(&str, Option<&str>)], message| {
        check_refused(&world, 5, configured("t", configs), ErrorCode::InvalidConfig, message);
    };
    check(&[("nope", Some("1"))], "Unknown topic config name: nope");
    check(
        &[("retention.ms", Some("abc"))],
        "Invalid value abc for configuration retention.ms: Not a number of type LONG",
    );
    check(&[("retention.ms", None)], "Null value not supported for topic configs: retention.ms");
    check(&[("segment.bytes", Some("5"))], "Value must be at least 1048576");
    check(&[("remote.storage.enable", Some("true"))], "Tiered Storage functionality is disabled");
    check(
        &[("min.compaction.lag.ms", Some("9")), ("max.compaction.lag.ms", Some("8"))],
        "(9) > max.compaction.lag.ms (8)",
    );
    // Configs are checked before the numbers.
    let both = CreatableTopic { num_partitions: 0, ..configured("t", &[("nope", Some("1"))]) };
    check_refused(&world, 5, both, ErrorCode::InvalidConfig, "nope");
    // The last value of a repeated config wins.
    let plan =
        plan_at(&world, 5, vec![configured("t", &[("retention.ms", Some("1")), ("retention.ms", Some("2"))])], false);
    let Command::CreateTopic { overrides, .. } = &plan.commands[0] else { panic!("{:?}", plan.commands) };
    assert_eq!(*overrides, [("retention.ms".to_owned(), "2".to_owned())]);
}

#[test]
fn topic_ids_are_random_uuids_that_do_not_look_like_options() {
    let mut random = numbers();
    for _ in 0..1000 {
        let id = fresh_topic_id(&mut random);
        assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (4, 2), "version 4, variant 1");
        assert!(!id.to_string().starts_with('-'));
    }
    assert!(!fresh_topic_id(&mut || u64::MAX - (1 << 58)).to_string().starts_with('-'));
}

#[test]
fn refuse_all_names_every_topic() {
    let request =
        CreateTopicsRequest { topics: vec![topic("a", 1, 1), topic("b", 1, 1)], ..CreateTopicsRequest::default() };
    let response = refuse_all(&request, ErrorCode::RequestTimedOut, "too slow");
    assert!(response.topics.iter().all(|result| result.error_code == ErrorCode::RequestTimedOut));
    assert_eq!(response.topics.len(), 2);
}
