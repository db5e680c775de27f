//! The conditions of network interfaces and of interrupts.
//!
//! They are reported and never written: their effect shows only under the load of clients on other machines, which
//! `tune apply` does not have. Virtual interfaces, such as the loopback interface, have no queues of their own.

use std::path::{Path, PathBuf};

use super::conditions::{Condition, Severity};
use crate::tools::tune::machine::{Roots, interrupts, numa_node};

/// The directory of the interfaces.
const INTERFACES: &str = "/sys/class/net";
/// The table of receive flow steering, in connections.
const FLOWS: u64 = 32_768;

/// The conditions of all interfaces with a device, for shards on these cores.
pub fn conditions(roots: &Roots, cores: &[usize]) -> Vec<Condition> {
    let all = roots.list(INTERFACES).into_iter();
    let interfaces: Vec<String> = all
        .filter(|name| roots.exists(format!("{INTERFACES}/{name}/device")))
        .filter(|name| roots.read(format!("{INTERFACES}/{name}/operstate")).as_deref() != Some("down"))
        .collect();
    let mut found = Vec::new();
    for name in &interfaces {
        let interface = Interface::of(roots, name);
        found.extend(steering(roots, &interface, cores));
        found.extend(interrupts_of(roots, &format!("interrupts of {name}"), &interface.directory));
        found.extend(ring(roots, &interface));
    }
    if !interfaces.is_empty() {
        found.extend(balancer(roots));
    }
    found.extend(drops(roots));
    found
}

/// A network interface.
struct Interface<'a> {
    name: &'a str,
    directory: PathBuf,
    receive_queues: Vec<String>,
    send_queues: Vec<String>,
}

impl Interface<'_> {
    fn of<'a>(roots: &Roots, name: &'a str) -> Interface<'a> {
        let directory = Path::new(INTERFACES).join(name);
        let queues = |kind: &str| {
            let all = roots.list(directory.join("queues")).into_iter();
            all.filter(|queue| queue.starts_with(kind)).collect()
        };
        Interface { name, receive_queues: queues("rx-"), send_queues: queues("tx-"), directory }
    }

    /// A setting of each queue; unreadable ones are left out.
    fn each(&self, roots: &Roots, queues: &[String], setting: &str) -> Vec<String> {
        let path = |queue: &String| self.directory.join("queues").join(queue).join(setting);
        queues.iter().filter_map(|queue| roots.read(path(queue))).collect()
    }
}

/// A mask such as `00000000,00000003` without any core.
fn is_empty_mask(mask: &str) -> bool {
    mask.chars().all(|digit| matches!(digit, '0' | ','))
}

/// RPS, RFS and XPS: a connection is handled on the core of its shard.
fn steering(roots: &Roots, interface: &Interface<'_>, cores: &[usize]) -> Vec<Condition> {
    let Interface { name, receive_queues, send_queues, .. } = interface;
    let mut found = Vec::new();
    let masks = interface.each(roots, receive_queues, "rps_cpus");
    if !masks.is_empty() {
        let has_queues = receive_queues.len() >= cores.len();
        let is_spread = !masks.iter().any(|mask| is_empty_mask(mask));
        let required = "a queue or RPS for each core";
        let reason = format!(
            "a few cores handle the packets of all connections: `ethtool -L {name} combined {}` if the device has the \
             queues, else the mask of all cores in {INTERFACES}/{name}/queues/rx-*/rps_cpus",
            cores.len()
        );
        let current = match (has_queues, is_spread) {
            (true, _) => format!("{} receive queues", receive_queues.len()),
            (false, true) => "set".into(),
            (false, false) => format!("unset, {} of {} cores", receive_queues.len(), cores.len()),
        };
        found.push(
            Condition::new(format!("rps_cpus of {name}"), required, current, has_queues || is_spread).because(reason),
        );
    }
    let counts = interface.each(roots, receive_queues, "rps_flow_cnt");
    let entries = number(roots, "/proc/sys/net/core/rps_sock_flow_entries");
    if let (Some(entries), false, true) = (entries, counts.is_empty(), cores.len() > 1) {
        let each = FLOWS / counts.len() as u64;
        let least = counts.iter().filter_map(|count| count.parse::<u64>().ok()).min().unwrap_or(0);
        let is_fine = entries >= FLOWS && least >= each;
        let current = format!("{entries}, {least} a queue");
        found.push(
            Condition::new(format!("RFS of {name}"), &format!("{FLOWS}, {each} a queue"), current, is_fine).because(
                format!(
                    "a packet is handled on another core than the shard that reads its connection: sysctl \
                 net.core.rps_sock_flow_entries={FLOWS}, and {each} in {INTERFACES}/{name}/queues/rx-*/rps_flow_cnt"
                ),
            ),
        );
    }
    // The kernel has no such setting for an interface with one queue.
    let masks = interface.each(roots, send_queues, "xps_cpus");
    if send_queues.len() > 1 && !masks.is_empty() {
        let unset = masks.iter().filter(|mask| is_empty_mask(mask)).count();
        found.push(
            Condition::new(
                format!("xps_cpus of {name}"),
                "set",
                format!("unset for {unset} of {}", masks.len()),
                unset == 0,
            )
            .because(format!(
                "shards share send queues and their locks: one core, or a few, for each queue in \
                     {INTERFACES}/{name}/queues/tx-*/xps_cpus"
            )),
        );
    }
    found
}

/// The cores that handle the interrupts of a device's queues.
pub fn interrupts_of(roots: &Roots, name: &str, device: &Path) -> Option<Condition> {
    let found = interrupts(roots, device);
    if !roots.exists(device.join("device")) {
        return None;
    }
    if found.is_empty() {
        return Some(Condition::new(name, "not all on one core", "unknown", true));
    }
    let mut cores: Vec<usize> = found.iter().flat_map(|interrupt| &interrupt.cores).copied().collect();
    cores.sort_unstable();
    cores.dedup();
    let list: Vec<String> = cores.iter().map(ToString::to_string).collect();
    let current = format!("{} {}", if cores.len() == 1 { "core" } else { "cores" }, list.join(","));
    let node = number(roots, device.join("device/numa_node"));
    let is_foreign = |core: &&usize| node.is_some_and(|node| u64::from(numa_node(roots, **core)) != node);
    if let Some(core) = cores.iter().find(is_foreign) {
        let reason = format!(
            "core {core} is on another memory node than the device: name cores of the device's node in \
             /proc/irq/{}/smp_affinity_list",
            found[0].number
        );
        return Some(Condition::new(name, "on the device's memory node", current, false).because(reason));
    }
    // A queue pair of a virtio device has two interrupts.
    let is_crowded = found.len() > 2 && cores.len() == 1;
    let numbers: Vec<String> = found.iter().map(|interrupt| interrupt.number.to_string()).collect();
    Some(Condition::new(name, "not all on one core", current, !is_crowded).or(Severity::Warning).because(format!(
        "one core handles the queues of all others, and its shard waits meanwhile: spread interrupts {} in \
             /proc/irq/N/smp_affinity_list",
        numbers.join(", ")
    )))
}

/// A ring that was full. Only `ethtool -g` prints its size: sysfs lacks it.
fn ring(roots: &Roots, interface: &Interface<'_>) -> Option<Condition> {
    let counter = |name: &str| number(roots, interface.directory.join("statistics").join(name));
    let received = counter("rx_packets")?;
    let lost = counter("rx_missed_errors").unwrap_or(0) + counter("rx_fifo_errors").unwrap_or(0);
    let name = interface.name;
    // 1 of 100,000 costs a connection a retransmission now and then.
    Some(
        Condition::new(
            format!("full receive rings of {name}"),
            "at most 0.001 %",
            format!("{lost} of {received} packets"),
            lost <= received / 100_000,
        )
        .because(format!("the ring was full, and packets were lost: `ethtool -g {name}` shows its size, `-G` sets it")),
    )
}

/// Whether irqbalance moves interrupts.
fn balancer(roots: &Roots) -> Option<Condition> {
    let processes = roots.list("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok());
    let mut names = processes.filter_map(|process| roots.read(format!("/proc/{process}/comm"))).peekable();
    names.peek()?;
    let is_running = names.any(|name| name == "irqbalance");
    Some(
        Condition::new("irqbalance", "not running", if is_running { "running" } else { "not running" }, !is_running)
            .because(
                "it moves interrupts to other cores while the node runs, also to those of busy shards: stop it after \
                 the interrupts are placed, or name the shards' cores in IRQBALANCE_BANNED_CPULIST",
            ),
    )
}

/// Packets and connections that the kernel has dropped since the start.
fn drops(roots: &Roots) -> Vec<Condition> {
    let mut found = Vec::new();
    if let Some(text) = roots.read("/proc/net/softnet_stat") {
        // A line for each core, in hexadecimal: packets, drops, and more.
        let dropped: u64 =
            text.lines().filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok()).sum();
        let reason = "a core's backlog was full, and packets were lost: raise net.core.netdev_max_backlog, or spread \
            the packets over more cores";
        found.push(Condition::new("dropped backlog packets", "0", dropped.to_string(), dropped == 0).because(reason));
    }
    if let Some(overflows) = roots.read("/proc/net/netstat").and_then(|text| extended(&text, "ListenOverflows")) {
        let reason = "new connections were dropped because no shard accepted them in time: raise net.core.somaxconn \
            and restart the node";
        found.push(Condition::new("full listen queues", "0", overflows.to_string(), overflows == 0).because(reason));
    }
    found
}

/// A counter of `/proc/net/netstat`: a line of names, then a line of values, both with the same first word.
fn extended(text: &str, name: &str) -> Option<u64> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).find_map(|pair| {
        let at = pair[0].split_whitespace().position(|word| word == name)?;
        pair[1].split_whitespace().nth(at)?.parse().ok()
    })
}

/// A file with one number. -1 stands for none.
fn number(roots: &Roots, path: impl AsRef<Path>) -> Option<u64> {
    roots.read(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tune::machine::tests::MadeUp;

    const CORES: [usize; 4] = [0, 1, 2, 3];

    /// A host with an interface of so many queues, whose interrupts are all on core 1.
    fn host(name: &str, queues: usize) -> MadeUp {
        let machine = MadeUp::new(&format!("network-{name}"));
        machine.file("/sys/class/net/lo/operstate", "unknown");
        machine.file("/sys/class/net/eth0/operstate", "up");
        let mut all = "   CPU0 CPU1 CPU2 CPU3\n".to_owned();
        for queue in 0..queues {
            let base = "/sys/class/net/eth0/queues";
            machine.file(&format!("{base}/rx-{queue}/rps_cpus"), "0\n");
            machine.file(&format!("{base}/rx-{queue}/rps_flow_cnt"), "0\n");
            machine.file(&format!("{base}/tx-{queue}/xps_cpus"), "0\n");
            machine.file(&format!("/sys/class/net/eth0/device/msi_irqs/{}", 50 + queue), "msix");
            machine.file(&format!("/proc/irq/{}/effective_affinity_list", 50 + queue), "1\n");
            all.push_str(&format!(" {}: 0 9 0 0 PCI-MSIX 0-edge eth0-TxRx-{queue}\n", 50 + queue));
        }
        machine.file("/proc/interrupts", &all);
        machine.file("/proc/sys/net/core/rps_sock_flow_entries", "0\n");
        machine
    }

    fn check(machine: &MadeUp, name: &str, current: &str, severity: Severity) {
        let all = conditions(machine.roots(), &CORES);
        let found = all.iter().find(|condition| condition.name == name);
        let found = found.unwrap_or_else(|| panic!("no {name} in {all:?}"));
        assert_eq!((found.current.as_str(), found.severity), (current, severity), "{name}");
        assert!(found.change.is_none(), "{name} is never written");
    }

    #[test]
    fn an_interface_with_one_queue_needs_rps_and_rfs() {
        let machine = host("one", 1);
        check(&machine, "rps_cpus of eth0", "unset, 1 of 4 cores", Severity::Note);
        check(&machine, "RFS of eth0", "0, 0 a queue", Severity::Note);
        check(&machine, "interrupts of eth0", "core 1", Severity::Fine);
        machine.file("/sys/class/net/eth0/queues/rx-0/rps_cpus", "f\n");
        machine.file("/sys/class/net/eth0/queues/rx-0/rps_flow_cnt", "32768\n");
        machine.file("/proc/sys/net/core/rps_sock_flow_entries", "32768\n");
        check(&machine, "rps_cpus of eth0", "set", Severity::Fine);
        check(&machine, "RFS of eth0", "32768, 32768 a queue", Severity::Fine);
        let names: Vec<String> = conditions(machine.roots(), &CORES).into_iter().map(|found| found.name).collect();
        assert!(!names.iter().any(|name| name.starts_with("xps_cpus")), "one queue needs no XPS: {names:?}");
    }

    #[test]
    fn interrupts_of_all_queues_on_one_core_are_a_warning() {
        let machine = host("crowd", 4);
        check(&machine, "rps_cpus of eth0", "4 receive queues", Severity::Fine);
        check(&machine, "xps_cpus of eth0", "unset for 4 of 4", Severity::Note);
        check(&machine, "interrupts of eth0", "core 1", Severity::Warning);
        machine.file("/proc/irq/52/effective_affinity_list", "3\n");
        check(&machine, "interrupts of eth0", "cores 1,3", Severity::Fine);
        machine.file("/sys/class/net/eth0/device/numa_node", "0\n");
        machine.file("/sys/devices/system/cpu/cpu3/node1/x", "");
        check(&machine, "interrupts of eth0", "cores 1,3", Severity::Note);
        machine.file("/sys/class/net/eth0/device/numa_node", "-1\n");
        check(&machine, "interrupts of eth0", "cores 1,3", Severity::Fine);
    }

    #[test]
    fn drops_and_the_balancer_are_notes() {
        let machine = host("drops", 1);
        machine.file("/proc/net/softnet_stat", "00ff 00000000 1\n00ff 0000000a 1\n");
        machine.file("/proc/net/netstat", "TcpExt: A ListenOverflows B\nTcpExt: 1 7 2\nIpExt: C\nIpExt: 3\n");
        machine.file("/sys/class/net/eth0/statistics/rx_packets", "1000000\n");
        machine.file("/sys/class/net/eth0/statistics/rx_missed_errors", "10\n");
        machine.file("/proc/7/comm", "irqbalance\n");
        check(&machine, "dropped backlog packets", "10", Severity::Note);
        check(&machine, "full listen queues", "7", Severity::Note);
        check(&machine, "full receive rings of eth0", "10 of 1000000 packets", Severity::Fine);
        check(&machine, "irqbalance", "running", Severity::Note);
        machine.file("/sys/class/net/eth0/statistics/rx_missed_errors", "11\n");
        check(&machine, "full receive rings of eth0", "11 of 1000000 packets", Severity::Note);
    }

    #[test]
    fn unreadable_values_are_unknown_and_no_failure() {
        let machine = MadeUp::new("network-nothing");
        machine.file("/sys/class/net/lo/operstate", "unknown");
        assert_eq!(conditions(machine.roots(), &CORES), []);
        machine.file("/sys/class/net/eth0/device/vendor", "x");
        machine.file("/proc/net/netstat", "TcpExt: A\n");
        check(&machine, "interrupts of eth0", "unknown", Severity::Fine);
        assert_eq!(conditions(machine.roots(), &CORES).len(), 1);
    }
}
