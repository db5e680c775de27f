//! The conditions of the disk and its file system.

use std::path::Path;

use super::conditions::{Condition, Effect, Severity};
use super::network::interrupts_of;
use crate::runtime::dir;
use crate::tools::tune::machine::{Device, Roots, disk_fingerprint};

/// The conditions of the disk of a directory. The directory may not exist yet; then its nearest ancestor counts.
pub fn conditions(roots: &Roots, directory: &Path) -> Vec<Condition> {
    let directory = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut found = Vec::new();
    if let Ok(Some(device)) = Device::of(roots, directory) {
        found.extend(cache(roots, &device));
        found.extend(queue(roots, &device));
        let name = format!("interrupts of {}", device.name);
        found.extend(interrupts_of(roots, &name, &device.directory));
    }
    if let Ok(fingerprint) = disk_fingerprint(roots, directory) {
        let kind = fingerprint.get("file_system").unwrap_or("unknown");
        found.push(
            Condition::new("file system", "ext4 or xfs", kind, ["ext4", "xfs"].contains(&kind))
                .or(Severity::Warning)
                .because("others copy on write, or have no direct writes: each flush costs more"),
        );
        let options = fingerprint.get("mount_options").unwrap_or_default();
        let has = |name: &str| options.split(',').any(|option| option == name);
        let unsafe_option = ["nobarrier", "barrier=0"].into_iter().find(|name| has(name));
        let slow_option = ["sync", "dirsync", "data=journal"].into_iter().find(|name| has(name));
        found.push(
            Condition::new(
                "mount options",
                "no barrier=0, sync, data=journal",
                unsafe_option.or(slow_option).unwrap_or("none of them"),
                unsafe_option.or(slow_option).is_none(),
            )
            .or(if unsafe_option.is_some() { Severity::Fatal } else { Severity::Warning })
            .because(
                "without barriers the file system sends no flushes; `sync` flushes each operation, and `data=journal` \
                 writes twice",
            ),
        );
    }
    if let Ok(volume) = dir::volume(directory) {
        let used = volume.used_percent() as u64;
        let severity = if used > 90 { Severity::Warning } else { Severity::Note };
        found.push(
            Condition::new("used space", "at most 70 %", format!("{used} %"), used <= 70)
                .or(severity)
                .because("a full flash device moves old data while it writes, and its tail latency grows"),
        );
    }
    found
}

/// Whether the kernel sends flushes to the device.
fn cache(roots: &Roots, device: &Device) -> Option<Condition> {
    let kernel = device.attribute(roots, "queue/write_cache")?;
    let own = device.own_cache(roots);
    let name = format!("write_cache of {}", device.name);
    let sends_flushes = kernel == "write back";
    let condition = match own.as_deref() {
        Some(own) if own.starts_with("write back") => {
            Condition::new(name, "write back", &kernel, sends_flushes).or(Severity::Fatal).because(
                "the device has a volatile cache, and the kernel sends it no flushes: acknowledged records are lost \
                 when the power fails. Write `write back` to queue/write_cache",
            )
        }
        Some(_) => Condition::new(name, "as the device", &kernel, true),
        None => Condition::new(name, "write back", &kernel, sends_flushes).or(Severity::Warning).because(
            "the kernel sends no flushes. That is right only if the device has no volatile cache: for NVMe, \
             `nvme id-ctrl /dev/nvme0 | grep vwc` must print 0. Otherwise acknowledged records are lost when the power \
             fails",
        ),
    };
    Some(condition)
}

fn queue(roots: &Roots, device: &Device) -> Vec<Condition> {
    [
        ("scheduler", "none", "a journal's writes are in order already, and the scheduler only delays them"),
        ("nomerges", "2", "the search for writes to merge costs CPU, and finds none among direct writes"),
        ("rq_affinity", "2", "a write completes on the core that submitted it, so that no other core is disturbed"),
    ]
    .into_iter()
    .filter_map(|(name, value, reason)| {
        let current = device.attribute(roots, &format!("queue/{name}"))?;
        let path = device.directory.join("queue").join(name).display().to_string();
        Some(
            Condition::new(format!("{name} of {}", device.name), value, &current, current == value)
                .because(reason)
                .written(Effect::Disk, vec![(path, value.to_owned())]),
        )
    })
    .collect()
}
