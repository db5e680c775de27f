//! Runs a program with a deadline, shows its lines as they arrive, and ends it with the test process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use super::{say, wait_for};

/// The exit status and output of a command.
pub struct Ended {
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ended {
    pub fn ok(&self) -> bool {
        self.status.is_some_and(|s| s.success())
    }

    /// The last lines of both streams, for a message.
    pub fn tail(&self) -> String {
        let last = |s: &str| {
            let lines: Vec<&str> = s.lines().collect();
            lines[lines.len().saturating_sub(25)..].join("\n")
        };
        let how = self.status.map_or("ran out of time and was killed".to_string(), |s| s.to_string());
        format!("{how} after {:.1?}\n{}\n{}", self.took, last(&self.stdout), last(&self.stderr))
    }
}

/// Wraps `command` so that the kernel kills it when this process dies for any reason. A node in it serves no metrics
/// unless the command sets their address: all nodes have one default.
pub fn dies_with_us(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.arg("--pdeathsig").arg("KILL").arg("--").arg(command.get_program()).args(command.get_args());
    wrapped.env("TIDEMILL_EDGE_LISTEN", "off");
    for (k, v) in command.get_envs() {
        match v {
            Some(v) => wrapped.env(k, v),
            None => wrapped.env_remove(k),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    wrapped
}

/// Starts a child from a thread that lives as long as the process. The kernel sends the parent-death signal when the
/// forking thread ends, and libtest's threads end with their test.
pub fn spawn(command: Command) -> std::io::Result<Child> {
    type Job = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<Sender<Job>>> = LazyLock::new(|| {
        let (jobs, inbox) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (answer, outcome) = channel();
    SPAWNER.lock().expect("no panic while sending").send((command, answer)).expect("the spawner lives");
    outcome.recv().expect("the spawner answers")
}

/// Runs a command to its end or to the deadline. Shows the lines of stdout for which `shown` returns true.
pub fn run(
    command: Command,
    input: Option<Vec<u8>>,
    within: Duration,
    shown: impl Fn(&str) -> bool + Send + 'static,
) -> std::io::Result<Ended> {
    let mut command = dies_with_us(&command);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = spawn(command)?;
    let feeder = input.zip(child.stdin.take()).map(|(bytes, mut pipe)| {
        std::thread::spawn(move || {
            let _ = pipe.write_all(&bytes); // A child that stops reading reports that by its exit status.
        })
    });
    let stdout = collect(child.stdout.take().expect("piped"), shown);
    let stderr = collect(child.stderr.take().expect("piped"), |_| false);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > within {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if let Some(feeder) = feeder {
        let _ = feeder.join();
    }
    let text = |c: Collected| {
        // After a kill a grandchild may still hold the pipe: return the output so far.
        let until = Instant::now() + Duration::from_secs(5);
        while !c.1.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        c.0.lock().expect("no panic while collecting").clone()
    };
    Ok(Ended { status, stdout: text(stdout), stderr: text(stderr), took: started.elapsed() })
}

type Collected = (Arc<Mutex<String>>, std::thread::JoinHandle<()>);

fn collect(pipe: impl std::io::Read + Send + 'static, shown: impl Fn(&str) -> bool + Send + 'static) -> Collected {
    let text = Arc::new(Mutex::new(String::new()));
    let into = text.clone();
    let reader = std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let read = String::from_utf8_lossy(&line).into_owned();
            if shown(read.trim_end()) {
                say(&format!("  {}", read.trim_end()));
            }
            into.lock().expect("no panic while collecting").push_str(&read);
            line.clear();
        }
    });
    (text, reader)
}

/// Sends a signal with the shell's `kill`.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status();
    assert!(sent.is_ok_and(|s| s.success()), "kill -{name} {}", child.id());
}

/// Waits until a child exits that was sent a signal to end.
pub fn ended(child: &mut Child, what: &str, within: Duration) -> ExitStatus {
    wait_for(what, within, || child.try_wait().expect("a child of ours"))
}

/// An installed client program; it takes a mode and `key=value` arguments.
#[derive(Clone)]
pub struct Program {
    pub name: &'static str,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
}

impl Program {
    /// Runs one mode, shows its lines and returns them. Panics with the program's output when it fails.
    pub fn run(&self, mode: &str, arguments: &[(&str, String)], within: Duration) -> Vec<String> {
        let ended = run(self.command(mode, arguments), None, within, |line| {
            line.starts_with("OK ") || line.starts_with("DIFF ")
        });
        let ended = ended.unwrap_or_else(|e| panic!("{}: {}: {e}", self.name, self.argv[0]));
        assert!(ended.ok(), "{} {mode} {arguments:?}: {}", self.name, ended.tail());
        ended.stdout.lines().map(str::to_string).collect()
    }

    /// The command that [`run`](Self::run) runs.
    pub fn command(&self, mode: &str, arguments: &[(&str, String)]) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).arg(mode).args(arguments.iter().map(|(k, v)| format!("{k}={v}")));
        command.envs(self.env.iter().cloned());
        command
    }
}

/// Whether `program` is found on the search path.
pub fn is_found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| Path::new(&dir).join(program).is_file())
}
