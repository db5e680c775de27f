//! Whether the profiles exist, are whole, and are of this machine.

use std::io;
use std::path::Path;

use crate::config::profile::{self, CORE_FILE, CoreProfile, DISK_FILE, DiskProfile, Fingerprint, Profile};
use crate::tools::time;
use crate::tools::tune::host::{Condition, Severity};
use crate::tools::tune::machine::{Roots, core_fingerprint, disk_fingerprint};

/// The age after which a device has other latencies.
const AGE_DAYS_MAX: i64 = 90;

/// The profiles of this machine.
pub struct Profiles {
    pub core: Option<CoreProfile>,
    pub disk: Option<DiskProfile>,
}

/// Reads both profiles.
pub fn check(roots: &Roots, data: &Path, directory: &Path) -> (Vec<Condition>, Profiles) {
    let (of_core, core) = read(directory, CORE_FILE, || Ok(core_fingerprint(roots)));
    let (of_disk, disk) = read(directory, DISK_FILE, || disk_fingerprint(roots, data));
    (vec![of_core, of_disk], Profiles { core, disk })
}

fn read<P: Profile>(
    directory: &Path,
    name: &str,
    fingerprint: impl FnOnce() -> io::Result<Fingerprint>,
) -> (Condition, Option<P>) {
    let path = directory.join(name);
    let command = P::COMMAND;
    let not = |current: String, severity, reason: String| {
        Condition::new(name, "of this machine, recent", current, false).or(severity).because(reason)
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let reason = format!("the node uses its default settings; measure with `{command}`");
            return (not("absent".into(), Severity::Note, reason), None);
        }
        Err(error) => {
            return (not("unreadable".into(), Severity::Warning, format!("{}: {error}", path.display())), None);
        }
    };
    let parsed: P = match profile::parse(&text) {
        Ok(parsed) => parsed,
        Err(error) => return (not("damaged".into(), Severity::Warning, error.to_string()), None),
    };
    let now = match fingerprint() {
        Ok(now) => now,
        Err(error) => return (not("not comparable".into(), Severity::Warning, error.to_string()), None),
    };
    let differences = parsed.head().fingerprint.differences(&now);
    let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let reason = format!("{}; measure again with `{command}`", all.join(", "));
    if differences.iter().any(|difference| difference.is_identity) {
        return (not("of another machine".into(), Severity::Warning, reason), None);
    }
    let provenance = parsed.head().provenance;
    let age = provenance.age_days(time::now_ms());
    let condition = if let Some(doubt) = provenance.doubt() {
        not("doubtful".into(), Severity::Note, format!("{doubt}; measure again with `{command}`"))
    } else if !differences.is_empty() {
        not("the host has changed".into(), Severity::Note, reason)
    } else if age > AGE_DAYS_MAX {
        not(format!("{age} days old"), Severity::Note, format!("devices change; measure again with `{command}`"))
    } else {
        Condition::new(name, "of this machine, recent", format!("of {}", provenance.date), true)
    };
    (condition, Some(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::profile::tests::{core, disk};
    use crate::tools::tune::machine::tests::MadeUp;

    #[test]
    fn each_state_of_a_profile_has_its_own_severity() {
        let machine = MadeUp::with_disk("doctor", "nvme0n1");
        let directory = machine.directory().join("profile");
        std::fs::create_dir_all(&directory).expect("created");
        let check = || {
            let (found, profiles) = check(machine.roots(), machine.directory(), &directory);
            let of_disk = found[1].clone();
            (of_disk.current, of_disk.severity, profiles.disk.is_some())
        };
        let write = |disk: &DiskProfile| {
            std::fs::write(directory.join(DISK_FILE), toml::to_string(disk).expect("TOML")).expect("written");
        };
        assert_eq!(check(), ("absent".into(), Severity::Note, false));
        let fingerprint = disk_fingerprint(machine.roots(), machine.directory()).expect("read");
        let mut own = DiskProfile { fingerprint, ..disk() };
        own.provenance.date_ms = time::now_ms();
        write(&own);
        assert_eq!(check(), ("of 2026-01-01T00:00:00Z".into(), Severity::Fine, true));
        machine.file("/sys/block/nvme0n1/queue/scheduler", "[bfq] none\n");
        own.fingerprint.set("scheduler", Some("none"));
        write(&own);
        assert_eq!(check(), ("the host has changed".into(), Severity::Note, true));
        own.provenance.load_average_before = 9.0;
        write(&own);
        assert_eq!(check(), ("doubtful".into(), Severity::Note, true));
        write(&disk());
        assert_eq!(check(), ("of another machine".into(), Severity::Warning, false));
        std::fs::write(directory.join(DISK_FILE), toml::to_string(&core()).expect("TOML")).expect("written");
        assert_eq!(check(), ("damaged".into(), Severity::Warning, false));
    }
}
