//! Shared by the test binaries: client programs, nodes, raw connections, and waits with deadlines.
//!
//! | file | content |
//! |---|---|
//! | `bench` | nodes that several tests share, and topics on them |
//! | `talk` | one connection to a broker that sends and receives raw frames |
//! | `turn` | runs the tests that load the whole machine one module at a time |
//! | `own_process` | runs a test that measures its process in a child process |
//! | `peers` | installs client programs and Kafka into `target/peers/` with the ordinary package clients |
//! | `run` | runs a program with a deadline, shows its lines, and kills it with the test |
//! | `node` | a broker for one test: Tidemill, or Apache Kafka as the reference |
//! | `chance` | random choices that a seed reproduces |
//! | `conversation` | a program that takes commands line by line while the test runs on |
//! | `jvm` | a Java program in the background, with its whole log |
//! | `clients` | the modes of every client program as functions |
//! | `feeder` | a thread that writes to a topic in the background |
//! | `ledger` | the batches sent to a topic, and a check of the log against them |
//! | `records` | the rule by which every client program makes and checks records |
//! | `rest` | one request to a REST interface on this machine |
//! | `scratch` | directories and ports that no other test uses |
//! | `usage` | memory and CPU time of a process |
//!
//! How to run them:
//!
//! ```text
//! cargo test --release --test clients                              every client against Tidemill
//! TIDEMILL_TEST_PEER=kafka cargo test --test clients               the same tests against Apache Kafka
//! TIDEMILL_TEST_BINARY=/usr/bin/tidemill cargo test --test clients  against another binary than the one just built
//! cargo test --release --test clients java                         one client
//! TIDEMILL_ORACLE_ONLY='Fetch / at|Join' cargo test --test oracle  the cases whose `Api / name` contains one of these
//! ```
//!
//! Progress goes to stderr, past libtest's capture: a silent long test looks like a hung one.
//! A test whose referee cannot be installed prints a line that begins with `SKIP` and a running count.
//! Every wait has a condition and a deadline; no test sleeps a fixed time for another to finish.

#![allow(dead_code, reason = "every test binary uses its own part of this module")]

pub mod bench;
pub mod chance;
pub mod clients;
pub mod conversation;
pub mod feeder;
pub mod jvm;
pub mod ledger;
pub mod node;
pub mod own_process;
pub mod peers;
pub mod records;
pub mod rest;
pub mod run;
pub mod scratch;
pub mod talk;
pub mod turn;
pub mod usage;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Writes one whole line to stderr, past libtest's capture.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Reports a missing referee. The caller then returns without a check.
pub fn skip(what: &str, why: &str) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let why = why.replace('\n', "\nSKIP|   ");
    say(&format!("SKIP {count} in this binary: {what}: NOT TESTED, because {why}"));
}

/// Waits until `condition` returns a value; panics with `what` when the deadline passes first.
pub fn wait_for<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(got) = condition() {
            return got;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
