//! An instance of the application: a process that is killed and restarted.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::streams::input::WINDOW_MS;
use crate::support::node::Node;
use crate::support::run::{Program, dies_with_us, ended, signal, spawn};
use crate::support::say;

pub struct Instance {
    name: String,
    program: Program,
    arguments: Vec<(&'static str, String)>,
    log: PathBuf,
    state: PathBuf,
    child: Option<Child>,
}

impl Instance {
    /// Number 0 is a static member with two threads, and keeps its assignment while it is down (KIP-345). The others
    /// are dynamic members.
    pub fn start(program: &Program, node: &Node, guarantee: &str, n: usize) -> Instance {
        let name = format!("instance-{n}");
        let state = node.scratch().join(&name);
        let mut arguments = vec![
            ("bootstrap", node.bootstrap().to_string()),
            ("guarantee", guarantee.to_string()),
            ("window", WINDOW_MS.to_string()),
            ("threads", if n == 0 { "2" } else { "1" }.to_string()),
            ("state", state.display().to_string()),
        ];
        if n == 0 {
            arguments.push(("instance", name.clone()));
        }
        let log = node.scratch().join(format!("{name}.log"));
        let mut instance = Instance { name, program: program.clone(), arguments, log, state, child: None };
        instance.restart();
        instance
    }

    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log =
            File::options().create(true).append(true).open(&self.log).expect("the scratch directory can be written");
        let mut command = dies_with_us(&self.program.command("app", &self.arguments));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.child = Some(spawn(command).unwrap_or_else(|e| panic!("{}: {e}", self.name)));
    }

    /// Sends SIGKILL, and removes the state directory as a supervisor would: with exactly-once, Kafka Streams rebuilds
    /// the state from the changelog after a kill. RocksDB cannot open a directory whose creation was interrupted. The
    /// process must be alive.
    pub fn kill(&mut self) {
        self.check();
        let mut child = self.child.take().expect("it runs");
        let _ = child.kill();
        let _ = child.wait();
        if let Err(error) = std::fs::remove_dir_all(&self.state) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", self.state.display());
        }
    }

    /// Panics if the process has exited by itself: no event on a broker may be fatal to an application.
    pub fn check(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Some(status) = child.try_wait().expect("a child of ours") {
            panic!("{} has ended by itself: {status}\n{}", self.name, self.last_lines());
        }
    }

    /// Sends SIGTERM and waits until it exits with all of its work committed.
    pub fn stop(&mut self) {
        self.check();
        let mut child = self.child.take().expect("it runs");
        signal(&child, "TERM");
        ended(&mut child, "an instance stops on SIGTERM", Duration::from_secs(240));
        assert!(
            self.printed().lines().any(|line| line == "CLOSED"),
            "{} did not close: {}",
            self.name,
            self.last_lines()
        );
    }

    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn last_lines(&self) -> String {
        let printed = self.printed();
        let lines: Vec<&str> = printed.lines().filter(|line| !line.contains(" INFO ")).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            say(&format!("the last lines of {}, but for those that are INFO:\n{}", self.name, self.last_lines()));
        }
    }
}
