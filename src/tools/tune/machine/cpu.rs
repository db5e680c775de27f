//! The processors.

use super::Roots;
use crate::config::profile::Fingerprint;
use crate::runtime::cpu;

/// The properties by which a core profile is recognised.
pub fn core_fingerprint(roots: &Roots) -> Fingerprint {
    let info = roots.read("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    // Arm has no model name, but numbers.
    let arm = || Some(format!("implementer {} part {}", field("CPU implementer")?, field("CPU part")?));
    let mut found = Fingerprint::default();
    found.set("cpu_model", field("model name").or_else(arm));
    found.set("microcode", field("microcode"));
    found.set("cpus", Some(cpu::cores().len()));
    found.set("hypervisor", Some(hypervisor(roots, &field("flags").unwrap_or_default())));
    found.set("numa_nodes", Some(numa_nodes(roots).max(1)));
    found.set("smt", Some(roots.read("/sys/devices/system/cpu/smt/active").as_deref() == Some("1")));
    found.set("kernel", roots.read("/proc/sys/kernel/osrelease"));
    found.set("clocksource", roots.read("/sys/devices/system/clocksource/clocksource0/current_clocksource"));
    found.set("governor", roots.read("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"));
    found.set("quota_cores", quota_cores(roots));
    found
}

/// The name of the hypervisor, or `none`.
fn hypervisor(roots: &Roots, flags: &str) -> String {
    let by_firmware = || roots.read("/sys/class/dmi/id/sys_vendor");
    match flags.split_whitespace().any(|flag| flag == "hypervisor") {
        true => roots.read("/sys/hypervisor/type").or_else(by_firmware).unwrap_or_else(|| "unnamed".into()),
        false => "none".into(),
    }
}

fn numa_nodes(roots: &Roots) -> usize {
    let is_node = |name: &String| name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok());
    roots.list("/sys/devices/system/node").iter().filter(|name| is_node(name)).count()
}

/// The memory node of a core; 0 on a machine without nodes.
pub fn numa_node(roots: &Roots, core: usize) -> u32 {
    let names = roots.list(format!("/sys/devices/system/cpu/cpu{core}"));
    names.iter().find_map(|name| name.strip_prefix("node")?.parse().ok()).unwrap_or(0)
}

/// The limit of this process's control group on CPU time, in cores: the tightest of the group and its ancestors.
pub fn quota_cores(roots: &Roots) -> Option<f64> {
    let groups = roots.read("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let path = std::path::Path::new("/sys/fs/cgroup").join(own);
    let limit = |text: String| {
        let (quota, period) = text.split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok().filter(|period| *period > 0.0)?)
    };
    let limits = path.ancestors().take_while(|group| group.starts_with("/sys/fs/cgroup"));
    limits.filter_map(|group| limit(roots.read(group.join("cpu.max"))?)).min_by(f64::total_cmp)
}

/// All CPU time since the start of the machine, and the part that the hypervisor took, in ticks.
pub fn steal_ticks(roots: &Roots) -> Option<(u64, u64)> {
    let ticks = cpu_ticks(roots)?;
    Some((ticks.all, ticks.steal))
}

/// The CPU time of all cores since the start of the machine, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct CpuTicks {
    /// The sum of all states.
    pub all: u64,
    /// The time without work.
    pub idle: u64,
    /// The time that the hypervisor took.
    pub steal: u64,
}

/// Reads `/proc/stat`.
pub fn cpu_ticks(roots: &Roots) -> Option<CpuTicks> {
    let text = roots.read("/proc/stat")?;
    let fields: Vec<u64> = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().flat_map(str::parse).collect();
    // proc_stat(5): user nice system idle iowait irq softirq steal; guest times are part of user and nice.
    let all = fields.get(..8)?.iter().sum();
    Some(CpuTicks { all, idle: fields[3] + fields[4], steal: fields[7] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tune::machine::tests::MadeUp;

    #[test]
    fn the_fingerprint_names_the_processor_and_its_limits() {
        let machine = MadeUp::new("cpu");
        machine.file("/proc/cpuinfo", "model name\t: Fast CPU\nmicrocode\t: 0x7\nflags\t\t: fpu hypervisor\n");
        machine.file("/proc/self/cgroup", "1:name=x:/\n0::/a/b\n");
        machine.file("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        machine.file("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        machine.file("/sys/devices/system/node/node0/x", "");
        machine.file("/sys/devices/system/node/node1/x", "");
        machine.file("/sys/devices/system/cpu/cpu3/node1/x", "");
        machine.file("/sys/class/dmi/id/sys_vendor", "QEMU\n");
        let found = core_fingerprint(machine.roots());
        for (name, value) in [
            ("cpu_model", "Fast CPU"),
            ("microcode", "0x7"),
            ("hypervisor", "QEMU"),
            ("numa_nodes", "2"),
            ("smt", "false"),
            ("quota_cores", "1.5"),
        ] {
            assert_eq!(found.get(name), Some(value), "{name}");
        }
        assert_eq!(found.get("governor"), None);
        assert_eq!((numa_node(machine.roots(), 3), numa_node(machine.roots(), 4)), (1, 0));
    }

    #[test]
    fn an_arm_processor_has_numbers_for_a_name() {
        let machine = MadeUp::new("arm");
        machine.file("/proc/cpuinfo", "CPU implementer\t: 0x41\nCPU part\t: 0xd4f\n");
        let found = core_fingerprint(machine.roots());
        assert_eq!(found.get("cpu_model"), Some("implementer 0x41 part 0xd4f"));
        assert_eq!((found.get("hypervisor"), found.get("quota_cores")), (Some("none"), None));
    }

    #[test]
    fn steal_is_the_eighth_number() {
        let machine = MadeUp::new("stat");
        machine.file("/proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\n");
        assert_eq!(steal_ticks(machine.roots()), Some((36, 8)));
        assert_eq!(cpu_ticks(machine.roots()).map(|ticks| ticks.idle), Some(9));
        machine.file("/proc/stat", "cpu  1 2\n");
        assert_eq!(steal_ticks(machine.roots()), None);
    }
}
