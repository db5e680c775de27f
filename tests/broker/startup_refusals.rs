//! The start-up checks name each missing capability of the machine and its remedy. Each one is provoked in a process of
//! its own.
//!
//! This binary starts itself again under a limit (a seccomp filter, a resource limit, a private mount). The limited
//! process runs a target: the start-up checks alone, or `tidemill serve`, which must refuse in the same words. A limit
//! that needs a program or a privilege this machine lacks prints a line that begins with `SKIP`.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use tidemill::runtime::{self, probe};

use crate::support::skip;

/// Set in a child process: its role in place of the test.
const ROLE: &str = "TIDEMILL_TEST_ROLE";
const DATA_DIR: &str = "TIDEMILL_TEST_DATA_DIR";
/// Names the system call that the child denies itself, and the errno.
const REFUSE: &str = "TIDEMILL_TEST_REFUSE";
/// Makes the child become the broker instead of the checks.
const SERVE: &str = "TIDEMILL_TEST_SERVE";

/// Runs the start-up checks, and a small shard if they pass.
fn checks() -> Command {
    role("probe")
}

/// The broker.
fn serve(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data_dir);
    command
}

fn role(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "startup_refusals::an_unrestricted_machine_is_described_and_not_refused", "--nocapture"])
        .env(ROLE, role);
    command
}

#[test]
fn an_unrestricted_machine_is_described_and_not_refused() {
    match std::env::var(ROLE).as_deref() {
        Ok("probe") => return probe_and_print(),
        Ok("refuse system calls") => return refuse_system_calls(),
        Ok(other) => panic!("no such role: {other}"),
        Err(_) => {}
    }
    let printed = run_to_end(checks(), &scratch("plain"));
    check(
        &printed,
        &["PASSED", "io_uring: Linux", "open files", "ring memory", "huge pages", "data directory", "a shard ran"],
    );
}

fn probe_and_print() {
    let dir = PathBuf::from(std::env::var_os(DATA_DIR).unwrap());
    match probe::probe(&dir) {
        Err(refusal) => println!("REFUSED\n{refusal}"),
        Ok(probe) => {
            println!("PASSED stable={} direct={}\n{probe}", probe.stable_storage, probe.direct_io);
            // Capabilities that passed the checks work.
            let config = runtime::Config { ring_entries: probe.ring_entries, ..runtime::Config::default() };
            runtime::run(config, || async {
                let path = dir.join("written");
                let open = runtime::Open { write: true, create: true, direct: true, ..Default::default() };
                let file = runtime::File::open(&path, open).await.unwrap();
                let page = runtime::AlignedBuf::alloc(4096).unwrap();
                file.write_at(page, 0, runtime::Durability::DataSync).await.unwrap();
                assert_eq!(file.is_direct(), probe.direct_io);
                drop(file);
                runtime::dir::remove_file(&path).await.unwrap();
            })
            .unwrap();
            println!("a shard ran");
        }
    }
}

/// Installs the filter, which persists across exec, and becomes the target.
fn refuse_system_calls() {
    let refuse = std::env::var(REFUSE).unwrap();
    let (call, errno) = refuse.split_once(' ').unwrap();
    let (call, errno): (i64, u32) = (call.parse().unwrap(), errno.parse().unwrap());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let rules = BTreeMap::from([(call, vec![])]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    let data_dir = PathBuf::from(std::env::var_os(DATA_DIR).unwrap());
    let mut target = if std::env::var_os(SERVE).is_some() { serve(&data_dir) } else { checks() };
    panic!("exec failed: {}", target.env(DATA_DIR, data_dir).exec());
}

/// The process's stdout and stderr.
fn run_to_end(mut command: Command, data_dir: &Path) -> String {
    let output = command.env(DATA_DIR, data_dir).output().unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}:\n{printed}", output.status);
    printed
}

fn check(printed: &str, expected: &[&str]) {
    for words in expected {
        assert!(printed.contains(words), "{words:?} is not in:\n{printed}");
    }
}

/// A directory below the build directory, on its disk; it is not removed.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("startup-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The error with which the broker exits.
fn refuses(mut command: Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it started: {}{error}", String::from_utf8_lossy(&output.stdout));
    error
}

/// Starts a target through a program that sets a limit first: `["sh", "-c", "ulimit -n 5; exec \"$@\"", "sh"]`.
fn under(wrapper: &[&str], target: Command) -> Command {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(target.get_program()).args(target.get_args());
    for (name, value) in target.get_envs() {
        command.env(name, value.unwrap());
    }
    command
}

/// Whether a wrapper works on this machine, with `true` as the target.
fn can(wrapper: &[&str], what: &str) -> bool {
    let works = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output().is_ok_and(|o| o.status.success());
    if !works {
        skip(what, &format!("this machine does not run {wrapper:?}"));
    }
    works
}

fn status_field(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

#[test]
fn a_seccomp_filter_is_named_with_how_to_allow_the_calls() {
    const SETUP: i64 = 425;
    const ENTER: i64 = 426;
    const REGISTER: i64 = 427;
    const EPERM: i32 = 1;
    const ENOSYS: i32 = 38;
    for (call, errno) in [(SETUP, EPERM), (SETUP, ENOSYS), (ENTER, EPERM), (REGISTER, EPERM)] {
        let mut command = role("refuse system calls");
        command.env(REFUSE, format!("{call} {errno}"));
        let printed = run_to_end(command, &scratch("seccomp"));
        check(
            &printed,
            &["REFUSED", "io_uring: ", "seccomp filter", "what to do: allow", "seccomp=unconfined", "Kubernetes"],
        );
    }
}

/// A prefix that drops CAP_IPC_LOCK, which exempts a process from the limit on locked memory.
fn without_ipc_lock() -> Option<Vec<&'static str>> {
    let capabilities = u64::from_str_radix(&status_field("CapEff:"), 16).unwrap();
    if capabilities & (1 << 14) == 0 {
        return Some(vec![]);
    }
    let drop = vec!["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"];
    can(&drop, "the limit on locked memory").then_some(drop)
}

#[test]
fn too_little_locked_memory_shrinks_the_rings_and_none_is_a_refusal() {
    let Some(prefix) = without_ipc_lock() else { return };
    let with_limit = |kib: usize| {
        let script = format!("ulimit -l {kib}; exec \"$@\"");
        let mut wrapper = prefix.clone();
        wrapper.extend(["sh", "-c", &script, "sh"]);
        run_to_end(under(&wrapper, checks()), &scratch("memlock"))
    };
    let none = with_limit(0);
    if !none.contains("REFUSED") {
        skip("the limit on locked memory", "this kernel does not apply it to rings");
        check(&none, &["PASSED", "a shard ran"]);
        return;
    }
    let words = ["ring memory: the limit on locked memory, 0 bytes", "LimitMEMLOCK=infinity", "ulimit -l unlimited"];
    check(&none, &words);
    let mut wrapper = prefix.clone();
    wrapper.extend(["sh", "-c", "ulimit -l 0; exec \"$@\"", "sh"]);
    check(&refuses(under(&wrapper, serve(&scratch("memlock")))), &words);
    let cores = std::thread::available_parallelism().unwrap().get();
    let little = with_limit(64 * cores);
    check(&little, &["PASSED", "note ring memory", "smaller rings are used", "--ulimit memlock=-1:-1", "a shard ran"]);
    let enough = with_limit(1024 * cores);
    check(&enough, &["PASSED", "ok   ring memory", "a shard ran"]);
}

#[test]
fn the_limit_of_open_files_is_raised_to_the_hard_limit_and_a_low_one_is_reported() {
    let printed = run_to_end(
        under(&["sh", "-c", "ulimit -Sn 500; ulimit -Hn 1000; exec \"$@\"", "sh"], checks()),
        &scratch("nofile"),
    );
    check(&printed, &["PASSED", "note open files: 1000 (raised from 500), fewer than 20000", "LimitNOFILE=1048576"]);
}

#[test]
fn a_data_directory_in_memory_is_called_that() {
    let dir = Path::new("/dev/shm").join(format!("tidemill-startup-{}", std::process::id()));
    if std::fs::create_dir(&dir).is_err() {
        skip("data directory on a tmpfs", "/dev/shm is not there");
        return;
    }
    let printed = run_to_end(checks(), &dir);
    let left = std::fs::read_dir(&dir).unwrap().count();
    std::fs::remove_dir_all(&dir).unwrap();
    check(
        &printed,
        &["PASSED stable=false", "WARN data directory", "(tmpfs) is memory, not stable storage", "a shard ran"],
    );
    assert_eq!(left, 0, "the probe leaves nothing behind");
}

#[test]
fn a_file_system_without_direct_io_is_written_through_the_cache() {
    let dir = scratch("ramfs");
    // ramfs has no O_DIRECT. The mount is in a namespace of the child and ends with it.
    let script = format!("mount -t ramfs none '{}' && exec \"$@\"", dir.display());
    let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    if !can(&wrapper, "a file system without O_DIRECT") {
        return;
    }
    let printed = run_to_end(under(&wrapper, checks()), &dir);
    check(&printed, &["PASSED stable=false direct=false", "(ramfs) is memory", "a shard ran"]);
}

#[test]
fn a_data_directory_that_cannot_be_written_is_refused() {
    let file = scratch("file").join("a-file");
    std::fs::write(&file, b"in the way").unwrap();
    let printed = run_to_end(checks(), &file);
    check(&printed, &["REFUSED", "data directory: ", "a-file cannot be created", "what to do: "]);
    check(&refuses(serve(&file)), &["a-file"]);
    let read_only = scratch("read-only");
    let script = format!("mount -t tmpfs -o ro none '{}' && exec \"$@\"", read_only.display());
    let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    if can(&wrapper, "a read-only data directory") {
        check(
            &run_to_end(under(&wrapper, checks()), &read_only),
            &["REFUSED", "no file can be created", "Read-only file system"],
        );
    }
}
