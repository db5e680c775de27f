//! `tidemill tune` and `tidemill doctor`: profiles of this machine, and the settings of a made-up one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::node::Node;
use crate::support::run::{dies_with_us, spawn};
use crate::support::scratch::Dir;
use crate::support::{turn, wait_for};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);
const SWAPPINESS: &str = "proc/sys/vm/swappiness";
const PAGES: &str = "sys/kernel/mm/transparent_hugepage/enabled";

fn command(words: &str, paths: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(words.split_whitespace());
    for (option, path) in paths {
        command.arg(option).arg(path);
    }
    command
}

fn run(words: &str, paths: &[(&str, &Path)]) -> Output {
    command(words, paths).stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

fn ok(words: &str, paths: &[(&str, &Path)]) -> String {
    let output = run(words, paths);
    assert!(output.status.success(), "{words}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A machine of files with two settings to change, and a data directory on it.
struct Host {
    dir: Dir,
}

impl Host {
    fn new(name: &str) -> Host {
        let host = Host { dir: Dir::new(name) };
        host.file(SWAPPINESS, "60\n");
        host.file(PAGES, "always madvise [never]\n");
        host.file("proc/self/mountinfo", "1 0 8:1 / / rw,relatime - xfs /dev/x rw\n");
        host.file("proc/sys/kernel/random/boot_id", "first\n");
        host.file("data/x", "");
        host
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        fs::write(path, text).expect("written");
    }

    fn value(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).expect("read").trim().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn run(&self, words: &str) -> Output {
        run(words, &[("--root", self.dir.path()), ("--dir", &self.data())])
    }

    fn ok(&self, words: &str) -> String {
        ok(words, &[("--root", self.dir.path()), ("--dir", &self.data())])
    }

    fn start(&self, words: &str) -> Child {
        let mut command = dies_with_us(&command(words, &[("--root", self.dir.path()), ("--dir", &self.data())]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        spawn(command).expect("the binary runs")
    }
}

#[test]
fn settings_are_checked_applied_and_restored() {
    let host = Host::new("tune-settings");
    let checked = host.ok("tune check");
    assert!(checked.contains("writes 2 settings") && checked.contains("Nothing was changed"), "{checked}");
    assert_eq!((host.value(SWAPPINESS), host.value(PAGES)), ("60".into(), "always madvise [never]".into()));
    let script = host.ok("tune apply --script");
    assert!(script.contains("echo 1 > /proc/sys/vm/swappiness"), "{script}");
    assert_eq!(host.value(SWAPPINESS), "60");
    host.ok("tune apply --without-measuring");
    assert_eq!((host.value(SWAPPINESS), host.value(PAGES)), ("1".into(), "madvise".into()));
    let undone = host.ok("tune undo");
    assert!(undone.contains("restored /proc/sys/vm/swappiness = 60"), "{undone}");
    assert_eq!((host.value(SWAPPINESS), host.value(PAGES)), ("60".into(), "never".into()));
    assert!(host.ok("tune undo").contains("Nothing to restore"));
}

#[test]
fn undo_restores_after_apply_was_killed() {
    let _turn = turn::of("tuning");
    let host = Host::new("tune-killed");
    let mut applying = host.start("tune apply");
    // Written before the setting, and kept while the effect is measured.
    wait_for("the setting is written", WITHIN, || (host.value(PAGES) == "madvise").then_some(()));
    applying.kill().expect("a child of ours");
    applying.wait().expect("a child of ours");
    host.ok("tune undo");
    assert_eq!((host.value(SWAPPINESS), host.value(PAGES)), ("60".into(), "never".into()));
}

#[test]
fn a_second_apply_is_refused() {
    let host = Host::new("tune-twice");
    host.file("var/lib/tidemill/tune/.lock", "");
    // As the first process holds it.
    let lock = fs::File::open(host.dir.path().join("var/lib/tidemill/tune/.lock")).expect("opened");
    lock.lock().expect("locked");
    for words in ["tune apply --without-measuring", "tune apply --without-measuring --json"] {
        let second = host.run(words);
        let refusal = text(&second.stderr);
        assert!(!second.status.success() && refusal.contains("another `tidemill tune apply`"), "{refusal}");
    }
    assert_eq!((host.value(SWAPPINESS), host.value(PAGES)), ("60".into(), "always madvise [never]".into()));
}

#[test]
fn settings_are_not_applied_in_a_container() {
    let host = Host::new("tune-container");
    host.file(".dockerenv", "");
    let output = host.run("tune apply --without-measuring");
    let refusal = text(&output.stderr);
    assert!(!output.status.success() && refusal.contains("this is a container (/.dockerenv)"), "{refusal}");
    assert_eq!(host.value(SWAPPINESS), "60");
}

#[test]
fn doctor_ends_with_1_if_a_condition_is_a_warning() {
    let host = Host::new("doctor-exit");
    let healthy = host.run("doctor --json");
    let severities = |output: &Output| {
        let lines = text(&output.stdout);
        let objects = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        objects.map(|object| object["severity"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    // The disk of the test may be full, which is a warning of its own.
    let is_warned = severities(&healthy).iter().any(|severity| severity == "warning" || severity == "fatal");
    assert_eq!(healthy.status.code(), Some(i32::from(is_warned)));
    host.file("proc/sys/kernel/io_uring_disabled", "2\n");
    let output = host.run("doctor --json");
    assert_eq!((output.status.code(), severities(&output)[0].as_str()), (Some(1), "fatal"));
    assert!(text(&output.stderr).contains("1 fatal"), "{}", text(&output.stderr));
}

#[test]
fn a_measured_machine_sets_a_node_that_doctor_compares_with_it() {
    let _turn = turn::of("tuning");
    let mut node = Node::stopped_tidemill("tune-measured", &[]);
    let data = node.data();
    let picture = node.scratch().join("disk.svg");
    let report = ok("tune disk --quick", &[("--dir", &data), ("--svg", &picture)]);
    assert!(report.contains("Durable writes") && report.contains("journal.depth="), "{report}");
    assert!(fs::read_to_string(&picture).expect("drawn").ends_with("</svg>\n"));
    ok("tune cores --quick", &[("--dir", &data)]);
    for name in ["disk.toml", "core.toml"] {
        // Other tests load the machine, and a node ignores such profiles.
        let path = data.join("profile").join(name);
        let text = fs::read_to_string(&path).expect("written");
        let idle = text.lines().map(|line| match line.starts_with("load_average_before") {
            true => "load_average_before = 0.0",
            false => line,
        });
        fs::write(&path, idle.collect::<Vec<_>>().join("\n")).expect("written");
    }
    node.restart();
    let depth = node.latest_line("journal.depth=").expect("the setting and its reason");
    assert!(depth.contains("durable writes of 64 KiB"), "{depth}");
    let bootstrap = node.bootstrap().to_owned();
    let output = run(&format!("doctor --bootstrap {bootstrap}"), &[("--dir", &data)]);
    let (found, reasons) = (text(&output.stdout), text(&output.stderr));
    let live = found.lines().find(|line| line.contains("produce p50")).unwrap_or_else(|| panic!("{found}{reasons}"));
    assert!(live.contains("about ") && live.contains(" us"), "{live}");
    let topics = ok(&format!("topic list --json --bootstrap {bootstrap}"), &[]);
    assert!(!topics.contains("tidemill-doctor"), "{topics}");
}

#[test]
fn a_profile_of_another_machine_is_a_warning_and_damaged_ones_are_errors_if_named() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/profiles/vm-2-cores");
    let mut node = Node::stopped_tidemill("tune-other", &[]);
    let profile = node.data().join("profile");
    fs::create_dir_all(&profile).expect("created");
    let core = fs::read_to_string(examples.join("core.toml")).expect("an example");
    let other = core.replace("cpus = \"2\"", "cpus = \"9999\"");
    assert_ne!(core, other);
    fs::write(profile.join("core.toml"), other).expect("written");
    fs::write(profile.join("disk.toml"), &core[..core.len() / 2]).expect("written");
    node.restart();
    let printed = node.printed();
    for warning in ["cpus was 9999", "it has no effect", "the file is cut off"] {
        assert!(printed.contains(warning), "{warning}: {printed}");
    }
    node.stop();
    let output = run("serve --check", &[("--data", &node.data()), ("--profile", &profile)]);
    let refusal = text(&output.stderr);
    assert!(!output.status.success() && refusal.contains("the file is cut off"), "{refusal}");
}
