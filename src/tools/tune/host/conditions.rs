//! The settings of a host that matter to a node, with their reasons.

use std::path::Path;

use serde_json::{Value, json};

use super::{device, network};
use crate::runtime::cpu;
use crate::tools::tune::machine::{Roots, quota_cores, steal_ticks};

/// The consequence of a condition that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The condition holds.
    Fine,
    /// Another value may be faster.
    Note,
    /// The node is slow or fails under load.
    Warning,
    /// A guarantee does not hold, or the node does not start.
    Fatal,
}

impl Severity {
    /// For the table and for JSON.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Fine => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Fatal => "fatal",
        }
    }
}

/// The measurement that shows the effect of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Durable writes.
    Disk,
    /// Messages between cores.
    Cores,
    /// None: the setting raises a limit or prevents a failure.
    Protection,
}

/// The writes that make a condition hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Absolute paths, and their values.
    pub writes: Vec<(String, String)>,
    /// The measurement that shows the effect.
    pub effect: Effect,
}

/// One condition of the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// The subject, such as `scheduler of nvme0n1`.
    pub name: String,
    /// The required value.
    pub required: String,
    /// The value of this host.
    pub current: String,
    /// `Fine` if the condition holds.
    pub severity: Severity,
    /// Why it matters, and the remedy if no change can be written.
    pub reason: String,
    /// The change, if the condition does not hold and a write makes it hold.
    pub change: Option<Change>,
}

impl Condition {
    /// A condition that holds if `is_fine`; otherwise it has this severity.
    pub fn new(name: impl Into<String>, required: &str, current: impl Into<String>, is_fine: bool) -> Condition {
        Condition {
            name: name.into(),
            required: required.into(),
            current: current.into(),
            severity: if is_fine { Severity::Fine } else { Severity::Note },
            reason: String::new(),
            change: None,
        }
    }

    /// The severity if the condition does not hold.
    pub fn or(mut self, severity: Severity) -> Condition {
        if self.severity != Severity::Fine {
            self.severity = severity;
        }
        self
    }

    /// Why it matters.
    pub fn because(self, reason: impl Into<String>) -> Condition {
        Condition { reason: reason.into(), ..self }
    }

    /// The writes, if the condition does not hold.
    pub fn written(mut self, effect: Effect, writes: Vec<(String, String)>) -> Condition {
        if self.severity != Severity::Fine && !writes.is_empty() {
            self.change = Some(Change { writes, effect });
        }
        self
    }

    /// One object.
    pub fn to_json(&self) -> Value {
        let writes = self.change.iter().flat_map(|change| &change.writes);
        let writes: Vec<Value> = writes.map(|(path, value)| json!({ "path": path, "value": value })).collect();
        json!({
            "condition": self.name, "required": self.required, "current": self.current,
            "severity": self.severity.name(), "reason": self.reason, "writes": writes,
        })
    }
}

/// All conditions, for a node with this data directory. A setting that the kernel does not have is left out.
pub fn conditions(roots: &Roots, directory: &Path) -> Vec<Condition> {
    let mut found = device::conditions(roots, directory);
    found.extend(processors(roots));
    found.extend(kernel(roots));
    found.extend(network::conditions(roots, &cpu::cores()));
    found
}

fn processors(roots: &Roots) -> Vec<Condition> {
    let mut found = Vec::new();
    let base = "/sys/devices/system/cpu/cpufreq";
    let policies = roots.list(base).into_iter().filter(|name| name.starts_with("policy"));
    let governors: Vec<(String, String)> = policies
        .filter_map(|policy| {
            let path = format!("{base}/{policy}/scaling_governor");
            roots.read(&path).map(|governor| (path, governor))
        })
        .collect();
    if let Some((_, first)) = governors.iter().find(|(_, value)| value != "performance").or(governors.first()) {
        let slow = governors.iter().filter(|(_, value)| value != "performance");
        let writes = slow.map(|(path, _)| (path.clone(), "performance".to_owned())).collect();
        found.push(
            Condition::new("CPU governor", "performance", first, first == "performance")
                .because("a core that lowers its clock when it parks needs time to raise it again")
                .written(Effect::Cores, writes),
        );
    }
    found.extend(clock_source(roots));
    if let Some((all, steal)) = steal_ticks(roots) {
        let percent = 100.0 * steal as f64 / all.max(1) as f64;
        found.push(
            Condition::new("steal since the start", "at most 5 %", format!("{percent:.1} %"), percent <= 5.0)
                .or(Severity::Warning)
                .because("the hypervisor gives the cores to other machines: ask for dedicated cores"),
        );
    }
    let quota = quota_cores(roots).map_or("none".into(), |cores| format!("{cores} cores"));
    found.push(
        Condition::new("limit on CPU time", "none", &quota, quota == "none")
            .or(Severity::Warning)
            .because("the kernel stops all shards for the rest of each period (cpu.max): use a cpuset instead"),
    );
    found
}

fn clock_source(roots: &Roots) -> Option<Condition> {
    /// Read without a system call (vDSO).
    const FAST: [&str; 4] = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];
    let base = "/sys/devices/system/clocksource/clocksource0";
    let current = roots.read(format!("{base}/current_clocksource"))?;
    let available = roots.read(format!("{base}/available_clocksource")).unwrap_or_default();
    let best = FAST.iter().find(|name| available.split_whitespace().any(|available| available == **name));
    let writes = best.map(|best| vec![(format!("{base}/current_clocksource"), (*best).to_owned())]);
    let is_fast = FAST.contains(&current.as_str());
    Some(
        Condition::new("clock source", best.unwrap_or(&FAST[0]), &current, is_fast)
            .or(Severity::Warning)
            .because("each stage of a request reads the clock, and this source needs a system call for it")
            .written(Effect::Cores, writes.unwrap_or_default()),
    )
}

/// A setting of `/proc/sys` that is a number.
fn number(
    roots: &Roots,
    name: &str,
    required: &str,
    is_fine: fn(u64) -> bool,
    value: &str,
    reason: &str,
) -> Option<Condition> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let current = roots.read(&path)?;
    let is_fine = current.parse().is_ok_and(is_fine);
    let writes = vec![(path, value.to_owned())];
    Some(Condition::new(name, required, current, is_fine).because(reason).written(Effect::Protection, writes))
}

fn kernel(roots: &Roots) -> Vec<Condition> {
    let mut found = Vec::new();
    if let Some(disabled) = roots.read("/proc/sys/kernel/io_uring_disabled") {
        let severity = if disabled == "2" { Severity::Fatal } else { Severity::Warning };
        found.push(
            Condition::new("kernel.io_uring_disabled", "0", &disabled, disabled == "0")
                .or(severity)
                .because("a node needs io_uring; with 1 its user must be in kernel.io_uring_group"),
        );
    }
    let pages = "/sys/kernel/mm/transparent_hugepage/enabled";
    if let Some(text) = roots.read(pages) {
        let mode = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("unknown", |(mode, _)| mode);
        found.push(
            Condition::new("huge pages", "madvise or always", mode, mode == "madvise" || mode == "always")
                .because("large direct writes from 4 KiB pages cost 1.4 to 1.5 times the CPU")
                .written(Effect::Disk, vec![(pages.into(), "madvise".into())]),
        );
    }
    let swap = "the kernel may write the memory of an idle node to the disk";
    found.extend(number(roots, "vm.swappiness", "at most 10", |value| value <= 10, "1", swap));
    let nodes = roots.list("/sys/devices/system/node").iter().filter(|name| name.starts_with("node")).count();
    if nodes > 1 {
        let pages = "pinned shards have their memory near already, and the scan for misplaced pages stalls them";
        found.extend(number(roots, "kernel.numa_balancing", "0", |value| value == 0, "0", pages));
    }
    let backlog = "a burst of new connections is dropped beyond this number";
    for name in ["net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"] {
        found.extend(number(roots, name, "at least 4096", |value| value >= 4096, "4096", backlog));
    }
    found
}
