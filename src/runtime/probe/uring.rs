//! Checks that this process can build the ring that Tidemill requires, and finds the cause if it cannot.

use std::io;

use io_uring::{IoUring, opcode};

use super::{Finding, ProbeRefusal, limits};
use crate::runtime::ring::{self, Built};
use crate::runtime::{Config, cpu};

const NAME: &str = "io_uring";
const WHY: &str = "all of Tidemill's network and disk I/O goes through io_uring; there is no other path";

/// The facts that explain an error of `io_uring_setup`.
#[derive(Clone, Debug, Default)]
struct Circumstances {
    /// `uname -r`
    release: String,
    /// `/proc/sys/kernel/io_uring_disabled`, which exists since Linux 6.6.
    disabled: Option<u8>,
    /// Whether a seccomp filter is active (`Seccomp: 2` in `/proc/self/status`).
    filtered: bool,
    /// The limit on locked memory, if this process has one.
    locked_bytes_max: Option<u64>,
}

/// The number of entries that one ring per core can have.
pub fn probe(findings: &mut Vec<Finding>) -> Result<u32, ProbeRefusal> {
    let circumstances = Circumstances::of_this_process();
    let wanted = ring::supported_entries(Config::default().ring_entries);
    // Builds one ring per core at the same time, as the shards do: the limit on locked memory covers all of them.
    let count = cpu::cores().len().clamp(1, 256);
    let mut entries = wanted;
    let rings = loop {
        let rings: io::Result<Vec<_>> = (0..count).map(|_| try_ring(entries)).collect();
        match rings {
            Ok(rings) => break rings,
            Err(error) if ring::is_out_of_memory(&error) && entries > ring::ENTRIES_MIN => entries /= 2,
            Err(error) => return Err(refusal(&error, &circumstances)),
        }
    };
    findings.push(missing_operations(&rings[0].uring, &circumstances)?);
    if entries == wanted {
        findings.push(Finding::fine("ring memory", format!("{count} rings of {entries} entries")));
    } else {
        let limit = circumstances.locked_bytes_max.unwrap_or_default();
        findings.push(Finding::degraded(
            "ring memory",
            format!("the limit on locked memory ({limit} bytes) leaves {entries} entries for each of {count} rings"),
            format!(
                "smaller rings are used, with more system calls; for {wanted} entries raise the limit {RAISE_MEMLOCK}"
            ),
        ));
    }
    Ok(entries)
}

const RAISE_MEMLOCK: &str =
    "(systemd: LimitMEMLOCK=infinity; containers: --ulimit memlock=-1:-1; shells: ulimit -l unlimited)";

/// Builds a ring with the registrations of a shard, and runs one operation on it.
fn try_ring(entries: u32) -> io::Result<Built> {
    // Buffers of the smallest size: only their descriptors are in locked memory.
    let mut built = ring::build(entries, Config::default().recv_buffers, 64)?;
    // SAFETY: the operation has no pointers.
    unsafe { built.uring.submission().push(&opcode::Nop::new().build()) }.map_err(io::Error::other)?;
    built.uring.submit_and_wait(1)?;
    if built.uring.completion().next().is_none() {
        return Err(io::Error::other("an operation did not complete"));
    }
    Ok(built)
}

/// Checks the opcodes. Multishot accept and buffer selection have none; they are older than SINGLE_ISSUER and
/// DEFER_TASKRUN, which this ring has.
fn missing_operations(uring: &IoUring, circumstances: &Circumstances) -> Result<Finding, ProbeRefusal> {
    let mut probe = io_uring::Probe::new();
    uring.submitter().register_probe(&mut probe).map_err(|error| refusal(&error, circumstances))?;
    let needed = [
        ("read", opcode::Read::CODE),
        ("write", opcode::Write::CODE),
        ("writev", opcode::Writev::CODE),
        ("fsync", opcode::Fsync::CODE),
        ("fallocate", opcode::Fallocate::CODE),
        ("openat", opcode::OpenAt::CODE),
        ("close", opcode::Close::CODE),
        ("unlinkat", opcode::UnlinkAt::CODE),
        ("renameat", opcode::RenameAt::CODE),
        ("linkat", opcode::LinkAt::CODE),
        ("mkdirat", opcode::MkDirAt::CODE),
        ("accept", opcode::Accept::CODE),
        ("connect", opcode::Connect::CODE),
        ("recv", opcode::Recv::CODE),
        ("send", opcode::Send::CODE),
        ("sendmsg", opcode::SendMsg::CODE),
        ("async cancel", opcode::AsyncCancel::CODE),
        ("msg_ring", opcode::MsgRingData::CODE),
    ];
    let missing: Vec<_> = needed.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name).collect();
    let release = &circumstances.release;
    if !missing.is_empty() {
        return Err(ProbeRefusal {
            name: NAME,
            found: format!("Linux {release} lacks the operations {}", missing.join(", ")),
            why: WHY.into(),
            remedy: "run Linux 6.1 or newer".into(),
        });
    }
    if !probe.is_supported(opcode::Ftruncate::CODE) {
        return Ok(Finding::degraded(
            NAME,
            format!("Linux {release} has no ftruncate operation"),
            "files are truncated with a blocking call; Linux 6.9 has the operation",
        ));
    }
    Ok(Finding::fine(NAME, format!("Linux {release}")))
}

fn refusal(error: &io::Error, c: &Circumstances) -> ProbeRefusal {
    let release = &c.release;
    let refuse =
        |found: String, remedy: &str| ProbeRefusal { name: NAME, found, why: WHY.into(), remedy: remedy.into() };
    let by_filter = "allow the system calls io_uring_setup, io_uring_enter and io_uring_register in the profile \
         (Docker, Podman: --security-opt seccomp=<your profile>.json, which is the default profile with these three \
         added, or --security-opt seccomp=unconfined; Kubernetes: securityContext.seccompProfile, type Localhost with \
         that profile, or Unconfined; systemd: remove them from SystemCallFilter)";
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match c.disabled {
            Some(2) => refuse(
                "switched off for every process by the sysctl kernel.io_uring_disabled = 2".into(),
                "sysctl -w kernel.io_uring_disabled=0 on the host (a container shares the host's setting)",
            ),
            Some(1) if !c.filtered => refuse(
                "switched off for unprivileged processes by the sysctl kernel.io_uring_disabled = 1".into(),
                "sysctl -w kernel.io_uring_disabled=0 on the host; or keep it and add the user's group to the sysctl \
                 kernel.io_uring_group; or grant CAP_SYS_ADMIN",
            ),
            _ if c.filtered => {
                refuse(format!("refused by a seccomp filter ({error}), as container runtimes install them"), by_filter)
            }
            _ => refuse(
                format!("refused ({error}), though neither a sysctl nor a seccomp filter forbids it"),
                "look for a security module (SELinux: ausearch -m avc; AppArmor: dmesg) that denies io_uring",
            ),
        },
        Some(libc::ENOSYS) if c.filtered => {
            refuse(format!("hidden by a seccomp filter ({error}), or absent from Linux {release}"), by_filter)
        }
        Some(libc::ENOSYS) => refuse(
            format!("Linux {release} has no io_uring: too old, built without it, or an emulation (gVisor)"),
            "run Linux 6.1 or newer with CONFIG_IO_URING=y; with gVisor, use the runtime runc instead",
        ),
        Some(libc::EINVAL) => refuse(
            format!("Linux {release} has no SINGLE_ISSUER, DEFER_TASKRUN or provided buffer rings"),
            "run Linux 6.1 or newer",
        ),
        Some(libc::ENOMEM) => ProbeRefusal {
            name: "ring memory",
            found: match c.locked_bytes_max {
                Some(limit) => format!("the limit on locked memory, {limit} bytes, has no room for the smallest ring"),
                None => format!("the kernel has no memory for a ring ({error})"),
            },
            why: "each shard shares one ring with the kernel, in locked memory".into(),
            remedy: format!("raise RLIMIT_MEMLOCK to 1 MiB per core or more {RAISE_MEMLOCK}, or grant CAP_IPC_LOCK"),
        },
        Some(libc::EMFILE | libc::ENFILE) => refuse(
            format!("no file descriptor is left for a ring ({error})"),
            "raise the limit of open files (systemd: LimitNOFILE=1048576; containers: --ulimit nofile=1048576)",
        ),
        _ => refuse(format!("setting up a ring on Linux {release} failed: {error}"), "report this, with the message"),
    }
}

impl Circumstances {
    fn of_this_process() -> Circumstances {
        let read = |path| std::fs::read_to_string(path).map(|s| s.trim().to_owned()).ok();
        Circumstances {
            release: read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "(unknown)".into()),
            disabled: read("/proc/sys/kernel/io_uring_disabled").and_then(|s| s.parse().ok()),
            filtered: status_field("Seccomp:").as_deref() == Some("2"),
            locked_bytes_max: limits::locked_memory(),
        }
    }
}

/// A field of /proc/self/status.
pub(super) fn status_field(name: &str) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_of_a_refusal_has_its_own_message() {
        let plain = Circumstances { release: "5.15.0".into(), ..Circumstances::default() };
        let filtered = Circumstances { filtered: true, ..plain.clone() };
        let disabled = |n, filtered| Circumstances { disabled: Some(n), filtered, ..plain.clone() };
        let locked = Circumstances { locked_bytes_max: Some(65_536), ..plain.clone() };
        for (errno, circumstances, found, remedy) in [
            (libc::EPERM, &disabled(2, true), "kernel.io_uring_disabled = 2", "kernel.io_uring_disabled=0"),
            (libc::EPERM, &disabled(1, false), "kernel.io_uring_disabled = 1", "kernel.io_uring_group"),
            (libc::EPERM, &disabled(1, true), "seccomp filter", "io_uring_setup, io_uring_enter"),
            (libc::EPERM, &filtered, "seccomp filter", "seccomp=unconfined"),
            (libc::EPERM, &disabled(0, true), "seccomp filter", "SystemCallFilter"),
            (libc::EACCES, &plain, "neither a sysctl nor a seccomp", "SELinux"),
            (libc::ENOSYS, &filtered, "hidden by a seccomp filter", "seccomp=unconfined"),
            (libc::ENOSYS, &plain, "Linux 5.15.0 has no io_uring", "CONFIG_IO_URING"),
            (libc::EINVAL, &plain, "Linux 5.15.0 has no SINGLE_ISSUER", "Linux 6.1"),
            (libc::ENOMEM, &locked, "65536 bytes", "LimitMEMLOCK=infinity"),
            (libc::ENOMEM, &plain, "no memory", "RLIMIT_MEMLOCK"),
            (libc::EMFILE, &plain, "no file descriptor", "LimitNOFILE"),
            (libc::EIO, &plain, "Linux 5.15.0 failed", "report"),
        ] {
            let refusal = refusal(&io::Error::from_raw_os_error(errno), circumstances);
            assert!(refusal.found.contains(found), "{errno} {circumstances:?}: {refusal}");
            assert!(refusal.remedy.contains(remedy), "{errno} {circumstances:?}: {refusal}");
        }
    }
}
