//! Kafka's own examples as tables, and properties of random groups that change step by step.

use proptest::prelude::*;

use super::*;

/// The topics of a case and their partition counts. Ids ascend in this order.
type Topics<'a> = &'a [(&'a str, usize)];

/// A member: its id (and instance id after a `/`), its subscription, its current target, and its expected target.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

fn topic_id(topics: Topics<'_>, name: &str) -> TopicId {
    let position = topics.iter().position(|(topic, _)| *topic == name);
    // A topic that does not exist has an id, too.
    TopicId([position.map_or(200, |position| position as u8 + 1); 16])
}

/// `T1:0,1 T2:5`
fn partitions(topics: Topics<'_>, text: &str) -> Partitions {
    let topic = |text: &str| {
        let (name, partitions) = text.split_once(':').expect("topic:partitions");
        let partitions =
            partitions.split(',').map(|partition| partition.parse().expect("a partition number")).collect();
        (topic_id(topics, name), partitions)
    };
    text.split_whitespace().map(topic).collect()
}

fn check(assignor: Assignor, topics: Topics<'_>, rows: &[Row<'_>]) {
    let subscriber = |(id, subscription, current, _): &Row<'_>| {
        let (id, instance_id) = id.split_once('/').map_or((*id, None), |(id, instance_id)| (id, Some(instance_id)));
        Subscriber {
            id: id.into(),
            instance_id: instance_id.map(Rc::from),
            topics: Rc::new(subscription.split_whitespace().map(|name| topic_id(topics, name)).collect()),
            current: partitions(topics, current),
        }
    };
    let subscribers: Vec<Subscriber> = rows.iter().map(subscriber).collect();
    let partitions_of = |id: &TopicId| topics.get(usize::from(id.0[0] - 1)).map_or(0, |(_, partitions)| *partitions);
    let assigned = assignor.assign(&subscribers, &partitions_of);
    for ((id, _, _, expected), assigned) in rows.iter().zip(assigned) {
        assert_eq!(assigned, partitions(topics, expected), "{id} of {rows:?}");
    }
}

fn uniform(topics: Topics<'_>, rows: &[Row<'_>]) {
    check(Assignor::Uniform, topics, rows);
}

fn range(topics: Topics<'_>, rows: &[Row<'_>]) {
    check(Assignor::Range, topics, rows);
}

#[test]
fn assignors_have_kafkas_names() {
    assert_eq!(Assignor::ALL.map(Assignor::name), ["uniform", "range"]);
    assert_eq!(Assignor::from_name("range"), Some(Assignor::Range));
    for unknown in ["", "Range", "cooperative-sticky"] {
        assert_eq!(Assignor::from_name(unknown), None);
    }
}

#[test]
fn empty_inputs_give_empty_assignments() {
    for assignor in Assignor::ALL {
        check(assignor, &[("T1", 3)], &[]);
        check(assignor, &[("T1", 3)], &[("A", "", "", "")]);
        check(assignor, &[("T1", 3)], &[("A", "T9", "", "")]);
        check(assignor, &[("T1", 3)], &[("A", "T9", "T9:0", ""), ("B", "T1", "", "T1:0,1,2")]);
        check(assignor, &[("T1", 3)], &[("A", "T1", "", "T1:0,1,2"), ("B", "", "", "")]);
        check(assignor, &[("T1", 0)], &[("A", "T1", "T1:0", "")]);
    }
}

#[test]
fn uniform_balances_members_with_equal_subscriptions() {
    let both = "T1 T3";
    uniform(&[("T3", 2), ("T1", 3)], &[("A", both, "", "T3:0,1"), ("B", both, "", "T1:0,1,2")]);
    uniform(&[("T3", 2)], &[("A", "T3", "", ""), ("B", "T3", "", "T3:0"), ("C", "T3", "", "T3:1")]);
    let both = "T1 T2";
    // One member has too many partitions.
    uniform(
        &[("T1", 3), ("T2", 3)],
        &[("A", both, "T1:0,1 T2:0,1", "T1:0,1 T2:0"), ("B", both, "T1:2 T2:2", "T1:2 T2:1,2")],
    );
    // The topics have more partitions.
    uniform(
        &[("T2", 5), ("T1", 6)],
        &[("A", both, "T1:0,2 T2:0", "T1:0,2 T2:0,3,4"), ("B", both, "T1:1 T2:1,2", "T1:1,3,4,5 T2:1,2")],
    );
    // C has joined.
    uniform(
        &[("T1", 3), ("T2", 3)],
        &[("A", both, "T1:0,2 T2:0", "T1:0,2"), ("B", both, "T1:1 T2:1,2", "T1:1 T2:1"), ("C", both, "", "T2:0,2")],
    );
    // C has left.
    uniform(
        &[("T2", 3), ("T1", 3)],
        &[("A", both, "T1:0 T2:0", "T1:0 T2:0,2"), ("B", both, "T1:1 T2:1", "T1:1,2 T2:1")],
    );
    // T1 has no subscribers any more.
    uniform(&[("T1", 2), ("T2", 2)], &[("A", "T2", "T1:0 T2:0", "T2:0"), ("B", "T2", "T1:1 T2:1", "T2:1")]);
}

#[test]
fn uniform_balances_members_with_common_topics() {
    uniform(&[("T1", 3), ("T3", 6)], &[("A", "T1 T3", "", "T1:0,1,2 T3:4"), ("B", "T3", "", "T3:0,1,2,3,5")]);
    uniform(&[("T1", 2), ("T3", 1)], &[("A", "T3", "", "T3:0"), ("B", "T3", "", ""), ("C", "T1", "", "T1:0,1")]);
    // The current targets are unbalanced.
    uniform(
        &[("T1", 6), ("T2", 4), ("T3", 4)],
        &[
            ("A", "T1", "T1:0,1,2", "T1:0,1,2,5"),
            ("B", "T1 T2", "T1:3 T2:0", "T1:3 T2:0,1,2,3"),
            ("C", "T1 T2 T3", "T1:4,5 T2:1,2,3 T3:0,1,2,3", "T1:4 T3:0,1,2,3"),
        ],
    );
    // T1, T2 and T3 have more partitions.
    uniform(
        &[("T1", 6), ("T2", 5), ("T3", 3), ("T4", 3)],
        &[
            ("A", "T1 T3", "T1:0,1,2,3 T3:0,1", "T1:0,1,2,3,4,5 T3:0,1,2"),
            ("B", "T1 T2 T3 T4", "T2:0,1,2 T4:0,1,2", "T2:0,1,2,3,4 T4:0,1,2"),
        ],
    );
    // C has joined, T1 and T2 have more partitions.
    uniform(
        &[("T1", 6), ("T2", 7)],
        &[
            ("A", "T1", "T1:0,2 T2:0", "T1:0,2,3,4,5"),
            ("B", "T1 T2", "T1:1 T2:1,2", "T1:1 T2:1,2,6"),
            ("C", "T1 T2", "", "T2:0,3,4,5"),
        ],
    );
    // C has left.
    uniform(
        &[("T1", 3), ("T2", 8), ("T3", 3)],
        &[("A", "T1 T3", "T1:0,1,2 T3:0,1", "T1:0,1,2 T3:0,1,2"), ("B", "T2", "T2:3,4,5,6", "T2:0,1,2,3,4,5,6,7")],
    );
    // A no longer subscribes to T2.
    uniform(
        &[("T1", 3), ("T2", 5)],
        &[("A", "T1", "T1:0,2 T2:1,3", "T1:0,1,2"), ("B", "T1 T2", "T1:1 T2:0,2,4", "T2:0,1,2,3,4")],
    );
    // T1 alone cannot balance the loads. C subscribes differently, so the heterogeneous algorithm runs.
    uniform(
        &[("T1", 2), ("T2", 2), ("T3", 2)],
        &[
            ("A", "T1 T2 T3", "T1:0,1 T2:0,1 T3:0,1", "T2:0 T3:0,1"),
            ("B", "T1 T2 T3", "", "T1:0,1 T2:1"),
            ("C", "", "", ""),
        ],
    );
}

#[test]
fn range_splits_topics_into_ranges() {
    let both = "T1 T3";
    range(&[("T1", 3), ("T3", 2)], &[("A", both, "", "T1:0,1 T3:0"), ("B", both, "", "T1:2 T3:1")]);
    range(
        &[("T1", 3), ("T2", 3), ("T3", 2)],
        &[("A", "T1 T2", "", "T1:0,1,2 T2:0,1"), ("B", "T3", "", "T3:0"), ("C", "T2 T3", "", "T2:2 T3:1")],
    );
    // More members than partitions.
    range(
        &[("T1", 3), ("T3", 2)],
        &[("A", both, "", "T1:0 T3:0"), ("B", both, "", "T1:1 T3:1"), ("C", both, "", "T1:2")],
    );
    let both = "T1 T2";
    // A has left and a member has joined. The current targets have no influence.
    range(&[("T1", 3), ("T2", 3)], &[("B", both, "T1:2 T2:2", "T1:0,1,2 T2:0,1,2")]);
    range(
        &[("T1", 3), ("T2", 3)],
        &[
            ("A", both, "T1:0,1 T2:0,1", "T1:0 T2:0"),
            ("B", both, "T1:2 T2:2", "T1:1 T2:1"),
            ("C", both, "", "T1:2 T2:2"),
        ],
    );
}

#[test]
fn range_orders_static_members_first_by_instance_id() {
    let both = "T1 T2";
    // The order is independent of the member ids.
    for [first, second] in [["M", "N"], ["N", "M"]] {
        let (first, second) = (format!("{first}/instance-1"), format!("{second}/instance-2"));
        range(
            &[("T1", 3), ("T2", 3)],
            &[("A", both, "", "T1:2 T2:2"), (&second, both, "", "T1:1 T2:1"), (&first, both, "", "T1:0 T2:0")],
        );
    }
}

#[test]
fn a_partition_claimed_by_two_members_gets_one_owner() {
    let topics = &[("T1", 2), ("T2", 1)];
    uniform(topics, &[("A", "T1", "T1:0,1", "T1:0"), ("B", "T1", "T1:0,1", "T1:1")]);
    uniform(topics, &[("A", "T1", "T1:0,7,-1", "T1:0,1"), ("B", "T2", "T2:0,1", "T2:0")]);
}

// ---- random groups ----------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    /// Adds a member with this number. The topics are its subscription if the group is mixed.
    Join(u8, BTreeSet<u8>),
    Leave(u8),
    /// Adds partitions to a topic.
    Grow(u8, u8),
}

const TOPICS: u8 = 5;

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn step() -> impl Strategy<Value = Step> {
    let subscription = proptest::collection::btree_set(0..TOPICS, 0..4);
    prop_oneof![
        4 => (0..12_u8, subscription).prop_map(|(member, topics)| Step::Join(member, topics)),
        2 => (0..12_u8).prop_map(Step::Leave),
        2 => (0..TOPICS, 1..9_u8).prop_map(|(topic, more)| Step::Grow(topic, more)),
    ]
}

struct Group {
    assignor: Assignor,
    is_mixed: bool,
    partitions: [usize; TOPICS as usize],
    members: Vec<Subscriber>,
}

impl Group {
    fn target(&self) -> Vec<Partitions> {
        self.assignor.assign(&self.members, &|topic| self.partitions[usize::from(topic.0[0])])
    }

    /// Assigns, and returns the earlier targets.
    fn assign(&mut self) -> Vec<Partitions> {
        let target = self.target();
        let set = |(member, target): (&mut Subscriber, Partitions)| std::mem::replace(&mut member.current, target);
        self.members.iter_mut().zip(target).map(set).collect()
    }

    fn check(&self) {
        let mut owned = BTreeSet::new();
        for member in &self.members {
            for (topic, partitions) in &member.current {
                assert!(member.topics.contains(topic), "ASSIGN-1: the owner subscribes to the topic");
                assert!(!partitions.is_empty());
                for partition in partitions {
                    assert!(owned.insert((*topic, *partition)), "ASSIGN-1: a partition has one owner");
                }
            }
        }
        let subscribed: BTreeSet<TopicId> =
            self.members.iter().flat_map(|member| member.topics.iter().copied()).collect();
        let partitions = |topic: &TopicId| self.partitions[usize::from(topic.0[0])];
        let expected = subscribed.iter().map(partitions).sum::<usize>();
        assert_eq!(owned.len(), expected, "ASSIGN-1: every partition has an owner");
        for topic in &subscribed {
            self.check_balance(topic);
        }
        let current: Vec<Partitions> = self.members.iter().map(|member| member.current.clone()).collect();
        assert_eq!(self.target(), current, "without changes the assignment stays as it is");
    }

    fn check_balance(&self, topic: &TopicId) {
        let subscribers = self.members.iter().filter(|member| member.topics.contains(topic));
        let of_topic = |member: &Subscriber| member.current.get(topic).map_or(0, BTreeSet::len);
        let load = |member: &Subscriber| match self.assignor {
            Assignor::Uniform => member.current.values().map(BTreeSet::len).sum(),
            Assignor::Range => of_topic(member),
        };
        let least = subscribers.clone().map(load).min();
        let givers = subscribers.filter(|member| of_topic(member) > 0);
        let most = givers.map(load).max();
        assert!(most <= least.map(|least| least + 1), "{most:?} and {least:?} of {topic}");
    }
}

fn is_within(part: &Partitions, whole: &Partitions) -> bool {
    part.iter().all(|(topic, partitions)| whole.get(topic).is_some_and(|whole| partitions.is_subset(whole)))
}

fn run(assignor: Assignor, is_mixed: bool, steps: Vec<Step>) {
    let mut group = Group { assignor, is_mixed, partitions: [0, 1, 3, 4, 7], members: Vec::new() };
    let is_sticky = assignor == Assignor::Uniform && !is_mixed;
    for step in steps {
        match step {
            Step::Join(number, topics) => {
                let id: Rc<str> = format!("member-{number}").into();
                let topics = if group.is_mixed { topics } else { (0..TOPICS).collect() };
                let topics = Rc::new(topics.into_iter().map(topic).collect());
                match group.members.iter_mut().find(|member| member.id == id) {
                    Some(member) => member.topics = topics,
                    None => {
                        group.members.push(Subscriber { id, instance_id: None, topics, current: Partitions::new() })
                    }
                }
                let before = group.assign();
                let newest = group.members.len() - 1;
                let others = group.members[..newest].iter().zip(before);
                for (member, before) in others.filter(|_| is_sticky) {
                    assert!(is_within(&member.current, &before), "only the new member gets partitions");
                }
            }
            Step::Leave(number) => {
                let id = format!("member-{number}");
                group.members.retain(|member| *member.id != *id);
                let before = group.assign();
                for (member, before) in group.members.iter().zip(before).filter(|_| is_sticky) {
                    assert!(is_within(&before, &member.current), "only the partitions of the leaving member move");
                }
            }
            Step::Grow(topic, more) => {
                group.partitions[usize::from(topic)] += usize::from(more);
                let before = group.assign();
                for (member, before) in group.members.iter().zip(before).filter(|_| is_sticky) {
                    let kept =
                        |topic: &TopicId, partition: &i32| before.get(topic).is_some_and(|set| set.contains(partition));
                    let load = |partitions: &Partitions| partitions.values().map(BTreeSet::len).sum::<usize>();
                    let held = member
                        .current
                        .iter()
                        .flat_map(|(topic, set)| set.iter().map(move |partition| (topic, partition)));
                    let held = held.filter(|(topic, partition)| kept(topic, partition)).count();
                    assert_eq!(held, load(&before).min(load(&member.current)), "an underloaded member keeps all");
                }
            }
        }
        group.check();
    }
}

proptest! {
    // ASSIGN-1
    #[test]
    fn random_groups_are_balanced_complete_and_sticky(steps in proptest::collection::vec(step(), 1..25)) {
        for assignor in Assignor::ALL {
            for is_mixed in [false, true] {
                run(assignor, is_mixed, steps.clone());
            }
        }
    }
}

#[test]
fn ten_thousand_partitions_are_assigned_to_a_thousand_members() {
    for (assignor, is_mixed) in [(Assignor::Uniform, false), (Assignor::Uniform, true), (Assignor::Range, true)] {
        let topics: Rc<BTreeSet<TopicId>> = Rc::new((0..100).map(topic).collect());
        let member = |number: usize| {
            let mut topics = topics.clone();
            if is_mixed && number.is_multiple_of(2) {
                Rc::make_mut(&mut topics).remove(&topic(number as u8 % 100));
            }
            Subscriber { id: format!("{number:04}").into(), instance_id: None, topics, current: Partitions::new() }
        };
        let mut members: Vec<Subscriber> = (0..1000).map(member).collect();
        for _ in 0..2 {
            let assigned = assignor.assign(&members, &|_| 100);
            let loads = assigned.iter().map(|partitions| partitions.values().map(BTreeSet::len).sum::<usize>());
            assert_eq!(loads.clone().sum::<usize>(), 10_000);
            if assignor == Assignor::Uniform {
                assert_eq!((loads.clone().min(), loads.max()), (Some(10), Some(10)));
            }
            members.iter_mut().zip(assigned).for_each(|(member, assigned)| member.current = assigned);
        }
    }
}
