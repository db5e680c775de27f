//! The process and its use of the machine, from proc(5).

use std::fs;

/// The use of the machine so far. A value that the kernel does not give is absent.
#[derive(Default)]
pub(super) struct Process {
    /// User and system time of all threads.
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<usize>,
    pub max_fds: Option<u64>,
    /// Bytes that the storage delivered.
    pub read_bytes: Option<u64>,
    /// Bytes that went to the storage.
    pub written_bytes: Option<u64>,
}

/// Reads the files of this process.
pub(super) fn read() -> Process {
    let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let io = text("io");
    let io_field = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    let limits = text("limits");
    Process {
        cpu_seconds: cpu_ticks(&text("stat"))
            .map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
        resident_bytes: text("statm")
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok())
            .map(|pages| pages * rustix::param::page_size() as u64),
        open_fds: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
        max_fds: limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok()),
        read_bytes: io_field("read_bytes:"),
        written_bytes: io_field("write_bytes:"),
    }
}

/// The 14th and the 15th field of `stat`. The second one is the name in parentheses, which may hold blanks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')?..].split(' ').skip(12);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_follow_a_name_with_blanks() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 12 30 0 0 20 0 4 0";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn this_process_has_numbers() {
        let process = read();
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds >= 0.0));
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(process.open_fds.is_some_and(|fds| fds >= 3));
        assert!(process.max_fds.is_some_and(|fds| fds >= 3));
    }
}
