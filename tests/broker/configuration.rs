//! Settings from Kafka's file, the environment and the arguments; `config list`; the lines of a start.

use std::process::Command;

use serde_json::Value;

use crate::serve::{NOW, Started, WITHIN, refused, serve};
use crate::support::ledger::{Ledger, connect};
use crate::support::run::{Ended, ended, run, signal};
use crate::support::scratch::{Dir, Ports};
use crate::support::skip;

/// The settings of Kafka 4.4's `config/server.properties`, on other ports and another directory.
fn shipped(port: u16, log_dirs: &str) -> String {
    format!(
        "# The role of this server.\nprocess.roles=broker,controller\nnode.id=1\n\
         controller.quorum.bootstrap.servers=localhost:9093\n\
         listeners=PLAINTEXT://:{port},CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
         advertised.listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:9093\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
         SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
         num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
         socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\nlog.dirs={log_dirs}\n\
         num.partitions=1\nnum.recovery.threads.per.data.dir=1\noffsets.topic.replication.factor=1\n\
         share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\nlog.retention.hours=168\n\
         log.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n"
    )
}

#[test]
fn the_file_that_kafka_ships_starts_a_node() {
    let (dir, ports) = (Dir::new("shipped"), Ports::reserve());
    let port = ports.first();
    std::fs::write(dir.path().join("server.properties"), shipped(port, "kraft-combined-logs")).expect("written");
    let mut started = Started::new(dir.path(), &["--config", "server.properties", "--shards", "2"]);
    started.ready();
    let printed = started.printed();
    for part in [
        "data       kraft-combined-logs",
        "shards     2 (steer: ",
        &format!("plaintext  0.0.0.0:{port}\n"),
        &format!("tidemill produce greetings --bootstrap localhost:{port} "),
        "server.properties:17: num.recovery.threads.per.data.dir has no effect here",
        "the node listens on all interfaces, without authentication or encryption",
    ] {
        assert!(printed.contains(part), "{part:?} is missing in\n{printed}");
    }
    assert_eq!(printed.matches("no effect here").count(), 3, "{printed}");
    assert!(!printed.contains('\x1b'), "no colours in a file:\n{printed}");
    assert!(!printed.contains("blocked its shard"), "no stall is reported for a start:\n{printed}");
    let mut client = connect(&format!("127.0.0.1:{port}"));
    let mut ledger = Ledger::create(&mut client, "t", 2, &[]);
    ledger.fill(&mut client, 4, 3, 100, NOW);
    ledger.verify(&mut client);
}

/// Runs `tidemill` to its end with variables of the environment.
fn ended_with(dir: &Dir, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = serve(dir.path(), arguments);
    command.envs(variables.iter().copied());
    run(command, None, WITHIN, |_| false).expect("the binary runs")
}

#[test]
fn the_environment_sets_every_setting_and_a_misspelt_variable_is_refused() {
    let dir = Dir::new("environment");
    for (variables, expected) in [
        (&[("TIDEMILL_NUM_PARTITIONS", "0")][..], "error: TIDEMILL_NUM_PARTITIONS: Invalid value 0"),
        (&[("TIDEMILL_NUM_PARTITONS", "3")], "did you mean TIDEMILL_NUM_PARTITIONS?"),
        (&[("TIDEMILL_SSL_KEYSTORE_LOCATION", "/k")], "has no TLS so far"),
    ] {
        let ended = ended_with(&dir, variables, &["--check"]);
        assert!(!ended.ok() && ended.stderr.contains(expected), "{variables:?}: {}", ended.tail());
    }
    let variables = [("TIDEMILL_NUM_PARTITIONS", "2"), ("TIDEMILL_LOG", "nonsense")];
    let ended = ended_with(&dir, &variables, &["--check", "--set", "num.partitions=3"]);
    assert!(ended.ok(), "{}", ended.tail());
    assert!(ended.stdout.contains("the settings are valid"), "{}", ended.tail());
    assert!(ended.stderr.contains("TIDEMILL_LOG=nonsense: nonsense names neither a level"), "{}", ended.tail());
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0, "--check creates nothing");
}

#[test]
fn with_json_each_line_of_a_start_and_each_error_is_an_object() {
    let (dir, ports) = (Dir::new("json"), Ports::reserve());
    let listeners = format!("PLAINTEXT://127.0.0.1:{}", ports.first());
    let variables = [("TIDEMILL_LISTENERS", listeners.as_str()), ("TIDEMILL_SHARDS", "1")];
    let mut started = Started::with_environment(dir.path(), &["--json"], &variables);
    started.wait_for("\"event\":\"ready\"");
    signal(&started.child, "TERM");
    assert!(ended(&mut started.child, "a node stops on a signal", WITHIN).success());
    let printed = started.printed();
    let lines = printed.lines().filter(|line| line.starts_with('{'));
    let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let event = |name: &str| events.iter().find(|event| event["event"] == name).unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(events[0]["event"], "starting");
    assert_eq!(event("opening")["shards"], 1);
    assert_eq!(event("listening")["shard_ports"], serde_json::json!([ports.first() + 1, ports.first() + 1]));
    assert_eq!(event("ready")["bootstrap"], format!("127.0.0.1:{}", ports.first()));
    assert_eq!((&event("stopping")["signal"], events.last().expect("some")), (&"SIGTERM".into(), event("stopped")));

    let ended = refused(dir.path(), &["--json", "--set", "num.partitons=3", "--set", "routing=up"]);
    let errors: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(errors.len(), 2, "{}", ended.tail());
    let message = errors[0]["message"].as_str().expect("a message");
    assert!(errors[0]["event"] == "error" && message.contains("did you mean num.partitions?"), "{message}");
}

#[test]
fn with_the_json_format_each_line_of_the_log_is_an_object() {
    let (dir, ports) = (Dir::new("json-log"), Ports::reserve());
    let listen = format!("127.0.0.1:{}", ports.first());
    let variables = [("TIDEMILL_LOG_FORMAT", "json"), ("TIDEMILL_LOG", "tidemill=debug")];
    // With --json, the lines of the start are objects with an event. The others are the log.
    let arguments = ["--listen", &listen, "--shards", "1", "--json"];
    let mut started = Started::with_environment(dir.path(), &arguments, &variables);
    started.wait_for("\"event\":\"ready\"");
    Ledger::create(&mut connect(&listen), "logged", 1, &[]);
    signal(&started.child, "TERM");
    assert!(ended(&mut started.child, "a node stops on a signal", WITHIN).success());
    let printed = started.printed();
    let objects = printed.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    let log: Vec<Value> = objects.filter(|object: &Value| object["event"].is_null()).collect();
    for line in &log {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].as_str().is_some_and(|text| !text.is_empty()), "{key} is missing in {line}");
        }
    }
    let is_created = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains("topic logged"));
    let created = log.iter().find(is_created).unwrap_or_else(|| panic!("no topic is logged in\n{printed}"));
    assert_eq!(created["level"], "INFO");
    assert!(created["target"].as_str().is_some_and(|target| target.starts_with("tidemill::")), "{created}");

    let variables = [("TIDEMILL_LOG_FORMAT", "xml")];
    let ended = ended_with(&dir, &variables, &["--check"]);
    assert!(ended.ok() && ended.stderr.contains("TIDEMILL_LOG_FORMAT=xml: write json or text"), "{}", ended.tail());
}

#[test]
fn a_start_that_fails_reports_no_listener_and_marks_each_problem() {
    let (dir, ports) = (Dir::new("fails"), Ports::reserve());
    let listen = format!("127.0.0.1:{}", ports.first());
    let data = dir.path().join("data");
    std::fs::create_dir_all(&data).expect("created");
    std::fs::write(data.join("meta.properties"), "version=9\n").expect("written");
    let ended = refused(dir.path(), &["--data", "data", "--listen", &listen]);
    assert!(!ended.stdout.contains("plaintext"), "{}", ended.tail());
    let ended = refused(dir.path(), &["--set", "num.partitions=0", "--set", "quux=1"]);
    assert_eq!(ended.stderr.matches("error: --set ").count(), 2, "{}", ended.tail());
    assert!(ended.stderr.contains("`tidemill config list` prints every setting"), "{}", ended.tail());
}

#[test]
fn a_data_directory_of_kafka_is_refused_with_advice() {
    let (dir, ports) = (Dir::new("kafka"), Ports::reserve());
    let data = dir.path().join("data");
    std::fs::create_dir_all(data.join("__cluster_metadata-0")).expect("created");
    let text = "version=1\nnode.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAw\ncluster.id=AAAAAAAAAAAAAAAAAAAAAQ\n";
    std::fs::write(data.join("meta.properties"), text).expect("written");
    let ended = refused(dir.path(), &["--data", "data", "--listen", &format!("127.0.0.1:{}", ports.first())]);
    for part in ["data is the data directory of an Apache Kafka broker", "copy their directories"] {
        assert!(ended.stderr.contains(part), "{part:?} is missing in {}", ended.tail());
    }
    assert_eq!(std::fs::read_dir(&data).expect("listed").count(), 2, "the directory is as it was");
}

#[test]
fn a_disk_too_small_for_the_journals_is_refused_before_a_directory_is_created() {
    let (dir, ports) = (Dir::new("small"), Ports::reserve());
    let mount = dir.path().join("mount");
    std::fs::create_dir_all(&mount).expect("created");
    // The mount is in a namespace of the child and ends with it.
    let script = format!(
        "mount -t tmpfs -o size=100m none '{0}' && {{ \"$@\"; code=$?; ls -A '{0}'; exit $code; }}",
        mount.display()
    );
    let wrapper = ["--mount", "sh", "-c", &script, "sh"];
    let mut probe = Command::new("unshare");
    if !probe.args(wrapper).arg("true").output().is_ok_and(|output| output.status.success()) {
        return skip("a disk too small for the journals", "this machine does not mount a tmpfs in a namespace");
    }
    let mut command = Command::new("unshare");
    command.args(wrapper).arg(env!("CARGO_BIN_EXE_tidemill")).arg("serve").arg("--data").arg(mount.join("data"));
    command.args(["--shards", "1", "--listen", &format!("127.0.0.1:{}", ports.first())]);
    let ended = run(command, None, WITHIN, |_| false).expect("the binary runs");
    for part in ["the journals of 1 shard take 512 MiB (journal.bytes for each)", "100 MiB free", "at least 128 MiB"] {
        assert!(!ended.ok() && ended.stderr.contains(part), "{part:?} is missing in {}", ended.tail());
    }
    assert_eq!(ended.stdout, "", "no directory is left");
}

#[test]
fn config_list_prints_every_setting() {
    let list = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.args(["config", "list"]).args(arguments);
        run(command, None, WITHIN, |_| false).expect("the binary runs")
    };
    let rows: Vec<Value> = serde_json::from_str(&list(&["--json"]).stdout).expect("JSON");
    let row = |name: &str, scope: &str| {
        let found = rows.iter().find(|row| row["name"] == name && row["scope"] == scope);
        found.unwrap_or_else(|| panic!("{name} is missing"))
    };
    assert_eq!(row("num.partitions", "node")["default"], "1");
    assert_eq!(row("num.partitions", "node")["changes_at_run_time"], false);
    assert_eq!(row("log.retention.ms", "node")["changes_at_run_time"], true);
    assert_eq!(row("retention.ms", "topic")["changes_at_run_time"], true);
    assert_eq!(row("retention.ms", "topic")["range"], "-1..");
    assert_eq!(row("log.retention.ms", "node")["default"], Value::Null);
    for row in &rows {
        assert!(row["doc"].as_str().is_some_and(|doc| doc.ends_with('.')), "{row}");
    }
    let text = list(&["log.retention"]).stdout;
    assert!(text.contains("\nlog.retention.ms = not set\n") && !text.contains("num.partitions"), "{text}");
    let text = list(&["--kafka", "ssl.keystore.location"]).stdout;
    assert!(text.contains("refused unless default: Tidemill has no TLS so far"), "{text}");
    // The printed file is a legal one.
    let dir = Dir::new("example");
    std::fs::write(dir.path().join("all.toml"), list(&["--toml"]).stdout).expect("written");
    let ended = ended_with(&dir, &[], &["--config", "all.toml", "--check"]);
    assert!(ended.ok(), "{}", ended.tail());
    let none = list(&["there-is-none"]);
    assert!(!none.ok() && none.stderr.contains("no setting has a name with \"there-is-none\""), "{}", none.tail());
}
