//! Limits of the process.

use std::io;

use super::Finding;

/// Below this, a broker with a few thousand connections and partitions runs out.
const OPEN_FILES_WANTED: u64 = 20_000;

/// Raises the soft limit to the hard one, and says what it is then.
pub fn open_files() -> Finding {
    const NAME: &str = "open files";
    let (soft, hard) = match read(libc::RLIMIT_NOFILE) {
        Ok(limit) => limit,
        Err(error) => return Finding::degraded(NAME, format!("the limit cannot be read: {error}"), ""),
    };
    let mut now = soft;
    if soft < hard && raise(libc::RLIMIT_NOFILE, hard).is_ok() {
        now = hard;
    }
    let found = if now > soft { format!("{now} (raised from {soft})") } else { now.to_string() };
    if now >= OPEN_FILES_WANTED {
        return Finding::fine(NAME, found);
    }
    Finding::degraded(
        NAME,
        format!("{found}, fewer than {OPEN_FILES_WANTED}"),
        "each connection takes one and each partition a few, and connections are refused when they run out: raise the hard \
         limit (systemd: LimitNOFILE=1048576; containers: --ulimit nofile=1048576; shells: ulimit -Hn)",
    )
}

/// The memory that may be locked, in bytes; `None` = no limit for this process.
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
    // SAFETY: `limit` lives across the call, which writes it.
    match unsafe { libc::getrlimit(resource, &mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn raise(resource: libc::__rlimit_resource_t, to: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: to, rlim_max: to };
    // SAFETY: `limit` lives across the call, which reads it.
    match unsafe { libc::setrlimit(resource, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
