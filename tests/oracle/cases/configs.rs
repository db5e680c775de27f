//! DescribeConfigs.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};

use super::super::case::{Case, case, say};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn of(name: &'static str, resources: &'static [(i8, &'static str)], keys: Option<&'static [&'static str]>) -> Case {
    ask(name, resources, keys, false, false)
}

fn ask(
    name: &'static str,
    resources: &'static [(i8, &'static str)],
    keys: Option<&'static [&'static str]>,
    include_synonyms: bool,
    include_documentation: bool,
) -> Case {
    let case = case(ApiKey::DescribeConfigs, name, move |_, v| {
        let resource = |(resource_type, resource_name): &(i8, &str)| DescribeConfigsResource {
            resource_type: *resource_type,
            resource_name: (*resource_name).into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| key.to_string()).collect()),
        };
        let resources = resources.iter().map(resource).collect();
        say(&DescribeConfigsRequest { resources, include_synonyms, include_documentation }, v)
    });
    if include_documentation { case.since(3) } else { case }
}

pub fn cases() -> Vec<Case> {
    vec![
        of("a topic", &[(TOPIC, "plain")], None),
        ask("a topic with synonyms", &[(TOPIC, "plain")], None, true, false),
        ask("a topic with overrides and synonyms", &[(TOPIC, "configured")], None, true, false),
        ask("a topic with documentation", &[(TOPIC, "plain")], None, false, true),
        of("a broker", &[(BROKER, "1")], None),
        ask("a broker with synonyms", &[(BROKER, "1")], None, true, false),
        of("the default broker", &[(BROKER, "")], None),
        of("some keys", &[(TOPIC, "plain"), (BROKER, "1")], Some(&["retention.ms", "num.partitions", "nope"])),
        of("no keys", &[(TOPIC, "plain")], Some(&[])),
        of("unknown resources", &[(TOPIC, "nope"), (BROKER, "9"), (TOPIC, "plain")], Some(&["retention.ms"])),
        of("bad names", &[(TOPIC, ""), (TOPIC, "a b"), (BROKER, "one"), (BROKER, "-1")], None),
        of("an internal topic", &[(TOPIC, "__consumer_offsets")], None),
        of("a resource twice", &[(TOPIC, "plain"), (TOPIC, "plain")], Some(&["retention.ms"])),
        of("no resources", &[], None),
        of("a resource of no type", &[(0, "x")], None),
        of("a resource of an unknown type", &[(3, "x")], None),
        of("a resource of a type to come", &[(77, "x")], None),
        of("a broker's loggers", &[(8, "1")], Some(&["nope"])),
        of("client metrics", &[(16, "x")], None),
        of("a group", &[(32, "x")], None),
    ]
}
