//! The rule of the test records, and its Rust side.
//!
//! Every client program in tests/clients/ makes record `i` of client `name` by this rule and checks records by it. So
//! each program can check the records of every other, without a list of them.
//!
//! - key: `name-i`, decimal. The client's own partitioner places it.
//! - value: null when `i % 50 == 0`; empty when `i % 50 == 1`; else bytes `start .. start + length` of `PATTERN`, where
//!   `mixed = (i * 2654435761 mod 2^32) >> 8`, `start = mixed % 32768`, `length = mixed % 197 + 1`, and 10,000 bytes
//!   instead when `i % 1000 == 999`.
//! - `PATTERN`: 65,536 bytes of `a`..`p` from `x = (x * 1103515245 + 12345) mod 2^31`, `x` from 1, byte
//!   `97 + (x >> 16) % 16`.
//! - headers by `i % 5`: 0 none; 1 `h=i`; 2 `a=1, a=2, b=` (one name twice, an empty value); 3 `n=null`;
//!   4 `client=name, n=null, i=i`.
//! - timestamp: `base + i` ms; `base` is given to the programs.
//!
//! Exceptions: kafka-python and KafkaJS cannot write a null header value and write an empty one. kcat writes the same
//! headers (`client=kcat`) on all records, null in place of an empty value, and its own timestamps.
//!
//! A reader expects every record of a range once, offsets from 0 without a gap, and growing `i` within a partition.

use std::sync::LazyLock;

pub static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut x: u32 = 1;
    (0..65536)
        .map(|_| {
            x = x.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7fff_ffff;
            97 + ((x >> 16) & 15) as u8
        })
        .collect()
});

pub fn key(name: &str, i: usize) -> String {
    format!("{name}-{i}")
}

pub fn value(name: &str, i: usize) -> Option<&'static [u8]> {
    match i % 50 {
        0 => return None,
        1 => return if name == "kcat" { None } else { Some(b"") },
        _ => {}
    }
    let mixed = ((i as u32).wrapping_mul(2_654_435_761) >> 8) as usize;
    let start = mixed % 32768;
    let length = if i % 1000 == 999 { 10_000 } else { mixed % 197 + 1 };
    Some(&PATTERN[start..start + length])
}

/// The headers as kcat's `%h` prints them.
pub fn headers_as_kcat_prints_them(name: &str, i: usize) -> String {
    if name == "kcat" {
        return "client=kcat".into();
    }
    let null = if name == "kafka-python" || name == "kafkajs" { "" } else { "NULL" };
    match i % 5 {
        1 => format!("h={i}"),
        2 => "a=1,a=2,b=".into(),
        3 => format!("n={null}"),
        4 => format!("client={name},n={null},i={i}"),
        _ => String::new(),
    }
}

/// Checks the output of kcat with [`KCAT_FORMAT`] against the rule.
pub struct Check<'a> {
    pub topic: &'a str,
    pub name: &'a str,
    pub count: usize,
    /// Milliseconds of record 0; not checked for records that kcat wrote.
    pub base: i64,
}

/// Partition, offset, timestamp, key, value length (-1 for null), headers, value.
pub const KCAT_FORMAT: &str = "%p\\t%o\\t%T\\t%k\\t%S\\t%h\\t%s\\n";

impl Check<'_> {
    /// Checks every line; the error names the first that differs.
    pub fn lines(&self, text: &str, partitions: usize) -> Result<(), String> {
        let mut next = vec![0u64; partitions];
        let mut last = vec![None; partitions];
        let mut seen = vec![false; self.count];
        let mut count = 0;
        for line in text.lines() {
            let field: Vec<&str> = line.splitn(7, '\t').collect();
            let [p, offset, time, key, length, headers, value] = field[..] else {
                return Err(format!("{}: not a record: {line:.200}", self.topic));
            };
            let p: usize = p.parse().map_err(|e| format!("{line:.200}: {e}"))?;
            let wrong = |what: String| Err(format!("{}-{p}@{offset}: {what}: {line:.300}", self.topic));
            if offset != next[p].to_string() {
                return wrong(format!("offset {} was expected next", next[p]));
            }
            next[p] += 1;
            let i = key.strip_prefix(self.name).and_then(|k| k.strip_prefix('-')).and_then(|k| k.parse::<usize>().ok());
            let Some(i) = i.filter(|&i| i < self.count) else {
                return wrong(format!("the key is not one of {}'s", self.name));
            };
            if last[p] >= Some(i) || std::mem::replace(&mut seen[i], true) {
                return wrong(format!("after record {:?}, or again: the order is broken", last[p]));
            }
            last[p] = Some(i);
            let wanted = self::value(self.name, i);
            if length != wanted.map_or(-1, |v| v.len() as i64).to_string() || value.as_bytes() != wanted.unwrap_or(b"")
            {
                return wrong(format!("the value should have {:?} bytes, or other ones", wanted.map(<[u8]>::len)));
            }
            let wanted = headers_as_kcat_prints_them(self.name, i);
            if headers != wanted {
                return wrong(format!("headers {headers:?}, expected {wanted:?}"));
            }
            if self.name != "kcat" && time != (self.base + i as i64).to_string() {
                return wrong(format!("timestamp {time}, expected {}", self.base + i as i64));
            }
            count += 1;
        }
        if count != self.count {
            return Err(format!("{}: {count} records, expected {}", self.topic, self.count));
        }
        Ok(())
    }
}

/// The input of kcat with `-K '\t' -Z`.
pub fn kcat_input(first: usize, end: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for i in first..end {
        out.extend_from_slice(key("kcat", i).as_bytes());
        out.push(b'\t');
        out.extend_from_slice(value("kcat", i).unwrap_or(b""));
        out.push(b'\n');
    }
    out
}
