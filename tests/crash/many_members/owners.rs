//! The owners of each partition over time, with their reads and commits, checked against the rules of a group.
//!
//! - OWN-1: a partition is assigned to a member only when no other member owns it.
//! - OWN-2: a member reads only its own partitions, and starts at the committed offset; after a crash that is between
//!   the last acknowledged commit and the last record that the crashed member has read.
//! - OWN-3: a revoked partition was committed as far as it was read, so no record is lost or repeated.
//! - OWN-4: at the end every partition is committed to its end; with OWN-2, every record was read.
//! - OWN-5: a member that has not crashed is not removed, and its commits succeed.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Act, Step};

#[derive(Clone, Default)]
struct Partition {
    owner: Option<String>,
    /// The last owner, if it has given the partition back and no member has it since.
    given_back_by: Option<String>,
    committed: i64,
    /// The owner's next offset; `None` before its first read.
    next: Option<i64>,
    /// The offset up to which an earlier owner read before it lost the partition without a commit.
    abandoned: i64,
    /// Records that were read twice.
    repeated: i64,
}

/// The counts of [`follow`].
#[derive(Default, Debug)]
pub struct Followed {
    pub joins: usize,
    pub leaves: usize,
    pub crashes: usize,
    pub records: i64,
    /// Records that were read twice after a crash.
    pub repeated: i64,
    /// The highest generation of a member.
    pub generation: i32,
    pub commits: usize,
    /// Members that have read records.
    pub readers: BTreeSet<String>,
}

impl Followed {
    pub fn changes(&self) -> usize {
        self.joins + self.leaves + self.crashes
    }
}

/// Checks the steps of a group that has read partitions of `ends` records; the error is the first broken rule.
pub fn follow(steps: &[Step], ends: &[i64]) -> Result<Followed, String> {
    let mut group = Group { partitions: vec![Partition::default(); ends.len()], ..Group::default() };
    for (n, step) in steps.iter().enumerate() {
        group.take(step).map_err(|(rule, partition)| {
            let about = |step: &&Step| partition.is_none_or(|partition| step.concerns(partition));
            let latest: Vec<String> =
                steps[..=n].iter().rev().filter(about).take(12).map(|step| format!("{step:?}")).collect();
            format!(
                "{rule}: partition {partition:?}, by {}; the latest steps first:\n{}",
                step.member,
                latest.join("\n")
            )
        })?;
    }
    let mut followed = group.followed;
    for (n, (at, &end)) in group.partitions.iter().zip(ends).enumerate() {
        // A crashed member's last commit may have reached the group, so that no other member had to read.
        if at.committed != end && at.abandoned != end {
            return Err(format!("OWN-4: partition {n} of {end} records was committed up to {}", at.committed));
        }
        followed.records += end;
        followed.repeated += at.repeated;
    }
    Ok(followed)
}

#[derive(Default)]
struct Group {
    partitions: Vec<Partition>,
    held: BTreeMap<String, BTreeSet<i32>>,
    followed: Followed,
}

impl Group {
    fn take(&mut self, step: &Step) -> Result<(), (String, Option<i32>)> {
        let member = &step.member;
        let followed = &mut self.followed;
        followed.generation = followed.generation.max(step.generation().unwrap_or(0));
        match &step.act {
            Act::Joins => followed.joins += 1,
            Act::Assigned(_, given) => {
                for &partition in given {
                    let at = &mut self.partitions[partition as usize];
                    if let Some(owner) = &at.owner {
                        return Err((format!("OWN-1: {owner} has it"), Some(partition)));
                    }
                    (at.owner, at.given_back_by, at.next) = (Some(member.clone()), None, None);
                    self.held.entry(member.clone()).or_default().insert(partition);
                }
            }
            &Act::Read { partition, first, last } => {
                let at = &mut self.partitions[partition as usize];
                let expected = at.next.map_or(at.committed..=at.committed.max(at.abandoned), |next| next..=next);
                if at.owner.as_ref() != Some(member) || !expected.contains(&first) {
                    return Err((format!("OWN-2: of {:?}, expected at {expected:?}", at.owner), Some(partition)));
                }
                if at.next.is_none() {
                    at.committed = first; // The response to a crashed member's commit may be lost.
                    at.repeated += (at.abandoned - first).max(0);
                    at.abandoned = 0;
                }
                at.next = Some(last + 1);
                followed.readers.insert(member.clone());
            }
            Act::Committed(_, offsets) => {
                followed.commits += 1;
                for &(partition, offset) in offsets {
                    let at = &mut self.partitions[partition as usize];
                    if at.owner.as_ref() != Some(member) || at.next != Some(offset) {
                        let why = format!("OWN-2: committed {offset}, read to {:?} by {:?}", at.next, at.owner);
                        return Err((why, Some(partition)));
                    }
                    at.committed = offset;
                }
            }
            Act::Failed(why) => return Err((format!("OWN-5: a commit was refused: {why}"), None)),
            Act::Revoked(_, given) => {
                for &partition in given {
                    let at = &mut self.partitions[partition as usize];
                    // A Java consumer that is closed while it revokes some of its partitions revokes all of them.
                    if at.owner.is_none() && at.given_back_by.as_ref() == Some(member) {
                        continue;
                    }
                    if at.owner.as_ref() != Some(member) {
                        return Err((format!("OWN-1: given back, and {:?} has it", at.owner), Some(partition)));
                    }
                    if at.next.is_some_and(|next| next != at.committed) {
                        return Err((
                            format!("OWN-3: read to {:?}, committed {}", at.next, at.committed),
                            Some(partition),
                        ));
                    }
                    at.given_back_by = at.owner.take();
                    self.held.entry(member.clone()).or_default().remove(&partition);
                }
            }
            Act::Lost(..) => return Err(("OWN-5: it is alive and was put out of the group".into(), None)),
            Act::Crashes => {
                followed.crashes += 1;
                for partition in self.held.remove(member).unwrap_or_default() {
                    self.partitions[partition as usize].is_abandoned();
                }
            }
            Act::Left => {
                followed.leaves += 1;
                let kept = self.held.remove(member).unwrap_or_default();
                if let Some(&partition) = kept.first() {
                    return Err(("OWN-3: it has left with what it did not give back".into(), Some(partition)));
                }
            }
        }
        Ok(())
    }
}

impl Partition {
    fn is_abandoned(&mut self) {
        self.owner = None;
        self.abandoned = self.abandoned.max(self.next.unwrap_or(0));
        self.next = None;
    }
}
