//! A client program that takes commands and prints results line by line while the test runs on.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::run::{Program, dies_with_us, ended, signal, spawn};
use super::{say, wait_for};

/// One run of a program.
pub struct Conversation {
    pub name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
    complaints: Arc<Mutex<Vec<String>>>,
    listeners: Vec<JoinHandle<()>>,
}

impl Conversation {
    pub fn start(program: &Program, name: &str, mode: &str, arguments: &[(&str, String)]) -> Conversation {
        let mut command = Command::new(&program.argv[0]);
        command.args(&program.argv[1..]).arg(mode).args(arguments.iter().map(|(k, v)| format!("{k}={v}")));
        command.envs(program.env.iter().cloned());
        let mut command = dies_with_us(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).unwrap_or_else(|e| panic!("{name}: {}: {e}", program.argv[0]));
        let (lines, complaints) = (Arc::default(), Arc::default());
        let listeners = vec![
            listen(child.stdout.take().expect("piped"), &lines),
            listen(child.stderr.take().expect("piped"), &complaints),
        ];
        let stdin = child.stdin.take();
        Conversation { name: name.into(), child, stdin, lines, complaints, listeners }
    }

    /// Writes one line to its standard input. A program that has ended is noticed by its exit status.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until it is dropped");
        let _ = stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush());
    }

    /// Its output from line number `from` on.
    pub fn heard_from(&self, from: usize) -> Vec<String> {
        self.lines.lock().expect("no panic while listening")[from..].to_vec()
    }

    pub fn heard_count(&self) -> usize {
        self.lines.lock().expect("no panic while listening").len()
    }

    /// Waits for the first line from `from` on for which `wanted` returns a value.
    pub fn wait_for<T>(&mut self, from: usize, what: &str, within: Duration, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + within;
        loop {
            let ended = self.has_ended();
            if let Some(found) = self.heard_from(from).iter().find_map(|line| wanted(line)) {
                return found;
            }
            let late = Instant::now() > deadline;
            assert!(ended.is_none() && !late, "{what}: {ended:?}, not within {within:?}: {}", self.tail());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Kills it with SIGKILL, and then reads the rest of its output.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.hear_the_rest();
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits until it exits by itself.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        if self.child.try_wait().expect("a child of ours").is_none() {
            let deadline = Instant::now() + within;
            while self.child.try_wait().expect("a child of ours").is_none() {
                assert!(Instant::now() < deadline, "it has not ended within {within:?}: {}", self.tail());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let status = ended(&mut self.child, &self.name, within);
        self.hear_the_rest();
        status
    }

    fn hear_the_rest(&mut self) {
        let listeners = &self.listeners;
        wait_for("a dead program's pipes are empty", Duration::from_secs(10), || {
            listeners.iter().all(JoinHandle::is_finished).then_some(())
        });
    }

    /// The last lines of both streams, for a message.
    pub fn tail(&self) -> String {
        let last = |of: &Mutex<Vec<String>>| {
            let lines = of.lock().expect("no panic while listening");
            lines[lines.len().saturating_sub(25)..].join("\n")
        };
        format!("{} printed:\n{}\n{}", self.name, last(&self.lines), last(&self.complaints))
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // SIGKILL also ends a process that SIGSTOP has stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            say(&self.tail());
        }
    }
}

fn listen(pipe: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let into = into.clone();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            // The last line of a killed program may be cut off; it is dropped.
            if line.last() == Some(&b'\n') {
                let text = String::from_utf8_lossy(&line).trim_end().to_string();
                into.lock().expect("no panic while listening").push(text);
            }
            line.clear();
        }
    })
}
