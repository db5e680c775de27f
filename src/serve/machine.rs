//! Checks the settings against the machine: the directories, their space, and the memory.

use std::io;
use std::path::{Path, PathBuf};

use super::banner::Banner;
use crate::config::BrokerConfig;
use crate::config::broker::JOURNAL_FILE_BYTES;
use crate::disk::layout::DataDirectory;
use crate::model::counted;
use crate::runtime::{dir, probe};
use crate::shard::memory::machine_share;
use crate::tools::Failure;

/// A journal writes to one file while a checkpoint frees the other.
const JOURNAL_FILES_MIN: u64 = 2;

/// Creates the directories, unless the data directory is Kafka's or the disk is too small for new journals.
pub(super) fn prepare_directories(
    config: &BrokerConfig,
    data: &DataDirectory,
    shards: u16,
    banner: Banner,
) -> Result<(), Failure> {
    refuse_directory_of_kafka(&data.root)?;
    if !data.meta_path().exists() {
        // Without an answer of the kernel, the start finds out.
        if let Ok(volume) = dir::volume(existing_ancestor(&data.journal_root)) {
            check_space(config, &data.journal_root, volume.usable_bytes, shards, banner)?;
        }
    }
    for root in [&data.root, &data.journal_root] {
        std::fs::create_dir_all(root).map_err(|error| cannot_create(root, &error))?;
    }
    Ok(())
}

/// Kafka's directory has the same names with another content.
fn refuse_directory_of_kafka(root: &Path) -> Result<(), Failure> {
    let Ok(text) = std::fs::read_to_string(root.join("meta.properties")) else { return Ok(()) };
    let has = |name: &str| text.lines().any(|line| line.trim_start().starts_with(name));
    let is_kafkas = has("directory.id") || has("broker.id") || root.join("__cluster_metadata-0").exists();
    if !is_kafkas || has("tidemill.") {
        return Ok(());
    }
    Err(Failure::new(format!("{} is the data directory of an Apache Kafka broker", root.display())).hinted(
        "name another directory with --data or log.dirs. To take topics over, stop Kafka and copy their directories \
         (<topic>-<partition>) into Tidemill's data directory before a start",
    ))
}

/// Refuses a disk that cannot hold the shortest journals, and warns if it cannot hold the whole ones.
fn check_space(config: &BrokerConfig, root: &Path, free: u64, shards: u16, banner: Banner) -> Result<(), Failure> {
    let shards = u64::from(shards);
    let (least, whole) = (shards * JOURNAL_FILES_MIN * JOURNAL_FILE_BYTES, shards * config.journal_bytes);
    if free >= whole {
        return Ok(());
    }
    let found = format!(
        "the journals of {} take {} MiB (journal.bytes for each), and {} has {} MiB free",
        counted(shards as usize, "shard"),
        whole >> 20,
        root.display(),
        free >> 20
    );
    if free >= least {
        banner.warning(&format!("{found}; appends stop when the disk is full"));
        return Ok(());
    }
    Err(Failure::new(found).hinted(format!(
        "free at least {} MiB, set a smaller journal.bytes (at least {}) or fewer shards, or name another disk with \
         --data or journal.dir",
        least >> 20,
        JOURNAL_FILES_MIN * JOURNAL_FILE_BYTES
    )))
}

/// The path itself, or its nearest ancestor that exists.
pub(super) fn existing_ancestor(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|ancestor| ancestor.exists());
    found.filter(|found| !found.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn cannot_create(root: &Path, error: &io::Error) -> Failure {
    let path = root.display();
    if root.is_file() {
        return Failure::new(format!("{path} is a file, not a directory"))
            .hinted("name a directory with --data or log.dirs");
    }
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "create it, and give it to the user that Tidemill runs as",
        io::ErrorKind::NotADirectory => "a part of the path is a file; name another directory with --data or log.dirs",
        io::ErrorKind::ReadOnlyFilesystem => "name a directory on a writable file system with --data or log.dirs",
        _ => "check the path",
    };
    Failure::new(format!("cannot create {path}: {error}")).hinted(hint)
}

/// Gives each shard its memory if the configuration does not. Refuses a `memory.bytes` above the machine's memory, and
/// warns if that of all shards is.
pub(super) fn plan_memory(config: &mut BrokerConfig, shards: u16, banner: Banner) -> Result<(), Failure> {
    let memory = probe::Memory::of_process();
    let Some(machine) = memory.bytes() else { return Ok(()) };
    let Some(given) = config.memory_bytes else {
        config.memory_bytes = memory.available().map(|available| machine_share(available, machine, shards));
        return Ok(());
    };
    let all = given.saturating_mul(shards.into());
    if all <= machine {
        return Ok(());
    }
    let found = format!(
        "memory.bytes is {} MiB for each of {}, and this machine has {} MiB",
        given >> 20,
        counted(shards.into(), "shard"),
        machine >> 20
    );
    if given > machine {
        return Err(Failure::new(found).hinted("set a smaller memory.bytes"));
    }
    banner.warning(&format!("{found}; under load the kernel may end the process"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let tests = std::env::current_exe().expect("a path");
        let dir = tests.parent().expect("a directory").join(format!("machine-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("created");
        dir
    }

    #[test]
    fn a_directory_of_kafka_is_refused_and_stays_as_it_is() {
        let root = scratch("kafka");
        let data = DataDirectory::new(&root, None);
        let text = "version=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAQ\nnode.id=1\n";
        let config = BrokerConfig::default();
        let prepare = || prepare_directories(&config, &data, 1, Banner::new(true));
        std::fs::write(data.meta_path(), format!("#\n#Sat Nov 28\n{text}directory.id=x\n")).expect("written");
        let failure = prepare().expect_err("it is Kafka's");
        assert!(failure.message.contains("Apache Kafka"), "{failure}");
        assert_eq!(std::fs::read_dir(&root).expect("listed").count(), 1);
        std::fs::write(data.meta_path(), format!("{text}tidemill.layout=0\n")).expect("written");
        assert!(prepare().is_ok());
        std::fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn a_disk_must_hold_the_shortest_journals() {
        let check = |free_mib: u64| {
            check_space(&BrokerConfig::default(), Path::new("data"), free_mib << 20, 2, Banner::new(true))
        };
        assert!(check(1024).is_ok() && check(256).is_ok());
        let failure = check(255).expect_err("the disk is too small").to_string();
        for part in ["2 shards take 1024 MiB (journal.bytes for each), and data has 255 MiB", "free at least 256 MiB"] {
            assert!(failure.contains(part), "{failure}");
        }
        assert_eq!(existing_ancestor(Path::new("there-is-none/data")), Path::new("."));
        assert_eq!(existing_ancestor(Path::new("/proc/self/there-is-none")), Path::new("/proc/self"));
    }

    #[test]
    fn more_memory_than_the_machine_has_is_refused() {
        let memory = |bytes: u64| {
            let mut config = crate::config::load(None, &[format!("memory.bytes={bytes}")]).expect("legal");
            plan_memory(&mut config, 1, Banner::new(true))
        };
        let machine = probe::Memory::of_process().bytes().expect("the size of the memory");
        assert!(memory(machine).is_ok());
        assert!(memory(machine + 1).expect_err("too much").message.contains("memory.bytes"));
        let mut config = BrokerConfig::default();
        plan_memory(&mut config, 1, Banner::new(true)).expect("no memory.bytes is refused");
        assert!(config.shard_memory() <= machine && !config.is_given("memory.bytes"));
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_explained() {
        let root = scratch("file");
        let file = root.join("a-file");
        std::fs::write(&file, "").expect("written");
        for (path, expected) in [(file.clone(), "is a file, not a directory"), (file.join("x"), "is a file; name")] {
            let error = std::fs::create_dir_all(&path).expect_err("a file is in the way");
            let failure = cannot_create(&path, &error).to_string();
            assert!(failure.contains(expected), "{failure}");
        }
        std::fs::remove_dir_all(&root).expect("removed");
    }
}
