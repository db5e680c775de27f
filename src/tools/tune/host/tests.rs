use super::apply::{Outcome, apply};
use super::trial::{ROUNDS, Trial};
use super::*;
use crate::tools::tune::machine::tests::MadeUp;

const SCHEDULER: &str = "/sys/block/nvme0n1/queue/scheduler";
const AFFINITY: &str = "/sys/block/nvme0n1/queue/rq_affinity";
const SWAPPINESS: &str = "/proc/sys/vm/swappiness";

/// A host with three settings to change.
fn host(name: &str) -> MadeUp {
    let machine = MadeUp::with_disk(&format!("host-{name}"), "nvme0n1");
    machine.file(SCHEDULER, "none [mq-deadline] bfq\n");
    machine.file(AFFINITY, "1\n");
    machine.file("/sys/block/nvme0n1/queue/write_cache", "write back\n");
    machine.file(SWAPPINESS, "60\n");
    machine.file("/proc/sys/kernel/random/boot_id", "first\n");
    machine
}

fn found(machine: &MadeUp) -> Vec<Condition> {
    conditions(machine.roots(), machine.directory())
}

fn condition(machine: &MadeUp, name: &str) -> Condition {
    let all = found(machine);
    all.iter().find(|condition| condition.name == name).unwrap_or_else(|| panic!("no {name} in {all:?}")).clone()
}

fn value(machine: &MadeUp, path: &str) -> String {
    record::current(machine.roots(), path).expect("read")
}

/// Latencies by the value of the scheduler and of the affinity, and by the time.
struct MadeUpTrial<'a> {
    machine: &'a MadeUp,
    /// Microseconds that the scheduler, and the affinity, take off.
    gains: [f64; 2],
    rounds: usize,
    /// Microseconds that each round takes more than the one before: other load comes or goes.
    drift_us: f64,
    /// Fails in this round, counted from 1.
    fails_in: Option<usize>,
}

impl Trial for MadeUpTrial<'_> {
    fn round(&mut self, effect: Effect) -> Result<f64, Failure> {
        assert_eq!(effect, Effect::Disk);
        self.rounds += 1;
        if self.fails_in == Some(self.rounds) {
            return Err(Failure::new("the disk is on fire"));
        }
        let mut us = 100.0 + self.drift_us * self.rounds as f64;
        for (path, wanted, gain) in [(SCHEDULER, "none", self.gains[0]), (AFFINITY, "2", self.gains[1])] {
            us -= if value(self.machine, path) == wanted { gain } else { 0.0 };
        }
        Ok(us)
    }
}

fn run(machine: &MadeUp, gains: [f64; 2], fails_in: Option<usize>) -> Result<Vec<Outcome>, Failure> {
    let mut trial = MadeUpTrial { machine, gains, rounds: 0, drift_us: 0.0, fails_in };
    apply(machine.roots(), &found(machine), Some(&mut trial), &mut |_| {})
}

fn undo_all(machine: &MadeUp) -> Vec<(String, String)> {
    Record::open(machine.roots()).and_then(|record| record.undo(machine.roots())).expect("restored")
}

#[test]
fn check_names_each_setting_that_differs_and_changes_nothing() {
    let machine = host("check");
    let changes: Vec<String> =
        found(&machine).into_iter().filter(|condition| condition.change.is_some()).map(|found| found.name).collect();
    assert_eq!(changes, ["scheduler of nvme0n1", "rq_affinity of nvme0n1", "vm.swappiness"]);
    assert_eq!((value(&machine, SCHEDULER), value(&machine, SWAPPINESS)), ("mq-deadline".into(), "60".into()));
}

#[test]
fn a_device_whose_flushes_are_not_sent_is_fatal_and_never_written() {
    let machine = host("cache");
    let cache = || condition(&machine, "write_cache of nvme0n1");
    assert_eq!(cache().severity, Severity::Fine);
    assert_eq!(flushes_are_lost(machine.roots(), machine.directory()), None);
    machine.file("/sys/block/nvme0n1/queue/write_cache", "write through\n");
    assert_eq!((cache().severity, cache().change), (Severity::Warning, None));
    machine.file("/sys/block/nvme0n1/device/scsi_disk/0:0:0:0/cache_type", "write back\n");
    assert_eq!((cache().severity, cache().change), (Severity::Fatal, None));
    assert!(cache().reason.contains("acknowledged records are lost"));
    let warning = flushes_are_lost(machine.roots(), machine.directory()).expect("a warning");
    assert!(warning.starts_with("write_cache of nvme0n1 is `write through`: the device has a volatile"), "{warning}");
    machine.file("/sys/block/nvme0n1/device/scsi_disk/0:0:0:0/cache_type", "write through\n");
    assert_eq!(cache().severity, Severity::Fine);
    let writes = found(&machine).into_iter().filter_map(|condition| condition.change).flat_map(|change| change.writes);
    assert!(writes.into_iter().all(|(path, _)| !path.contains("write_cache")));
}

#[test]
fn only_changes_that_help_are_kept() {
    let machine = host("keep");
    let outcomes = run(&machine, [20.0, 1.0], None).expect("applied");
    let kept: Vec<_> = outcomes.iter().map(|outcome| (outcome.is_kept, outcome.measured_us)).collect();
    assert_eq!(kept, [(true, Some((100.0, 80.0))), (false, Some((80.0, 79.0))), (true, None)]);
    assert_eq!(value(&machine, SCHEDULER), "none");
    assert_eq!((value(&machine, AFFINITY), value(&machine, SWAPPINESS)), ("1".into(), "1".into()));
    let restored = undo_all(&machine);
    assert_eq!(restored.len(), 2, "{restored:?}");
    assert_eq!((value(&machine, SCHEDULER), value(&machine, SWAPPINESS)), ("mq-deadline".into(), "60".into()));
    assert_eq!(undo_all(&machine), []);
}

#[test]
fn load_that_goes_away_is_no_gain_of_a_setting() {
    let machine = host("drift");
    let mut trial = MadeUpTrial { machine: &machine, gains: [0.0, 0.0], rounds: 0, drift_us: -5.0, fails_in: None };
    let outcomes = apply(machine.roots(), &found(&machine), Some(&mut trial), &mut |_| {}).expect("applied");
    let kept: Vec<bool> = outcomes.iter().map(|outcome| outcome.is_kept).collect();
    assert_eq!(kept, [false, false, true], "{outcomes:?}");
    assert_eq!(value(&machine, SCHEDULER), "mq-deadline");
}

#[test]
fn tune_1_undo_restores_after_a_kill_between_record_and_write() {
    let machine = host("kill");
    let mut record = Record::open(machine.roots()).expect("opened");
    record.write(machine.roots(), SCHEDULER, "none").expect("written");
    // The second write changes the value again: the first old value counts.
    record.write(machine.roots(), SCHEDULER, "bfq").expect("written");
    // A killed process: only the files remain.
    drop(record);
    // Killed after the record and before the write: the restored value equals the present one.
    let mut record = Record::open(machine.roots()).expect("opened");
    std::fs::remove_file(machine.roots().path(AFFINITY)).expect("removed");
    std::fs::create_dir(machine.roots().path(AFFINITY)).expect("in the way");
    assert!(record.write(machine.roots(), AFFINITY, "2").is_err());
    drop(record);
    std::fs::remove_dir(machine.roots().path(AFFINITY)).expect("removed");
    machine.file(AFFINITY, "1\n");
    assert_eq!(undo_all(&machine), [(SCHEDULER.to_owned(), "mq-deadline".to_owned())]);
    assert_eq!((value(&machine, SCHEDULER), value(&machine, AFFINITY)), ("mq-deadline".into(), "1".into()));
}

#[test]
fn a_failed_measurement_restores_the_setting_that_it_measured() {
    let machine = host("fail");
    // In the second round of the second change, with its new value.
    let failure = run(&machine, [20.0, 20.0], Some(2 * ROUNDS + 4)).expect_err("the disk burns");
    assert!(failure.message.contains("on fire"), "{failure}");
    assert_eq!((value(&machine, SCHEDULER), value(&machine, AFFINITY)), ("none".into(), "1".into()));
    assert_eq!(undo_all(&machine), [(SCHEDULER.to_owned(), "mq-deadline".to_owned())]);
}

#[test]
fn a_second_apply_waits_for_the_first() {
    let machine = host("twice");
    let first = Record::open(machine.roots()).expect("opened");
    let failure = run(&machine, [20.0, 20.0], None).expect_err("locked").to_string();
    assert!(failure.contains("another `tidemill tune apply`") && failure.contains("nothing was changed"), "{failure}");
    assert_eq!(value(&machine, SCHEDULER), "mq-deadline");
    drop(first);
    assert!(run(&machine, [20.0, 20.0], None).is_ok());
}

#[test]
fn values_of_an_earlier_start_of_the_machine_are_not_restored() {
    let machine = host("boot");
    run(&machine, [20.0, 20.0], None).expect("applied");
    machine.file("/proc/sys/kernel/random/boot_id", "second\n");
    machine.file(SCHEDULER, "none mq-deadline [bfq]\n");
    assert_eq!(undo_all(&machine), []);
    assert_eq!(value(&machine, SCHEDULER), "bfq");
}

#[test]
fn a_setting_that_cannot_be_written_stops_before_the_first_write() {
    let machine = host("right");
    // The superuser may write every file, but not a directory.
    let mut conditions = found(&machine);
    let swap = conditions.iter_mut().find(|condition| condition.name == "vm.swappiness").expect("a condition");
    swap.change.as_mut().expect("a change").writes[0].0 = "/proc/sys/vm".into();
    let failure = apply(machine.roots(), &conditions, None, &mut |_| {}).expect_err("no right").to_string();
    assert!(failure.contains("cannot write /proc/sys/vm") && failure.contains("sudo"), "{failure}");
    assert_eq!(value(&machine, SCHEDULER), "mq-deadline");
    assert!(!machine.roots().exists("/var/lib/tidemill/tune/replaced.toml"));
}

#[test]
fn a_container_is_recognised() {
    let machine = host("container");
    assert_eq!(container(machine.roots()), None);
    machine.file("/run/.containerenv", "");
    assert_eq!(container(machine.roots()), Some("/run/.containerenv"));
}

#[test]
fn processors_and_kernel_have_conditions() {
    let machine = host("cpu");
    machine.file("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "performance\n");
    machine.file("/sys/devices/system/cpu/cpufreq/policy1/scaling_governor", "powersave\n");
    machine.file("/sys/devices/system/clocksource/clocksource0/current_clocksource", "xen\n");
    machine.file("/sys/devices/system/clocksource/clocksource0/available_clocksource", "xen tsc\n");
    machine.file("/proc/stat", "cpu  50 0 0 40 0 0 0 10 0 0\n");
    machine.file("/proc/sys/kernel/io_uring_disabled", "2\n");
    machine.file("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    machine.file("/proc/sys/net/core/somaxconn", "4096\n");
    let writes = |name: &str| condition(&machine, name).change.map(|change| change.writes).unwrap_or_default();
    let governor = "/sys/devices/system/cpu/cpufreq/policy1/scaling_governor";
    assert_eq!(writes("CPU governor"), [(governor.to_owned(), "performance".to_owned())]);
    assert_eq!(writes("clock source")[0].1, "tsc");
    assert_eq!(writes("huge pages")[0].1, "madvise");
    let severity = |name: &str| condition(&machine, name).severity;
    assert_eq!(severity("steal since the start"), Severity::Warning);
    assert_eq!(severity("kernel.io_uring_disabled"), Severity::Fatal);
    assert_eq!(severity("net.core.somaxconn"), Severity::Fine);
    assert_eq!(severity("file system"), Severity::Fine);
}
