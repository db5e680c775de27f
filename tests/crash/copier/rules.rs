//! Tests that `output` reports each broken rule: each case is a log that breaks one of them.

use super::copied::Tag;
use super::output::Output;
use tidemill::model::Offset;
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::record::control::{Ending, Marker};
use tidemill::tools::client::fetch::Fetched;
use tidemill::wire::data::fetch::AbortedTransaction;

/// One partition of a two-partition output, as a Fetch returns it.
#[derive(Clone, Default)]
struct Log {
    partition: i32,
    records: Vec<u8>,
    end: i64,
    aborted: Vec<AbortedTransaction>,
}

impl Log {
    fn of(partition: i32) -> Log {
        Log { partition, ..Log::default() }
    }

    fn push(&mut self, mut batch: Vec<u8>, count: i64) {
        batch[..8].copy_from_slice(&self.end.to_be_bytes());
        self.records.extend(batch);
        self.end += count;
    }

    /// Adds copies of `from`, of input partition 0, as all records of a transaction in this partition.
    fn copies(mut self, number: u64, count: usize, first: usize, from: &[i64], will_abort: bool) -> Log {
        let options = BatchOptions {
            is_transactional: true,
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: 0,
            ..Default::default()
        };
        let mut builder = BatchBuilder::new(options);
        for (n, offset) in from.iter().enumerate() {
            let value = format!("id|1|{number}|{}|{count}|{}|0|{offset}|v", first + n, i32::from(will_abort));
            builder.append(0, Some(format!("k{}", self.partition).as_bytes()), Some(value.as_bytes()), []);
        }
        self.push(builder.finish(), from.len() as i64);
        self
    }

    fn ends(mut self, ending: Ending) -> Log {
        let (mut header, stored) = Marker { ending, coordinator_epoch: 0 }.batch(7, 0, 0, false);
        header.base_offset = Offset(self.end);
        let mut batch = header.encode().to_vec();
        batch.extend(stored);
        self.push(batch, 1);
        self
    }

    fn aborted_from(mut self, first_offset: i64) -> Log {
        self.aborted.push(AbortedTransaction { producer_id: 7, first_offset });
        self
    }

    fn fetched(&self) -> Fetched {
        Fetched {
            partition: self.partition,
            high_watermark: self.end,
            last_stable_offset: self.end,
            log_start_offset: 0,
            aborted: self.aborted.clone(),
            records: self.records.clone(),
        }
    }
}

/// Reads both partitions in both ways; returns the first broken rule.
fn read(logs: &[Log]) -> Result<Output, String> {
    let mut output = Output::new("output", 2);
    for is_committed in [false, true] {
        for log in logs {
            output.take(&log.fetched(), is_committed)?;
        }
    }
    Ok(output)
}

fn check(what: &str, logs: &[Log], rule: &str) {
    match read(logs) {
        Ok(_) => panic!("{what} was not noticed"),
        Err(broken) => assert!(broken.contains(rule), "{what}: {rule} expected, not {broken}"),
    }
}

#[test]
fn whole_transactions_in_order_break_no_rule() {
    let first = Log::of(0).copies(0, 3, 0, &[0, 2], false).ends(Ending::Commit);
    let first = first.copies(1, 2, 0, &[3], true).ends(Ending::Abort).aborted_from(3);
    let second = Log::of(1).copies(0, 3, 2, &[1], false).ends(Ending::Commit);
    let second = second.copies(1, 2, 1, &[4], true).ends(Ending::Abort).aborted_from(2);
    let output = read(&[first, second]).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(output.copied.len(), 3);
    let whole = &output.transactions[&Tag::parse("id", "1", "0").expect("a tag")];
    assert_eq!((whole.indexes.len(), whole.count), (3, 3));
    assert!(output.is_at_rest());
}

#[test]
fn a_broken_rule_is_reported() {
    let whole = Log::of(0).copies(0, 2, 0, &[0], false).ends(Ending::Commit);
    let other = Log::of(1).copies(0, 2, 1, &[1], false);
    check("a torn transaction", &[whole.clone(), other.clone().ends(Ending::Abort).aborted_from(0)], "OUT-5");
    check("one that goes on", &[whole.clone().copies(0, 2, 1, &[1], false)], "OUT-5");
    let again = whole.clone().copies(1, 1, 0, &[0], false).ends(Ending::Commit);
    check("a copy that comes twice", &[again], "OUT-3");
    let back =
        Log::of(0).copies(0, 1, 0, &[5], false).ends(Ending::Commit).copies(1, 1, 0, &[4], false).ends(Ending::Commit);
    check("a copy out of order", &[back], "OUT-3");
    let hidden = Log::of(0).copies(0, 1, 0, &[0], false).ends(Ending::Abort);
    check("an aborted transaction that no list names", &[hidden], "OUT-4");
    let wanted = Log::of(0).copies(0, 1, 0, &[0], true).ends(Ending::Commit);
    check("a commit of what was to abort", &[wanted], "OUT-4");
}

#[test]
fn a_watermark_that_goes_back_is_reported() {
    let log = Log::of(0).copies(0, 1, 0, &[0], false).ends(Ending::Commit);
    let mut output = Output::new("output", 2);
    output.take(&log.fetched(), true).unwrap_or_else(|broken| panic!("{broken}"));
    for (last_stable_offset, high_watermark) in [(1, 2), (2, 1)] {
        let back = Fetched { last_stable_offset, high_watermark, ..log.fetched() };
        let broken = output.take(&back, true).expect_err("noticed");
        assert!(broken.contains("OUT-1"), "{broken}");
    }
}
