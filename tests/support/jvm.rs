//! A Java program that runs in the background of a test, across restarts, with its whole log kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::run::{dies_with_us, ended, signal, spawn};
use super::say;

const STOP_WITHIN: Duration = Duration::from_secs(60);

pub struct Jvm {
    name: String,
    arguments: Vec<String>,
    log: PathBuf,
    /// Bytes of the log in which [`Jvm::restart_after`] has searched.
    searched: usize,
    child: Option<Child>,
}

impl Jvm {
    /// Describes `main` of `class_path` with `arguments`, and starts nothing. Its log is `<name>.log` in `dir`.
    pub fn new(name: &str, dir: &Path, class_path: &str, main: &str, arguments: &[&str]) -> Jvm {
        // A small heap and a fast start: several JVMs share two cores with a broker.
        let flags = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
        let log =
            ["-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"];
        let program = ["-cp", class_path, main];
        let arguments = [&flags[..], &log, &program, arguments].concat();
        let arguments = arguments.iter().map(|argument| argument.to_string()).collect();
        Jvm { name: name.into(), arguments, log: dir.join(format!("{name}.log")), searched: 0, child: None }
    }

    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let out = File::options().create(true).append(true).open(&self.log).expect("the scratch directory is there");
        let mut command = Command::new("java");
        command.args(&self.arguments);
        let mut command = dies_with_us(&command);
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a descriptor")).stderr(out);
        self.child = Some(spawn(command).unwrap_or_else(|e| panic!("{}: {e}", self.name)));
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Sends SIGTERM and waits until it exits.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        signal(&child, "TERM");
        ended(&mut child, &format!("{} stops on SIGTERM", self.name), STOP_WITHIN)
    }

    /// Kills and restarts the program if its log has a new line that contains `fatal`, as a supervisor does.
    pub fn restart_after(&mut self, fatal: &str) {
        let printed = self.printed();
        let end = printed.rfind('\n').map_or(0, |at| at + 1).max(self.searched);
        let is_fatal = printed[self.searched..end].contains(fatal);
        self.searched = end;
        if is_fatal {
            say(&format!("{} printed \"{fatal}\" and is restarted", self.name));
            self.kill();
            self.start();
        }
    }

    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("a child of ours").is_none())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The log of all starts.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The warnings and errors of its log from position `since` on, except those that contain one of
    /// `meant`.
    pub fn complaints(&self, since: usize, meant: &[&str]) -> Vec<String> {
        let printed = self.printed();
        let is_complaint = |line: &&str| {
            (line.contains("] WARN ") || line.contains("] ERROR ")) && !meant.iter().any(|meant| line.contains(meant))
        };
        printed[since.min(printed.len())..].lines().filter(is_complaint).map(str::to_string).collect()
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Ok(Some(status)) = child.try_wait() {
                say(&format!("{} had ended by itself: {status}", self.name));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let complaints = self.complaints(0, &[]);
            let last = &complaints[complaints.len().saturating_sub(20)..];
            say(&format!("the last complaints of {}:\n{}", self.name, last.join("\n")));
        }
    }
}
