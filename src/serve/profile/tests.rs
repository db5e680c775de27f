use super::*;
use crate::config::profile::tests::{core, disk};

const NOW_MS: i64 = 1_767_225_600_000;

/// A data directory with profiles of this machine.
struct Scratch {
    data: PathBuf,
}

impl Scratch {
    fn new(name: &str) -> Scratch {
        let tests = std::env::current_exe().expect("a path");
        let data = tests.parent().expect("a directory").join(format!("profile-{name}-{}", std::process::id()));
        std::fs::create_dir_all(data.join(profile::DIRECTORY)).expect("created");
        let scratch = Scratch { data };
        let roots = Roots::new(None);
        let core = CoreProfile { fingerprint: core_fingerprint(&roots), ..core() };
        let here = disk_fingerprint(&roots, &scratch.data).expect("read");
        scratch.write(CORE_FILE, &toml::to_string(&core).expect("TOML"));
        scratch.write(DISK_FILE, &toml::to_string(&DiskProfile { fingerprint: here, ..disk() }).expect("TOML"));
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.join(profile::DIRECTORY).join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn change(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).expect("read");
        assert!(text.contains(from), "{text}");
        self.write(name, &text.replace(from, to));
    }

    fn start(&self, more: &[&str]) -> Result<(Loaded, Vec<Line>), Failure> {
        self.start_at(NOW_MS, more)
    }

    fn start_at(&self, now_ms: i64, more: &[&str]) -> Result<(Loaded, Vec<Line>), Failure> {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let data = self.data.display().to_string();
        let words = ["serve", "--data", &data].into_iter().chain(more.iter().copied());
        let args = <Cli as clap::Parser>::try_parse_from(words).expect("legal").args;
        let loaded = args::load(&args, &[])?;
        apply(&args, &[], loaded, &Roots::new(None), now_ms)
    }

    fn warnings(lines: &[Line]) -> String {
        let warnings = lines.iter().filter_map(|line| match line {
            Line::Warning(text) => Some(text.as_str()),
            _ => None,
        });
        warnings.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

#[test]
fn profiles_of_this_machine_set_the_settings_that_are_not_given() {
    let scratch = Scratch::new("fits");
    let (loaded, lines) = scratch.start(&["--set", "journal.depth=1"]).expect("legal");
    assert_eq!((loaded.config.spin_us, loaded.config.journal_depth), (12, 1));
    assert_eq!(Scratch::warnings(&lines), "");
    let settings: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Setting { derived, kept } => Some((derived.setting, derived.value.as_str(), kept.as_deref())),
            _ => None,
        })
        .collect();
    assert_eq!(settings, [("spin.us", "12", None), ("journal.depth", "4", Some("1"))]);
    assert!(lines.iter().any(|line| matches!(line, Line::Prediction(text) if text.contains("120 us, p99 220"))));
}

#[test]
fn without_profiles_nothing_changes() {
    let scratch = Scratch::new("absent");
    std::fs::remove_dir_all(scratch.data.join(profile::DIRECTORY)).expect("removed");
    let (loaded, lines) = scratch.start(&[]).expect("legal");
    assert_eq!((loaded.config, lines), (args_of(&scratch), vec![]));
}

fn args_of(scratch: &Scratch) -> crate::config::BrokerConfig {
    let set = format!("log.dirs={}", scratch.data.display());
    crate::config::load(None, &[set]).expect("legal")
}

#[test]
fn a_profile_of_another_machine_has_no_effect() {
    let scratch = Scratch::new("other");
    let own = core_fingerprint(&Roots::new(None)).get("cpus").expect("cores").to_owned();
    scratch.change(CORE_FILE, &format!("cpus = \"{own}\""), "cpus = \"9999\"");
    let (loaded, lines) = scratch.start(&[]).expect("legal");
    assert_eq!((loaded.config.spin_us, loaded.config.journal_depth), (20, 4));
    let warnings = Scratch::warnings(&lines);
    assert!(warnings.contains(&format!("another machine or disk (cpus was 9999, is {own})")), "{warnings}");
}

#[test]
fn a_profile_of_a_busy_machine_has_no_effect() {
    let scratch = Scratch::new("busy");
    scratch.change(DISK_FILE, "load_average_before = 0.1", "load_average_before = 13.0");
    let (loaded, lines) = scratch.start(&[]).expect("legal");
    assert_eq!((loaded.config.spin_us, loaded.config.journal_depth), (12, 2));
    assert!(Scratch::warnings(&lines).contains("disk.toml has no effect, because the machine was busy"));
}

#[test]
fn a_changed_kernel_and_an_old_profile_are_warnings() {
    let scratch = Scratch::new("changed");
    let kernel = Roots::new(None).read("/proc/sys/kernel/osrelease").expect("a kernel");
    scratch.change(CORE_FILE, &format!("kernel = \"{kernel}\""), "kernel = \"2.4.0\"");
    let (loaded, lines) = scratch.start_at(NOW_MS + 91 * 24 * 3600 * 1000, &[]).expect("legal");
    assert_eq!(loaded.config.spin_us, 12);
    let warnings = Scratch::warnings(&lines);
    for expected in [&format!("kernel was 2.4.0, is {kernel}"), "disk.toml is 91 days old"] {
        assert!(warnings.contains(expected), "{warnings}");
    }
}

#[test]
fn a_damaged_profile_is_a_warning_or_an_error_if_it_is_named() {
    let scratch = Scratch::new("damaged");
    for (from, to, expected) in [
        ("complete = true\n", "", "is cut off"),
        ("steal_percent = 0.0", "steal_percent = -3.0", "impossible value: steal_percent = -3"),
    ] {
        let whole = std::fs::read_to_string(scratch.path(CORE_FILE)).expect("read");
        scratch.change(CORE_FILE, from, to);
        let (loaded, lines) = scratch.start(&[]).expect("a warning only");
        assert_eq!((loaded.config.spin_us, loaded.config.journal_depth), (20, 4));
        let warnings = Scratch::warnings(&lines);
        assert!(warnings.contains(expected) && warnings.contains("default settings"), "{warnings}");
        let named = scratch.data.join(profile::DIRECTORY).display().to_string();
        let failure = scratch.start(&["--profile", &named]).expect_err("it is named").to_string();
        assert!(failure.contains(expected), "{failure}");
        scratch.write(CORE_FILE, &whole);
    }
    let failure = scratch.start(&["--profile", "there-is-none"]).expect_err("no directory").to_string();
    assert!(failure.contains("no such directory"), "{failure}");
}
