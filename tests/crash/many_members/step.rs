//! A step of a member, as the programs print it: `microseconds member VERB ...`.
//!
//! | verb | arguments | printed |
//! |---|---|---|
//! | `JOINS` | | before it joins |
//! | `ASSIGNED` | generation, partitions | when it may read them |
//! | `READ` | partition, first, last offset | when it has the records |
//! | `COMMITTED` | generation, partition:offset ... | when the commit succeeded |
//! | `FAILED` | generation, partition:offset ..., error | when the commit failed |
//! | `REVOKED` | generation, partitions | when it has committed and stopped to read, before it confirms to the group |
//! | `LOST` | generation, partitions | when it learns that the group has removed it |
//! | `CRASHES` | | before its connections are cut, or it is killed |
//! | `LEFT` | | when it has left the group |
//!
//! Lists have commas; a generation is -1 where a client does not report it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug)]
pub struct Step {
    pub micros: u64,
    pub member: String,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub enum Act {
    Joins,
    Assigned(i32, Vec<i32>),
    Read { partition: i32, first: i64, last: i64 },
    Committed(i32, Vec<(i32, i64)>),
    Failed(String),
    Revoked(i32, Vec<i32>),
    Lost(Vec<i32>),
    Crashes,
    Left,
}

impl Step {
    /// `None` for a line that is no step.
    pub fn parse(line: &str) -> Option<Step> {
        let word: Vec<&str> = line.split_whitespace().collect();
        let (micros, member, verb, rest) = (word.first()?.parse().ok()?, word.get(1)?, word.get(2)?, &word[3..]);
        let generation = || rest.first()?.parse().ok();
        let partitions = || numbers(rest.get(1).copied().unwrap_or_default());
        let act = match *verb {
            "JOINS" => Act::Joins,
            "ASSIGNED" => Act::Assigned(generation()?, partitions()?),
            "READ" => Act::Read {
                partition: rest.first()?.parse().ok()?,
                first: rest.get(1)?.parse().ok()?,
                last: rest.get(2)?.parse().ok()?,
            },
            "COMMITTED" => Act::Committed(generation()?, offsets(rest.get(1)?)?),
            "FAILED" => Act::Failed(rest[1..].join(" ")),
            "REVOKED" => Act::Revoked(generation()?, partitions()?),
            "LOST" => Act::Lost(partitions()?),
            "CRASHES" => Act::Crashes,
            "LEFT" => Act::Left,
            _ => return None,
        };
        Some(Step { micros, member: member.to_string(), act })
    }

    pub fn concerns(&self, partition: i32) -> bool {
        match &self.act {
            Act::Assigned(_, all) | Act::Revoked(_, all) | Act::Lost(all) => all.contains(&partition),
            Act::Read { partition: of, .. } => *of == partition,
            Act::Committed(_, all) => all.iter().any(|(of, _)| *of == partition),
            Act::Joins | Act::Crashes | Act::Left | Act::Failed(..) => false,
        }
    }

    /// The generation, where the step has one.
    pub fn generation(&self) -> Option<i32> {
        match self.act {
            Act::Assigned(generation, _) | Act::Committed(generation, _) | Act::Revoked(generation, _) => {
                Some(generation)
            }
            _ => None,
        }
    }
}

fn numbers(list: &str) -> Option<Vec<i32>> {
    list.split(',').filter(|number| !number.is_empty()).map(|number| number.parse().ok()).collect()
}

fn offsets(list: &str) -> Option<Vec<(i32, i64)>> {
    list.split(',')
        .map(|pair| pair.split_once(':').and_then(|(p, offset)| Some((p.parse().ok()?, offset.parse().ok()?))))
        .collect()
}

/// The partitions of each present member after these steps, in any order among members.
pub fn shares<'a>(steps: impl IntoIterator<Item = &'a Step>) -> BTreeMap<String, BTreeSet<i32>> {
    let mut held = BTreeMap::<String, BTreeSet<i32>>::new();
    for step in steps {
        let of = held.entry(step.member.clone()).or_default();
        match &step.act {
            Act::Assigned(_, given) => of.extend(given),
            Act::Revoked(_, given) | Act::Lost(given) => given.iter().for_each(|partition| _ = of.remove(partition)),
            Act::Crashes | Act::Left => _ = held.remove(&step.member),
            _ => {}
        }
    }
    held
}

/// Merges the steps of several programs by their clocks, and keeps the order of each program. At the same time a step
/// that releases partitions goes before a step that takes them, because some clocks count milliseconds.
pub fn merged(programs: Vec<Vec<Step>>) -> Vec<Step> {
    let mut queues: Vec<VecDeque<Step>> = programs.into_iter().map(VecDeque::from).collect();
    let mut merged = Vec::new();
    let key = |queue: &VecDeque<Step>| queue.front().map(|step| (step.micros, matches!(step.act, Act::Assigned(..))));
    while let Some(earliest) = queues.iter_mut().filter(|queue| !queue.is_empty()).min_by_key(|queue| key(queue)) {
        merged.extend(earliest.pop_front());
    }
    merged
}
