//! The format of each input, their precedence, and the messages.

use super::*;
use crate::config::Routing;

fn file(text: &str) -> Result<BrokerConfig, LoadError> {
    load(Some(Source { name: "t.toml", text }), &[])
}

fn check_error(got: Result<BrokerConfig, LoadError>, expected: &[&str]) {
    let lines: Vec<String> = got.expect_err("an error").to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{line:?} does not contain {expected:?}");
    }
}

#[test]
fn nested_dotted_and_quoted_keys_are_the_same_setting() {
    for text in [
        "[log.retention]\nms = 7",
        "log.retention.ms = 7",
        "\"log.retention.ms\" = 7",
        "[log]\n\"retention.ms\" = \"7\"",
    ] {
        assert_eq!(file(text).unwrap().log_retention_ms, Some(7), "{text}");
    }
}

#[test]
fn values_may_have_any_toml_form() {
    let config = file(
        "node.id = 0x10\nrouting = \"forward\"\nflush.ack = false\nlog.cleanup.policy = [\"compact\", \"delete\"]\n\
         journal.bytes = 134_217_728\nlog.cleaner.min.cleanable.ratio = 0.25\n\
         listeners = [\"IN://:9092\", \"OUT://:9093\"]\n\
         listener.security.protocol.map = \"IN:PLAINTEXT,OUT:PLAINTEXT\"\n\
         advertised.listeners = \"IN://a:1, OUT://b:2\"",
    )
    .unwrap();
    assert_eq!((config.node_id, config.routing, config.flush_ack), (16, Routing::Forward, false));
    assert_eq!((config.journal_bytes, config.log_cleaner_min_cleanable_ratio), (128 << 20, 0.25));
    assert_eq!(config.log_cleanup_policy, ["compact", "delete"]);
    assert_eq!(config.advertised()[1].to_string(), "OUT://b:2");
    assert!(config.is_given("node.id") && !config.is_given("num.partitions"));
}

#[test]
fn a_set_overrides_the_file_and_earlier_sets() {
    let source = Source { name: "t.toml", text: "num.partitions = 2" };
    let sets = ["num.partitions=3".into(), "num.partitions=4".into()];
    assert_eq!(load(Some(source), &sets).unwrap().num_partitions, 4);
    assert_eq!(load(Some(source), &[]).unwrap().num_partitions, 2);
}

#[test]
fn an_unknown_setting_is_rejected_with_the_nearest_name_and_its_place() {
    check_error(
        file("\n[log]\nretension.ms = 1"),
        &["t.toml:3: unknown setting log.retension.ms; did you mean log.retention.ms?"],
    );
    check_error(
        load(None, &["num.partition=1".into()]),
        &["--set num.partition=1: unknown setting num.partition; did you mean num.partitions?"],
    );
    check_error(file("quux = 1"), &["t.toml:1: unknown setting quux"]);
    check_error(file("log.roll = 1"), &["did you mean one of log.roll.ms, log.roll.hours, log.roll.jitter.ms"]);
}

#[test]
fn every_problem_is_reported_with_its_place_and_the_legal_values() {
    check_error(
        file("num.partitions = 0\nflush.ack = \"maybe\"\n\nrouting = \"sideways\"\nnode.id = [[1]]"),
        &[
            "t.toml:1: Invalid value 0 for configuration num.partitions: Value must be at least 1",
            "t.toml:2: Invalid value maybe for configuration flush.ack: Expected value to be either true or false",
            "t.toml:4: Invalid value sideways for configuration routing: String must be one of: direct, steer, ",
            "t.toml:5: node.id: expected a list of plain values",
        ],
    );
    check_error(file("a = = 1"), &["t.toml:1: not TOML"]);
    check_error(file("max.connections = 1\nmax.connections.per.ip = 1"), &["t.toml:2: not TOML: cannot extend value"]);
    check_error(file("max.connections = 1\nmax.connections.per.ip = 1"), &["write such names in quotes"]);
    assert!(file("max.connections = 2\n\"max.connections.per.ip\" = 1").is_ok());
    check_error(load(None, &["num.partitions".into()]), &["--set num.partitions: expected key=value"]);
}

#[test]
fn a_setting_given_twice_in_the_file_is_rejected() {
    check_error(
        file("num.partitions = 1\n\"num.partitions\" = 2"),
        &["t.toml:2: num.partitions was set before, at t.toml:1"],
    );
}

#[test]
fn settings_that_contradict_each_other_are_rejected() {
    for (text, expected) in [
        ("listeners = \"PLAINTEXT://0.0.0.0:9092\"", "clients cannot connect to PLAINTEXT://0.0.0.0:9092"),
        ("listeners = \"SSL://a:9092\"", "only plain listeners are supported"),
        (
            "listeners = \"PLAINTEXT://a:1,B://a:1\"\n\
             listener.security.protocol.map = \"PLAINTEXT:PLAINTEXT,B:plaintext\"",
            "the port 1 appears twice",
        ),
        ("advertised.listeners = \"OUT://a:1\"", "advertises a name that is not in listeners"),
        ("listeners = \"PLAINTEXT://10.0.0.7:65530\"\nshards = 8", "no room for 8 ports"),
        ("journal.bytes = 134217729", "such as 134217728"),
        ("log.dirs = \"a,b\"", "keeps its data in one"),
        ("log.cleaner.io.buffer.load.factor = 0.0", "must be above 0"),
        ("log.cleaner.io.buffer.size = 33554433", "a sixteenth of memory.bytes"),
        ("message.max.bytes = 2000\nsocket.request.max.bytes = 1024", "no request could carry it"),
    ] {
        check_error(file(text), &[expected]);
    }
    assert!(file("listeners = \"PLAINTEXT://:9092\"\nadvertised.listeners = \"PLAINTEXT://b:9092\"").is_ok());
    for routing in ["forward", "steer"] {
        let listeners = "listeners = \"PLAINTEXT://10.0.0.7:65530\"";
        assert!(file(&format!("{listeners}\nshards = 8\nrouting = \"{routing}\"")).is_ok());
    }
    let template = "advertised.listeners = \"PLAINTEXT://k-{shard}.example:9092\"\nrouting = ";
    assert!(file(&format!("{template}\"steer\"")).is_ok() && file(&format!("{template}\"direct\"")).is_ok());
    check_error(file(&format!("{template}\"forward\"")), &["{shard} in the host of"]);
}

#[test]
fn without_a_routing_the_advertised_hosts_decide() {
    for (settings, expected) in [
        ("", Routing::Direct),
        ("advertised.listeners = \"PLAINTEXT://kafka.example:9092\"", Routing::Steer),
        ("advertised.listeners = \"PLAINTEXT://k-{shard}.example:9092\"", Routing::Steer),
        ("advertised.listeners = \"PLAINTEXT://10.0.0.7:9092\"", Routing::Direct),
        ("advertised.listeners = \"PLAINTEXT://[fd00::7]:9092\"", Routing::Direct),
        ("listeners = \"PLAINTEXT://a:1\"", Routing::Steer),
        ("advertised.listeners = \"PLAINTEXT://kafka.example:9092\"\nrouting = \"direct\"", Routing::Direct),
    ] {
        assert_eq!(file(settings).unwrap().routing, expected, "{settings}");
    }
}

#[test]
fn a_contradiction_is_reported_at_the_place_of_its_setting() {
    check_error(file("\njournal.bytes = 134217729"), &["t.toml:2: journal.bytes: must be a multiple"]);
    check_error(load(None, &["log.dirs=a,b".into()]), &["--set log.dirs=a,b: log.dirs: several"]);
}

/// Kafka 4.4's `config/server.properties` without its comments.
const SHIPPED: &str = "\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\\
    SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

fn all(file: Option<(&str, &str)>, environment: &[(&str, &str)], sets: &[&str]) -> Result<Loaded, LoadError> {
    let environment: Vec<_> = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let arguments: Vec<_> = sets.iter().map(|word| Argument::set(word)).collect();
    load_all(Inputs {
        file: file.map(|(name, text)| Source { name, text }),
        environment: &environment,
        arguments: &arguments,
    })
}

fn properties(text: &str) -> Result<Loaded, LoadError> {
    all(Some(("k.properties", text)), &[], &[])
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_file_that_kafka_ships_is_a_node() {
    let loaded = properties(SHIPPED).unwrap_or_else(|error| panic!("{error}"));
    let config = &loaded.config;
    assert_eq!((config.node_id, config.data_dirs.as_str()), (1, "/tmp/kraft-combined-logs"));
    assert_eq!(config.listeners, ["PLAINTEXT://:9092"]);
    assert_eq!(config.advertised_listeners, Some(vec!["PLAINTEXT://localhost:9092".into()]));
    assert_eq!(config.offsets_topic_replication_factor, 1);
    // Only values that differ from Kafka's defaults and have no counterpart give warnings.
    let warnings = warnings(&loaded);
    for (warning, name) in warnings.iter().zip([
        "k.properties:17: num.recovery.threads.per.data.dir has no effect here",
        "k.properties:20: share.coordinator.state.topic.min.isr has no effect here",
        "k.properties:19: share.coordinator.state.topic.replication.factor has no effect here",
    ]) {
        assert!(warning.starts_with(name), "{warnings:#?}");
    }
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
}

#[test]
fn the_format_follows_from_the_name_or_from_the_content() {
    let text = "log.cleanup.policy=compact\n";
    assert_eq!(all(Some(("server.properties", text)), &[], &[]).unwrap().config.log_cleanup_policy, ["compact"]);
    assert_eq!(all(Some(("server.conf", text)), &[], &[]).unwrap().config.log_cleanup_policy, ["compact"]);
    let refused = all(Some(("server.toml", text)), &[], &[]);
    check_error(refused.map(|loaded| loaded.config), &["name the file *.properties"]);
    let refused = all(Some(("a.conf", "[log]\nretention.ms = = 1")), &[], &[]);
    check_error(refused.map(|loaded| loaded.config), &["a.conf:2: not TOML"]);
    let refused = properties("num.partitions=1\nlog.dirs=\\u12");
    check_error(refused.map(|loaded| loaded.config), &["k.properties:2: '\\u' is not followed"]);
}

#[test]
fn a_setting_of_kafka_is_ignored_read_under_its_name_or_refused() {
    for (text, expected) in [
        ("num.io.threads=16", "k.properties:1: num.io.threads has no effect here: each core runs one thread"),
        ("broker.id=3", "broker.id is read as node.id; use node.id"),
        ("log.dir=/x", "log.dir is read as log.dirs; use log.dirs"),
        ("log.dirs=/y\nlog.dir=/x", "log.dir has no effect here: log.dirs is given too"),
        ("zookeeper.connect=localhost:2181", "Kafka 4 has removed it"),
        ("log.preallocate=true", "log.preallocate has no effect here"),
        (
            "num.partitions=1\nnum.partitions=2",
            "k.properties:2: num.partitions is set again; the value at k.properties:1",
        ),
        ("listener.name.plaintext.max.connections=1", "a setting holds for all listeners"),
    ] {
        let loaded = properties(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let warnings = warnings(&loaded);
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{text}: {warnings:#?}");
    }
    assert_eq!(properties("broker.id=3").unwrap().config.node_id, 3);
    assert_eq!(properties("log.dir=/x\nlog.dirs=/y").unwrap().config.data_dirs, "/y");
    for (text, expected) in [
        ("ssl.keystore.location=/k", "k.properties:1: ssl.keystore.location: Tidemill has no TLS so far"),
        ("sasl.enabled.mechanisms=PLAIN", "no authentication so far"),
        ("listener.name.x.plain.sasl.jaas.config=y", "no authentication so far"),
        ("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "has no ACLs so far"),
        ("security.inter.broker.protocol=SSL", "has no TLS so far"),
        ("remote.log.storage.system.enable=true", "no tiered storage so far"),
        ("process.roles=broker", "broker and controller in one"),
        ("process.roles=controller", "broker and controller in one"),
        ("controller.quorum.voters=1@a:1,2@b:1", "has 2 controllers"),
        ("listeners=SECURE_SSL://a:1", "the name SECURE_SSL has no security protocol"),
        ("listeners=A://a:1\nlistener.security.protocol.map=A:SASL_SSL", "requires TLS or SASL"),
        ("listeners=C://a:1\ncontroller.listener.names=C", "only listeners of the controller"),
        ("num.io.thread=3", "unknown setting num.io.thread; did you mean num.io.threads?"),
        ("quux=1", "unknown setting quux; `tidemill config list` prints every setting"),
        ("memory.bytes=1GiB", "Not a number of type LONG; units are not read: write 1073741824"),
    ] {
        check_error(properties(text).map(|loaded| loaded.config), &[expected]);
        // A name means the same in every input.
        let (name, value) = text.split('\n').next().and_then(|line| line.split_once('=')).expect("an assignment");
        if !text.contains('\n') {
            check_error(load(None, &[text.into()]), &[expected.trim_start_matches("k.properties:1: ")]);
            let toml = format!("\"{name}\" = \"{value}\"");
            check_error(file(&toml), &[expected.trim_start_matches("k.properties:1: ")]);
        }
    }
}

#[test]
fn a_value_that_equals_kafkas_default_gives_neither_a_refusal_nor_a_warning() {
    for name in kafka::names() {
        let KafkaSetting { default, treatment } = KafkaSetting::find(name).expect("Kafka has it");
        if name == "log.dir" {
            // The default differs from Tidemill's, so the value counts.
            assert_eq!(treatment, Treatment::Means("log.dirs"));
            continue;
        }
        let loaded = properties(&format!("{name}={default}"));
        let loaded = loaded.unwrap_or_else(|error| panic!("{name}={default}: {error}"));
        assert!(loaded.warnings.is_empty(), "{name}={default}: {:?}", warnings(&loaded));
    }
}

#[test]
fn an_argument_overrides_the_environment_and_the_environment_overrides_the_file() {
    let file = Some(("t.toml", "num.partitions = 2\nnode.id = 5"));
    let environment = [("TIDEMILL_NUM_PARTITIONS", "3"), ("PATH", "/bin"), ("TIDEMILL_LOG", "debug")];
    let partitions = |environment: &[(&str, &str)], sets: &[&str]| {
        all(file, environment, sets).unwrap_or_else(|error| panic!("{error}")).config.num_partitions
    };
    assert_eq!(partitions(&[], &[]), 2);
    assert_eq!(partitions(&environment, &[]), 3);
    assert_eq!(partitions(&environment, &["num.partitions=4"]), 4);
    // A second name counts as the setting, whichever input has it.
    assert_eq!(all(file, &[("TIDEMILL_BROKER_ID", "7")], &[]).unwrap().config.node_id, 7);
    check_error(
        all(None, &[("TIDEMILL_NUM_PARTITION", "3"), ("TIDEMILL_NODE_ID", "x")], &[]).map(|loaded| loaded.config),
        &[
            "TIDEMILL_NUM_PARTITION: no setting belongs to this variable; did you mean TIDEMILL_NUM_PARTITIONS?",
            "TIDEMILL_NODE_ID: Invalid value x for configuration node.id",
        ],
    );
}

#[test]
fn listeners_with_other_names_need_the_protocol_map() {
    let config =
        file("listeners = \"IN://a:1,OUT://a:9\"\nlistener.security.protocol.map = \"IN:PLAINTEXT,OUT:PLAINTEXT\"");
    assert_eq!(config.unwrap().bind().len(), 2);
    check_error(file("listeners = \"IN://a:1,OUT://a:9\""), &["the name IN has", "the name OUT has"]);
}
