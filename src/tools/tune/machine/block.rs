//! The block device and the file system of a directory.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Roots;
use crate::config::profile::Fingerprint;

/// The whole disk below a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its name, such as `nvme0n1`.
    pub name: String,
    /// Its directory, `/sys/block/<name>`.
    pub directory: PathBuf,
}

impl Device {
    /// The disk of a directory. `None` for a file system without a block device of its own, such as overlayfs, tmpfs or
    /// btrfs. A stacked device (LVM, LUKS, RAID) leads to the
    /// first disk below it.
    pub fn of(roots: &Roots, directory: &Path) -> io::Result<Option<Device>> {
        let device = directory.metadata()?.dev();
        let link = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
        let Ok(target) = std::fs::canonicalize(roots.path(&link)) else { return Ok(None) };
        let is_partition = target.join("partition").exists();
        let disk = if is_partition { target.parent().map(Path::to_owned) } else { Some(target) };
        let name = disk.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).map(str::to_owned);
        Ok(name.map(|name| Device::named(roots, &name)))
    }

    fn named(roots: &Roots, name: &str) -> Device {
        let directory = PathBuf::from("/sys/block").join(name);
        match roots.list(directory.join("slaves")).into_iter().next() {
            // A partition below a stacked device has no directory in /sys/block.
            Some(below) if roots.exists(Path::new("/sys/block").join(&below)) => Device::named(roots, &below),
            _ => Device { name: name.to_owned(), directory },
        }
    }

    /// An attribute of the device, such as `queue/scheduler`. From `[a] b` it returns the chosen `a`.
    pub fn attribute(&self, roots: &Roots, name: &str) -> Option<String> {
        let text = roots.read(self.directory.join(name))?;
        let chosen =
            text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(chosen, _)| chosen.to_owned());
        Some(chosen.unwrap_or(text))
    }

    /// Whether the device itself has a volatile cache, by the attributes that the block layer's `write_cache` does not
    /// change. `None` if the driver does not publish it, as that of NVMe.
    pub fn own_cache(&self, roots: &Roots) -> Option<String> {
        let scsi = self.directory.join("device/scsi_disk");
        let scsi = roots.list(&scsi).into_iter().next().map(|name| scsi.join(name).join("cache_type"));
        let virtio = Some(self.directory.join("cache_type"));
        scsi.into_iter().chain(virtio).find_map(|path| roots.read(path))
    }

    /// The way the device is connected.
    fn transport(&self) -> &'static str {
        let starts = |prefix: &str| self.name.starts_with(prefix);
        if starts("nvme") {
            "nvme"
        } else if starts("vd") {
            "virtio"
        } else if starts("xvd") {
            "xen"
        } else if starts("sd") {
            "scsi"
        } else if starts("md") || starts("dm-") {
            "stacked"
        } else {
            "other"
        }
    }
}

/// The attributes of the queue that a fingerprint holds.
const QUEUE: [&str; 13] = [
    "scheduler",
    "nomerges",
    "rq_affinity",
    "write_cache",
    "fua",
    "wbt_lat_usec",
    "rotational",
    "nr_requests",
    "max_sectors_kb",
    "logical_block_size",
    "physical_block_size",
    "optimal_io_size",
    "atomic_write_unit_max_bytes",
];

/// The properties by which a disk profile is recognised.
pub fn disk_fingerprint(roots: &Roots, directory: &Path) -> io::Result<Fingerprint> {
    let mut found = Fingerprint::default();
    found.set("kernel", roots.read("/proc/sys/kernel/osrelease"));
    if let Some(mount) = Mount::of(roots, directory)? {
        found.set("file_system", Some(mount.kind));
        found.set("mount_options", Some(mount.options));
    }
    let Some(device) = Device::of(roots, directory)? else {
        found.set("device", Some("none"));
        return Ok(found);
    };
    found.set("device", Some(&device.name));
    // virtio has no model; a serial number would change with each machine of a class.
    let model = device.attribute(roots, "device/model").or_else(|| device.attribute(roots, "device/vendor"));
    found.set("device_model", model);
    found.set("device_firmware", device.attribute(roots, "device/firmware_rev"));
    let sectors = device.attribute(roots, "size").and_then(|sectors| sectors.parse::<u64>().ok());
    found.set("device_bytes", sectors.map(|sectors| sectors.saturating_mul(512)));
    found.set("device_transport", Some(device.transport()));
    found.set("own_cache", device.own_cache(roots));
    for name in QUEUE {
        found.set(name, device.attribute(roots, &format!("queue/{name}")));
    }
    Ok(found)
}

/// The mount point of the file system of a directory.
pub fn mount_point(roots: &Roots, directory: &Path) -> io::Result<Option<String>> {
    Ok(Mount::of(roots, directory)?.map(|mount| mount.point))
}

/// The mount of a directory.
struct Mount {
    point: String,
    kind: String,
    options: String,
}

impl Mount {
    /// proc_pid_mountinfo(5): the longest mount point above the directory; of several on one point, the last.
    fn of(roots: &Roots, directory: &Path) -> io::Result<Option<Mount>> {
        let directory = std::fs::canonicalize(directory)?;
        let text = roots.read("/proc/self/mountinfo").unwrap_or_default();
        let mounts = text.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let before: Vec<&str> = before.split(' ').collect();
            let after: Vec<&str> = after.split(' ').collect();
            // A blank in a name is written as \040.
            let point = PathBuf::from(before.get(4)?.replace("\\040", " "));
            let of_mount = before.get(5)?;
            let of_file_system = after.get(2)?;
            let mount = Mount {
                point: point.to_str()?.to_owned(),
                kind: (*after.first()?).to_owned(),
                options: format!("{of_mount},{of_file_system}"),
            };
            directory.starts_with(&point).then_some((point.as_os_str().len(), mount))
        });
        Ok(mounts.max_by_key(|(length, _)| *length).map(|(_, mount)| mount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tune::machine::tests::MadeUp;

    #[test]
    fn the_fingerprint_names_the_disk_behind_a_partition() {
        let machine = MadeUp::with_disk("partition", "nvme0n1");
        let device = Device::of(machine.roots(), machine.directory()).expect("read").expect("a disk");
        assert_eq!(device.name, "nvme0n1");
        machine.file("/sys/block/nvme0n1/device/model", "Quick 9000   \n");
        machine.file("/sys/block/nvme0n1/size", "2000\n");
        machine.file("/sys/block/nvme0n1/queue/scheduler", "none [mq-deadline] bfq\n");
        machine.file("/sys/block/nvme0n1/queue/write_cache", "write back\n");
        assert_eq!(mount_point(machine.roots(), machine.directory()).expect("read").as_deref(), Some("/"));
        let found = disk_fingerprint(machine.roots(), machine.directory()).expect("read");
        for (name, value) in [
            ("device_model", "Quick 9000"),
            ("device_bytes", "1024000"),
            ("device_transport", "nvme"),
            ("scheduler", "mq-deadline"),
            ("write_cache", "write back"),
            ("file_system", "xfs"),
            ("mount_options", "rw,relatime,rw,discard"),
        ] {
            assert_eq!(found.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn a_stacked_device_leads_to_the_disk_below() {
        let machine = MadeUp::with_disk("stacked", "dm-0");
        machine.file("/sys/block/dm-0/slaves/sda/size", "1");
        machine.file("/sys/block/sda/device/scsi_disk/0:0:0:0/cache_type", "write back\n");
        let device = Device::of(machine.roots(), machine.directory()).expect("read").expect("a disk");
        assert_eq!((device.name.as_str(), device.transport()), ("sda", "scsi"));
        assert_eq!(device.own_cache(machine.roots()).as_deref(), Some("write back"));
    }

    #[test]
    fn a_file_system_without_a_device_has_a_fingerprint() {
        let machine = MadeUp::new("no-device");
        let found = disk_fingerprint(machine.roots(), machine.directory()).expect("read");
        assert_eq!(found.get("device"), Some("none"));
    }
}
