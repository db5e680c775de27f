//! Compares the application's committed output with the expected output.

use std::collections::BTreeMap;

use crate::streams::input::Input;

/// The changelog of the store of counts.
pub const CHANGELOG: &str = "streams-counts-store-changelog";

/// Panics with the first differences. `text` has one record per line: topic, partition, offset, key, value.
pub fn check(input: &Input, text: &str) {
    let mut counts: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    let mut pairs = Vec::new();
    let (mut logged, mut store) = (0, BTreeMap::new());
    for line in text.lines() {
        let field: Vec<&str> = line.splitn(5, '\t').collect();
        let [topic, _, _, key, value] = field[..] else { panic!("not a record: {line:?}") };
        match topic {
            "counts" => counts.entry(key).or_default().push((value.parse().expect("a count"), line)),
            "joined" => pairs.push((key.to_string(), value.to_string())),
            CHANGELOG => {
                logged += 1;
                store.insert(key.to_string(), value.parse().expect("a count"));
            }
            other => panic!("nobody asked for {other}"),
        }
    }
    let mut wrong = Vec::new();
    // All counts of a word are in one partition, in the order of counting.
    for (word, written) in &counts {
        let total = input.counts.get(*word).copied().unwrap_or(0);
        if let Some(n) = (0..written.len()).find(|&n| written[n].0 != n as u64 + 1) {
            let before = if n > 0 { written[n - 1].1 } else { "nothing" };
            wrong.push(format!("{word}: {} follows {before}", written[n].1));
        }
        if written.len() as u64 != total {
            wrong.push(format!("{word}: it is there {total} times and was counted {} times", written.len()));
        }
    }
    for word in input.counts.keys().filter(|word| !counts.contains_key(word.as_str())) {
        wrong.push(format!("{word}: it was never counted"));
    }
    pairs.sort_unstable();
    let twice: Vec<_> = pairs.windows(2).filter(|two| two[0] == two[1]).map(|two| &two[0]).collect();
    let missing: Vec<_> = input.pairs.iter().filter(|pair| pairs.binary_search(pair).is_err()).collect();
    let foreign: Vec<_> = pairs.iter().filter(|pair| input.pairs.binary_search(pair).is_err()).collect();
    for (what, found) in [("joined twice", twice), ("not joined", missing), ("joined, and no pair", foreign)] {
        if !found.is_empty() {
            wrong.push(format!("{} pairs are {what}, such as {:?}", found.len(), &found[..found.len().min(5)]));
        }
    }
    let first = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} things are wrong with the output:\n{}", wrong.len(), first.join("\n"));
    assert_eq!(pairs, input.pairs);
    assert_eq!(store, input.counts, "what a store would be restored to");
    let counted = input.count_of_counts();
    assert!(logged < counted, "{CHANGELOG} has all {logged} records: it was not compacted while it was in use");
}
