//! The modes of every client program in tests/clients/ as functions: create, write, read.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::run::Program;

/// Deadline of one program run. The slowest takes two minutes on an idle machine with two cores.
pub const WITHIN: Duration = Duration::from_secs(400);

/// The timestamp of record 0, ten minutes ago: no record is in the future or beyond retention.
pub fn base() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64 - 600_000
}

/// A topic that one test writes and reads; its records follow the rule in `records`.
#[derive(Clone, Copy)]
pub struct Topic<'a> {
    pub bootstrap: &'a str,
    pub name: &'a str,
    pub partitions: usize,
    pub base: i64,
}

impl Topic<'_> {
    /// `config` is `name:value,...`.
    pub fn create(&self, program: &Program, config: &str) {
        let more = [("topics", self.name), ("partitions", &self.partitions.to_string()), ("config", config)];
        program.run("create", &self.arguments(&more), WITHIN);
    }

    /// Writes the records `range` under the program's name.
    pub fn write(&self, program: &Program, codec: &str, acks: &str, range: Range<usize>) {
        let more = [
            ("as", program.name),
            ("codec", codec),
            ("acks", acks),
            ("from", &range.start.to_string()),
            ("to", &range.end.to_string()),
        ];
        program.run("write", &self.arguments(&more), WITHIN);
    }

    /// Reads the whole topic and compares every record with the record that `writer` wrote.
    pub fn read(&self, program: &Program, writer: &str, count: usize) {
        let topics = format!("{}={writer}", self.name);
        let partitions = self.partitions.to_string();
        let more =
            [("topics", topics.as_str()), ("from", "0"), ("to", &count.to_string()), ("partitions", &partitions)];
        let printed = program.run("read", &self.arguments(&more), WITHIN);
        let read = format!("READ {} {count} ", self.name);
        assert!(
            printed.iter().any(|line| line.starts_with(&read)),
            "{} did not say {read:?}: {printed:?}",
            program.name
        );
    }

    fn arguments<'a>(&self, more: &[(&'a str, &str)]) -> Vec<(&'a str, String)> {
        let own = [
            ("bootstrap", self.bootstrap.to_string()),
            ("topic", self.name.to_string()),
            ("base", self.base.to_string()),
        ];
        own.into_iter().chain(more.iter().map(|(k, v)| (*k, v.to_string()))).collect()
    }
}
