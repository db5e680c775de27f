//! The interrupts of a device, from proc_interrupts(5), `/proc/irq` and sysfs.

use std::path::Path;

use super::Roots;

/// One interrupt that has occurred.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interrupt {
    /// The kernel's number.
    pub number: u32,
    /// The name that the driver gave it, such as `virtio3-rx`.
    pub name: String,
    /// The cores that handle it now.
    pub cores: Vec<usize>,
}

/// The interrupts of the queues of a device, by its directory in `/sys/class` or `/sys/block`. Interrupts that never
/// occurred are left out: they belong to configuration, or to a queue without traffic.
pub fn interrupts(roots: &Roots, device: &Path) -> Vec<Interrupt> {
    // The PCI device above a virtio device has the interrupts, and the device of an NVMe namespace's controller.
    let directories = ["device/msi_irqs", "device/../msi_irqs", "device/device/msi_irqs"];
    let numbers = directories.iter().map(|name| roots.list(device.join(name))).find(|numbers| !numbers.is_empty());
    let all = roots.read("/proc/interrupts").unwrap_or_default();
    let mut found: Vec<Interrupt> = numbers
        .unwrap_or_default()
        .iter()
        .filter_map(|number| number.parse().ok())
        .filter_map(|number: u32| {
            let name = name_if_used(&all, number)?;
            let affinity = |file: &str| roots.read(format!("/proc/irq/{number}/{file}"));
            let list = affinity("effective_affinity_list").or_else(|| affinity("smp_affinity_list"))?;
            Some(Interrupt { number, name, cores: core_list(&list) })
        })
        .collect();
    found.sort_by_key(|interrupt| interrupt.number);
    found
}

/// The line of an interrupt: number, a count for each core, its controller, its name. `None` without a count above 0.
fn name_if_used(all: &str, number: u32) -> Option<String> {
    let mut lines = all.lines();
    let cores = lines.next()?.split_whitespace().count();
    let rest = lines.find_map(|line| {
        let (found, rest) = line.split_once(':')?;
        (found.trim().parse() == Ok(number)).then_some(rest)
    })?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let is_used = words.iter().take(cores).any(|count| *count != "0");
    is_used.then(|| words.last().copied().unwrap_or_default().to_owned())
}

/// The cores of a list such as `0-2,5`. Words that are not numbers are left out.
fn core_list(text: &str) -> Vec<usize> {
    let ranges = text.split(',').filter_map(|range| {
        let (first, last) = range.trim().split_once('-').unwrap_or((range.trim(), range.trim()));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    });
    // The kernel has at most 8192 cores.
    ranges.flat_map(|range| range.take(8192)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tune::machine::tests::MadeUp;

    #[test]
    fn a_list_of_cores_has_ranges() {
        assert_eq!(core_list("0-2,5, 7\n"), [0, 1, 2, 5, 7]);
        assert_eq!(core_list("x,3-1,"), Vec::<usize>::new());
    }

    #[test]
    fn the_interrupts_of_queues_are_those_that_occurred() {
        let machine = MadeUp::new("interrupts");
        for number in [40, 41, 42] {
            machine.file(&format!("/sys/class/net/eth0/device/msi_irqs/{number}"), "msix");
            machine.file(&format!("/proc/irq/{number}/smp_affinity_list"), "0-1");
        }
        machine.file("/proc/irq/41/effective_affinity_list", "1");
        let all = "           CPU0       CPU1\n 40:          0          0 PCI-MSIX 0-edge      virtio3-config\n \
            41:      59880          0 PCI-MSIX 1-edge      virtio3-rx\n 42:          0     7 PCI-MSIX 2-edge      \
            virtio3-tx\nNMI:          0          0   Non-maskable interrupts\n";
        machine.file("/proc/interrupts", all);
        let found = interrupts(machine.roots(), Path::new("/sys/class/net/eth0"));
        let expected = [(41, "virtio3-rx", vec![1]), (42, "virtio3-tx", vec![0, 1])];
        let expected = expected.map(|(number, name, cores)| Interrupt { number, name: name.into(), cores });
        assert_eq!(found, expected);
        assert_eq!(interrupts(machine.roots(), Path::new("/sys/class/net/eth1")), []);
    }
}
