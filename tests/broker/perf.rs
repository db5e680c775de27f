//! `tidemill perf` against a broker: sweeps, mixed loads, many connections, reports, and bad input.
//!
//! `TIDEMILL_TEST_PEER=kafka` runs the same commands against Apache Kafka 4.4.

use serde_json::Value;

use crate::command_line::Shell;
use crate::support::node::Peer;

/// Short, because no test here depends on the figures.
const SHORT: &str = "--seconds 0.5 --warmup 0 --batch-records 1 --record-bytes 100 --partitions 4";

#[test]
fn a_sweep_reports_steps_circumstances_and_durability() {
    let Some(shell) = Shell::start("perf-sweep") else { return };
    let directory = shell.node.scratch().join("deep").join("report");
    let (pid, target) = (shell.node.pid(), directory.display());
    let output =
        shell.run(&format!("perf sweep --rates 80,40 {SHORT} --pid {pid} --report {target} --topic swept --json"), b"");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let steps = printed["steps"].as_array().expect("steps");
    // A busy machine may not keep up with 40 requests/s, and the sweep ends there.
    assert!(steps.len() == 2 || steps[0]["keeps_up"] == false, "{printed}");
    assert_eq!(steps[0]["offered_per_second"], 40.0, "the lowest rate is the first");
    assert!(steps[0]["produce_us"]["count"].as_u64().is_some_and(|count| count > 0), "{printed}");
    assert_eq!(error.lines().filter(|line| line.starts_with("offered ")).count(), steps.len(), "{error}");

    let html = std::fs::read_to_string(directory.join("report.html")).expect("a page");
    assert!(html.contains("<svg") && html.contains("Latency by offered rate") && html.ends_with("</html>\n"), "{html}");
    let json = std::fs::read(directory.join("report.json")).expect("numbers");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["result"], printed);
    let command = json["command"].as_str().expect("a command");
    assert!(command.starts_with("tidemill perf sweep --rates 80,40"), "{command}");
    let known = |section: &str, name: &str| {
        let value = json["environment"][section][name].as_str();
        value.unwrap_or_else(|| panic!("{section}, {name}: {json:#}")).to_owned()
    };
    let (software, class) = match shell.node.peer() {
        Peer::Tidemill => ("Tidemill", "flushed:"),
        Peer::Kafka => ("Apache Kafka", "page cache:"),
    };
    assert!(known("broker", "software").starts_with(software), "{json:#}");
    assert!(known("broker", "version").contains("Apache Kafka 4.4"), "{json:#}");
    assert_eq!(known("broker", "topic"), "4 partitions, 1 replica each");
    assert!(known("durability", "class").starts_with(class), "{json:#}");
    assert!(known("disk of the broker", "directory").starts_with(&shell.node.data().display().to_string()), "{json:#}");
    assert_eq!(
        known("machine of the client", "kernel"),
        std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim()
    );
    assert!(known("client", "cores").starts_with("the client "), "{json:#}");
}

#[test]
fn a_flush_per_message_is_a_class_of_its_own() {
    let Some(shell) = Shell::start("perf-class") else { return };
    let setting = match shell.node.peer() {
        Peer::Tidemill => "tidemill.flush.ack=false",
        Peer::Kafka => "flush.messages=1",
    };
    let directory = shell.node.scratch().join("report");
    let report = directory.display();
    shell.text(&format!("perf produce --rate 20 {SHORT} --topic other --config {setting} --report {report}"));
    let json = std::fs::read(directory.join("report.json")).expect("numbers");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    let class = json["environment"]["durability"]["class"].as_str().expect("a class");
    let expected = if shell.node.peer() == Peer::Tidemill { "written, not flushed:" } else { "flushed:" };
    assert!(class.starts_with(expected), "{class}");
}

#[test]
fn a_mixed_load_delivers_every_batch_to_the_waiting_consumers() {
    let Some(shell) = Shell::start("perf-mixed") else { return };
    for load in ["--rate 100", ""] {
        let report = shell.json(&format!("perf mixed {load} {SHORT} --topic mixed --json"));
        assert_eq!(report["errors"], serde_json::json!({}), "{report}");
        let count = |name: &str| report[name]["count"].as_u64().unwrap_or(0);
        assert!(count("produce_us") > 0, "{report}");
        assert_eq!(count("produce_us"), count("end_to_end_us"), "each acknowledged batch has arrived: {report}");
        assert!(report["consumed_mb_per_second"].is_number() && report["timeline"]["points"].is_array(), "{report}");
    }
}

#[test]
fn one_thread_drives_a_thousand_connections() {
    let Some(shell) = Shell::start("perf-connections") else { return };
    let report = shell.json(&format!("perf produce --connections 1000 --in-flight 1 {SHORT} --json"));
    assert!(report["setting"].as_str().is_some_and(|setting| setting.contains("1000 connections")), "{report}");
    assert_eq!(report["errors"], serde_json::json!({}), "{report}");
    // Each connection sends at once, and the run ends after every response.
    assert!(report["produce_us"]["count"].as_u64().is_some_and(|count| count >= 1000), "{report}");
}

#[test]
fn bad_input_fails_before_the_run() {
    let Some(shell) = Shell::start("perf-bad-input") else { return };
    let usage = [
        "produce --rate 0",
        "latency --rate -1",
        "sweep --rates 5,0",
        "sweep --factor 1",
        "sweep --knee 0.5",
        "sweep --rates 5 --to 9",
        "produce --cpus few",
        "produce --connections 0",
    ];
    for words in usage {
        let output = shell.run(&format!("perf {words} {SHORT}"), b"");
        assert_eq!(output.status.code(), Some(2), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let file = shell.node.scratch().join("file");
    std::fs::write(&file, b"").expect("the scratch directory can be written");
    shell.fails(&format!("perf produce {SHORT} --report {}", file.display()), "cannot write the report", "--report");
    shell.fails(&format!("perf sweep {SHORT} --from 9 --to 3"), "--to 3 is below --from 9", "");
    shell.fails(&format!("perf produce {SHORT} --cpus 4095"), "cannot run on core 4095", "this process may use");
    shell.fails(&format!("perf produce {SHORT} --pid 4194305"), "process 4194305 does not exist", "");
    shell.fails("perf consume --topic nothing", "does not exist", "tidemill topic create nothing");
    assert_eq!(shell.json("topic list --json"), Value::Array(vec![]), "nothing was created");
}

#[test]
fn the_help_of_each_load_has_examples() {
    for verb in ["produce", "latency", "mixed", "sweep", "consume"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
        let output = command.args(["perf", verb, "--help"]).output().expect("the binary runs");
        let help = String::from_utf8(output.stdout).expect("text");
        for text in ["Examples:", &format!("tidemill perf {verb}"), "--report", "--cpus"] {
            assert!(help.contains(text), "{verb}, {text}: {help}");
        }
    }
}
