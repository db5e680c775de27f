//! What the integration tests share: real clients as referees, nodes to point them at, and waiting with deadlines.
//!
//! | file | its one idea |
//! |---|---|
//! | `bench` | nodes that tests share while any of them runs, and topics made on them by raw requests |
//! | `talk` | one connection to a broker, spoken to in raw frames |
//! | `turn` | tests that load the whole machine run one kind at a time |
//! | `own_process` | a test that measures its process runs in a process of its own |
//! | `peers` | a peer is installed by the test that needs it, into `target/peers/`, with the ordinary package client |
//! | `run` | a program runs with a deadline, its lines are shown as they come, and it dies with the test |
//! | `node` | one broker of one's own: Tidemill, or Apache Kafka as oracle for the tests themselves |
//! | `chance` | choices that can be made again from a seed |
//! | `conversation` | a program is told what to do line by line, and heard line by line, while the test does other things |
//! | `jvm` | a Java program that runs on beside the test, with everything that it logs kept |
//! | `clients` | the modes that every client program has, as calls |
//! | `feeder` | a thread writes to a topic while a test does other things to its readers |
//! | `ledger` | what was written to a topic and what became of it, to the byte |
//! | `records` | the rule by which every client, in every language, makes and checks the same records |
//! | `rest` | one request to a REST interface on this machine |
//! | `scratch` | directories and ports that no other test uses |
//! | `usage` | what a process takes of the machine |
//!
//! How to run them:
//!
//! ```text
//! cargo test --release --test clients                              every client against Tidemill
//! TIDEMILL_TEST_PEER=kafka cargo test --test clients               the same tests against Apache Kafka
//! TIDEMILL_TEST_BINARY=/usr/bin/tidemill cargo test --test clients  against another binary than the one just built
//! cargo test --release --test clients java                         one client
//! TIDEMILL_ORACLE_ONLY='Fetch / at|Join' cargo test --test oracle  the oracle's cases whose `Api / name` has one of these in it
//! ```
//!
//! Progress goes straight to stderr, past libtest's capture: a long test that says nothing looks like a hung one.
//! A referee that cannot be installed is a line that begins with `SKIP`, with a running count, never a quiet pass.
//! Nothing here sleeps for luck: every wait has a condition and a deadline.

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

/// One line to stderr, whole, past libtest's capture.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Says that a referee is missing. The test that calls this returns without having tested anything, and says so.
pub fn skip(what: &str, why: &str) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let why = why.replace('\n', "\nSKIP|   ");
    say(&format!("SKIP {count} in this binary: {what}: NOT TESTED, because {why}"));
}

/// Waits until `condition` gives something; panics with `what` when the deadline passes first.
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
