//! Checks the resource limits of the process.

use std::io;

use super::Finding;

/// A broker with a few thousand connections and partitions needs this many.
const OPEN_FILES_WANTED: u64 = 20_000;

/// Raises the soft limit of open files to the hard limit, and reports the result.
pub fn open_files() -> Finding {
    const NAME: &str = "open files";
    let (soft, now) = match raise_open_files() {
        Ok(limits) => limits,
        Err(error) => return Finding::degraded(NAME, format!("the limit cannot be read: {error}"), ""),
    };
    let found = if now > soft { format!("{now} (raised from {soft})") } else { now.to_string() };
    if now >= OPEN_FILES_WANTED {
        return Finding::fine(NAME, found);
    }
    Finding::degraded(
        NAME,
        format!("{found}, fewer than {OPEN_FILES_WANTED}"),
        "each connection needs one and each partition a few; without a free one, connections are refused: raise \
         the hard limit (systemd: LimitNOFILE=1048576; containers: --ulimit nofile=1048576; shells: ulimit -Hn)",
    )
}

/// Raises the soft limit of open files to the hard limit. Returns the limit before and now.
pub fn raise_open_files() -> io::Result<(u64, u64)> {
    let (soft, hard) = read(libc::RLIMIT_NOFILE)?;
    let is_raised = soft < hard && raise(libc::RLIMIT_NOFILE, hard).is_ok();
    Ok((soft, if is_raised { hard } else { soft }))
}

/// The limit on locked memory in bytes; `None` if this process has no limit.
pub fn locked_memory() -> Option<u64> {
    const CAP_IPC_LOCK: u32 = 14;
    let capable = super::uring::status_field("CapEff:")
        .and_then(|hex| u64::from_str_radix(&hex, 16).ok())
        .is_some_and(|caps| caps & (1 << CAP_IPC_LOCK) != 0);
    match read(libc::RLIMIT_MEMLOCK) {
        Ok((soft, _)) if !capable && soft != libc::RLIM_INFINITY => Some(soft),
        _ => None,
    }
}

fn read(resource: libc::__rlimit_resource_t) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call, which writes it.
    match unsafe { libc::getrlimit(resource, &mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn raise(resource: libc::__rlimit_resource_t, to: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: to, rlim_max: to };
    // SAFETY: `limit` outlives the call, which reads it.
    match unsafe { libc::setrlimit(resource, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
