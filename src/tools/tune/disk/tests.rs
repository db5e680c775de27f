use super::*;
use crate::runtime::fault::{Fault, FaultPlan, Rule, Target};

fn scratch(name: &str) -> std::path::PathBuf {
    let tests = std::env::current_exe().expect("a path");
    let directory = tests.parent().expect("a directory").join(format!("tune-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("created");
    directory
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("listed").next().is_none()
}

/// A plan of one operation for each measurement.
fn shortest() -> Plan {
    Plan { file_bytes: 4 << 20, cell: Duration::ZERO, interval: Duration::ZERO, intervals: 1 }
}

#[test]
fn a_measurement_fills_every_field_and_leaves_no_file() {
    let directory = scratch("whole");
    let measured = measure_disk(&directory, shortest()).expect("the disk works");
    assert_eq!(measured.writes.len(), SIZES.len() * DEPTHS.len());
    for cell in &measured.writes {
        assert!(cell.latency.count >= u64::from(cell.depth) && cell.latency.p50_us > 0.0, "{cell:?}");
    }
    assert_eq!(measured.drift.len(), 1);
    let fingerprint = disk_fingerprint(&super::super::machine::Roots::new(None), &directory).expect("read");
    let profile = DiskProfile {
        version: VERSION,
        fingerprint,
        measured,
        provenance: crate::config::profile::tests::disk().provenance,
    };
    let text = toml::to_string(&profile).expect("TOML");
    assert_eq!(crate::config::profile::parse::<DiskProfile>(&text), Ok(profile));
    assert!(is_empty(&directory));
    std::fs::remove_dir(&directory).expect("removed");
}

#[test]
fn a_disk_that_becomes_full_is_named_and_the_file_is_removed() {
    let directory = scratch("full");
    let path = directory.clone();
    let error = runtime::run(runtime::Config::default(), move || async move {
        let rule = Rule { target: Target::Write, nth: 3, and_after: true, fault: Fault::Errno(libc::ENOSPC) };
        runtime::install_faults(Some(FaultPlan::new([rule])));
        measure_all(&path, shortest(), &Progress::new(Duration::ZERO)).await.expect_err("the disk is full")
    })
    .expect("a ring");
    let failure = explain(&directory, 4 << 20, &error).to_string();
    assert!(failure.contains("became full") && failure.contains("the file was removed"), "{failure}");
    assert!(is_empty(&directory));
    std::fs::remove_dir(&directory).expect("removed");
}

#[test]
fn a_disk_without_room_is_refused_before_the_first_write() {
    assert!(require_space(Path::new("data"), 512 << 20, 256 << 20).is_ok());
    let failure = require_space(Path::new("data"), 511 << 20, 256 << 20).expect_err("too little").to_string();
    assert!(failure.contains("data has 511 MiB free, and the measurement needs 512 MiB"), "{failure}");
}

#[test]
fn a_running_node_is_recognised_by_its_lock() {
    let directory = scratch("lock");
    assert!(!is_node_running(&directory) && is_empty(&directory));
    let lock = dir::lock(&directory).expect("locked");
    assert!(is_node_running(&directory));
    drop(lock);
    assert!(!is_node_running(&directory));
    std::fs::remove_dir_all(&directory).expect("removed");
}
