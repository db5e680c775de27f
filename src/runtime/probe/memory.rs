//! Checks that the arena gets huge pages, and measures the memory.

use super::Finding;

const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// The finding about transparent huge pages.
pub fn huge_pages() -> Finding {
    judge(std::fs::read_to_string(ENABLED).ok().as_deref())
}

/// The memory of the machine, or of the process's control group if that has less.
pub fn bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = of_meminfo(&read("/proc/meminfo")?)?;
    // Control groups v2: "0::/path", below the root where the group's limit and its ancestors' are.
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
    let groups = std::path::Path::new("/sys/fs/cgroup").join(own);
    let groups = groups.ancestors().take_while(|group| group.starts_with("/sys/fs/cgroup"));
    let limits = groups.filter_map(|group| read(group.join("memory.max").to_str()?)?.trim().parse::<u64>().ok());
    limits.chain([machine]).min()
}

fn of_meminfo(text: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
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
        assert_eq!(of_meminfo("MemTotal:        8134296 kB\nMemFree: 1 kB\n"), Some(8_134_296 << 10));
        assert_eq!(of_meminfo("MemTotal: lots"), None);
        assert!(bytes().is_some_and(|bytes| bytes > 64 << 20));
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
