//! `tidemill inspect` lists the contents of a data directory, and names damage by file and position.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::ledger::{Ledger, connect};
use crate::support::node::Node;
use crate::support::run::run;
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);
const NOW: i64 = 1_700_000_000_000;
/// Inside the batch of a group: behind the group's own block, and the block where the batch begins.
const IN_BATCH: usize = 10_000;

/// Runs `tidemill inspect ... --json`; returns the document, and whether the exit code was zero.
fn inspect(what: &str, path: &Path, more: &[&str]) -> (Value, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.arg("inspect").arg(what).arg(path).arg("--json").args(more);
    let ended = run(command, None, WITHIN, |_| false).expect("the binary runs");
    let document =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{what} {path:?}: {e}: {}", ended.tail()));
    // The text output succeeds whenever the JSON output does.
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.arg("inspect").arg(what).arg(path).args(more);
    let plain = run(command, None, WITHIN, |_| false).expect("the binary runs");
    assert_eq!(plain.ok(), ended.ok());
    assert_eq!(plain.stdout.contains("DAMAGE"), !ended.ok(), "{}", plain.tail());
    (document, ended.ok())
}

fn sound(what: &str, path: &Path, more: &[&str]) -> Value {
    let (document, is_ok) = inspect(what, path, more);
    assert!(is_ok, "{what}: {}", document["damage"]);
    document
}

/// Flips one bit of a file, inspects, and flips it back.
fn with_flipped_bit(file: &Path, at: usize, look: impl FnOnce()) {
    let original = std::fs::read(file).expect("read");
    let mut flipped = original.clone();
    flipped[at] ^= 4;
    std::fs::write(file, flipped).expect("written");
    look();
    std::fs::write(file, original).expect("written");
}

fn check_damage(what: &str, path: &Path, file: &Path, position: Option<u64>) {
    let (document, is_ok) = inspect(what, path, &[]);
    assert!(!is_ok, "{what}: the damage of {file:?} is not seen: {document}");
    let places: Vec<_> = document["damage"].as_array().expect("a list").iter().collect();
    let is_named = places.iter().any(|place| {
        place["file"].as_str().is_some_and(|named| Path::new(named) == file)
            && position.is_none_or(|position| place["position"] == position)
    });
    assert!(is_named, "{what}: {file:?} at {position:?} is not among {places:?}");
}

fn only(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    paths
}

#[test]
fn an_inspection_shows_the_data_directory_and_names_damage() {
    let mut node = Node::tidemill("inspected", &["--shards", "1"]);
    let data = node.data();
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 2, &[("segment.bytes", "1048576")]);
    ledger.fill(&mut client, 20, 3, 40_000, NOW);

    // While the node runs, inspect is read-only and reports that.
    let (running, _) = inspect("checkpoint", &data, &[]);
    assert!(running["notes"].to_string().contains("a node is running"), "{running}");

    // After a crash, all records are still in the journal.
    node.kill();
    let journals = sound("journal", &data, &["--groups"]);
    let journal = &journals["journals"][0];
    assert_eq!(journal["live_batches"], 40, "{journal}");
    let groups = journal["groups"].as_array().expect("a list");
    let (first, third) = (&groups[0], &groups[2]);
    let file = PathBuf::from(
        journal["files"][first["file"].as_u64().expect("a number") as usize]["file"].as_str().expect("a path"),
    );
    assert!(groups.len() > 12, "the test wants groups beyond those in flight: {}", groups.len());
    let at = third["position"].as_u64().expect("a number");
    for inside in [30, 70, IN_BATCH] {
        with_flipped_bit(&file, at as usize + inside, || check_damage("journal", &data, &file, Some(at)));
    }
    with_flipped_bit(&file, 20, || check_damage("journal", &data, &file, Some(0)));
    // A crash may tear the last group: inspect reports it, but not as damage.
    let last = groups.last().expect("groups")["position"].as_u64().expect("a number");
    with_flipped_bit(&file, last as usize + IN_BATCH, || {
        let torn = sound("journal", &data, &[]);
        assert_eq!(torn["journals"][0]["live_groups"], groups.len() - 1);
        assert!(torn["notes"].to_string().contains("torn"), "{}", torn["notes"]);
    });
    sound("segments", &data, &[]);

    // After a clean stop, all records are in the segments.
    node.restart();
    node.stop();
    assert_eq!(sound("journal", &data, &[])["journals"][0]["live_batches"], 0);
    let segments = sound("segments", &data, &["--records"]);
    let batches: Vec<&Value> = segments["segments"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|s| s["batches"].as_array().expect("a list"))
        .collect();
    assert_eq!(batches.len(), 40);
    assert!(
        batches.iter().all(|b| b["crc_ok"] == true && b["records"] == 3 && b["record_list"][2]["timestamp"] == NOW + 2)
    );
    let partition = node.partition_dir("t", 0);
    let logs = only(&partition, "log");
    assert!(logs.len() > 1, "{logs:?}");
    for log in [&logs[0], &logs[logs.len() - 1]] {
        let one = sound("segments", log, &[]);
        let second = one["segments"][0]["batches"][1]["position"].as_u64().expect("a number");
        // A byte of a record, and the length field, which the CRC does not cover.
        with_flipped_bit(log, second as usize + 500, || check_damage("segments", &data, log, Some(second)));
        with_flipped_bit(log, second as usize + 8, || check_damage("segments", &data, log, Some(second)));
        let bytes = std::fs::read(log).expect("read");
        std::fs::write(log, &bytes[..bytes.len() - 10]).expect("written");
        check_damage("segments", &data, log, None);
        std::fs::write(log, bytes).expect("written");
    }
    sound("index", &data, &[]);
    let index = &only(&partition, "index")[0];
    with_flipped_bit(index, 6, || check_damage("index", &data, index, None));

    let checkpoint = data.join("layouts/0/shard-0/checkpoint");
    let seen = sound("checkpoint", &data, &[]);
    assert_eq!(seen["checkpoints"][0]["is_clean"], true);
    assert_eq!(seen["checkpoints"][0]["partitions"].as_array().map(Vec::len), Some(2));
    with_flipped_bit(&checkpoint, 40, || check_damage("checkpoint", &data, &checkpoint, Some(0)));
    with_flipped_bit(&checkpoint, 40, || check_damage("checkpoint", &checkpoint, &checkpoint, Some(0)));

    let metadata = sound("metadata", &data, &[]);
    assert_eq!(metadata["topics"][0]["name"], "t", "{metadata}");
    let log = PathBuf::from(metadata["file"].as_str().expect("a path"));
    with_flipped_bit(&log, 40, || check_damage("metadata", &data, &log, Some(0)));

    // Inspect changed nothing: the node still serves all records.
    node.restart();
    assert_eq!(ledger.verify(&mut connect(node.bootstrap())).batches, 40);
    let nothing = run(
        {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
            command.args(["inspect", "journal"]).arg(node.scratch());
            command
        },
        None,
        WITHIN,
        |_| false,
    );
    assert!(nothing.expect("the binary runs").stderr.contains("is not a data directory"));
}
