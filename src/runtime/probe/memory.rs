//! Checks that the arena gets huge pages, and measures the memory.

use std::path::{Path, PathBuf};

use super::Finding;

const MEMINFO: &str = "/proc/meminfo";
const GROUPS: &str = "/sys/fs/cgroup";
const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// The finding about transparent huge pages.
pub fn huge_pages() -> Finding {
    judge(std::fs::read_to_string(ENABLED).ok().as_deref())
}

/// The memory of the machine, and the limits of the process's control groups.
pub struct Memory {
    /// The control group of the process, and its ancestors.
    groups: Vec<PathBuf>,
}

impl Memory {
    /// Finds the control groups. A process stays in its group.
    pub fn of_process() -> Memory {
        Memory { groups: groups().collect() }
    }

    /// The memory of the machine, or of the control group if that has less.
    pub fn bytes(&self) -> Option<u64> {
        let machine = of_meminfo(&read(MEMINFO)?, "MemTotal:")?;
        let limits = self.groups.iter().filter_map(|group| limit(group));
        limits.chain([machine]).min()
    }

    /// The memory that the process can still get: that of the machine, or of its control group if that has less. Memory
    /// that the kernel gives back when asked, such as its cache of files, counts as available.
    pub fn available(&self) -> Option<u64> {
        let machine = of_meminfo(&read(MEMINFO)?, "MemAvailable:")?;
        let rooms = self.groups.iter().filter_map(|group| {
            let limit = limit(group)?;
            let used = read(group.join("memory.current"))?.trim().parse::<u64>().ok()?;
            let statistics = read(group.join("memory.stat")).unwrap_or_default();
            let cached = statistics.lines().find_map(|line| line.strip_prefix("inactive_file "));
            let cached = cached.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
            Some(limit.saturating_sub(used.saturating_sub(cached)))
        });
        rooms.chain([machine]).min()
    }
}

/// The share of the last ten seconds in which some task waited for memory, in percent. `None` if the kernel does not
/// measure it (PSI).
pub fn pressure() -> Option<f64> {
    of_pressure(&read("/proc/pressure/memory")?)
}

fn of_pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The directories of the process's control group and its ancestors (version 2), each of which can have a limit.
fn groups() -> impl Iterator<Item = PathBuf> {
    // "0::/path", below the root.
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let groups: Vec<PathBuf> = Path::new(GROUPS).join(own).ancestors().map(Path::to_owned).collect();
    groups.into_iter().take_while(|group| group.starts_with(GROUPS))
}

fn limit(group: &Path) -> Option<u64> {
    read(group.join("memory.max"))?.trim().parse().ok()
}

fn of_meminfo(text: &str, field: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix(field))?.trim().strip_suffix(" kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn judge(enabled: Option<&str>) -> Finding {
    const NAME: &str = "huge pages";
    // "always [madvise] never": the bracketed mode is active.
    let mode = enabled.and_then(|s| s.split_once('[')?.1.split_once(']')).map(|(mode, _)| mode);
    match mode {
        Some(mode @ ("always" | "madvise")) => Finding::fine(NAME, mode),
        found => Finding::degraded(
            NAME,
            found.unwrap_or("not supported by this kernel"),
            format!("buffers use 4 KiB pages, and large writes cost more CPU: echo madvise > {ENABLED}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::probe::Level;

    #[test]
    fn the_memory_of_the_machine_is_measured() {
        assert_eq!(of_meminfo("MemTotal:        8134296 kB\nMemFree: 1 kB\n", "MemTotal:"), Some(8_134_296 << 10));
        assert_eq!(of_meminfo("MemTotal: lots", "MemTotal:"), None);
        let memory = Memory::of_process();
        assert!(memory.bytes().is_some_and(|bytes| bytes > 64 << 20));
        assert!(memory.available() > Some(0) && memory.available() < memory.bytes());
        let pressure =
            "some avg10=1.25 avg60=0.10 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2\n";
        assert_eq!((of_pressure(pressure), of_pressure("full avg10=1.00")), (Some(1.25), None));
    }

    #[test]
    fn the_bracketed_mode_is_the_active_one() {
        for (enabled, level) in [
            (Some("always [madvise] never\n"), Level::Fine),
            (Some("[always] madvise never\n"), Level::Fine),
            (Some("always madvise [never]\n"), Level::Degraded),
            (Some("rubbish"), Level::Degraded),
            (None, Level::Degraded),
        ] {
            assert_eq!(judge(enabled).level, level, "{enabled:?}");
        }
    }
}
