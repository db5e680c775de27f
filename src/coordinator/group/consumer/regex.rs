//! Subscriptions by pattern. A separate step, not the heartbeat, searches all topic names and writes the matching ones.
//! Patterns have RE2's syntax, which the `regex` crate implements except for corner cases. They match a whole name.

use std::collections::BTreeSet;

use regex::Regex;

use super::super::{Alarm, Groups};
use super::{AlarmChange, ConsumerStep, GroupRefusal};
use crate::coordinator::group::consumer::member::ConsumerMember;
use crate::coordinator::group::record::Key;
use crate::coordinator::group::schema::ConsumerGroupRegularExpressionValue;
use crate::model::ErrorCode;

/// The minimum time between two searches of a group.
const REFRESH_MIN_MS: i64 = 10_000;
/// The size limit of a compiled pattern, equal to the crate's own.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// The effect of a member's new pattern on its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegexChange {
    Nothing,
    /// The topics of the new pattern are not known yet.
    Unresolved,
    Resolved,
}

/// Compiles a pattern for whole names. The bare pattern is compiled first, so that `a)(b` is rejected.
fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    let compile = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build();
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$"))
}

fn check_pattern(pattern: &str) -> Result<(), GroupRefusal> {
    let refuse = |error: regex::Error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let message = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}.");
        GroupRefusal::new(ErrorCode::InvalidRegularExpression, message)
    };
    compile(pattern).map(drop).map_err(refuse)
}

impl ConsumerStep<'_> {
    /// Compares the member's patterns, and schedules a search when the group's patterns need one.
    pub(super) fn update_regex(
        &mut self,
        old: &ConsumerMember,
        new: &ConsumerMember,
        newest_topic_at: i64,
    ) -> Result<RegexChange, GroupRefusal> {
        let group = self.group;
        let mut changed = RegexChange::Nothing;
        let mut is_new = false;
        if old.regex != new.regex {
            changed = RegexChange::Unresolved;
            if let Some(left) = old.regex()
                && group.readers_of(left) == 1
            {
                let id = self.id.clone();
                self.put_tombstone(Key::Regex { group: &id, regex: left });
            }
            match new.regex() {
                Some(regex) if group.readers_of(regex) == 0 => {
                    check_pattern(regex)?;
                    is_new = true;
                }
                Some(regex) if group.regexes.contains_key(regex) => changed = RegexChange::Resolved,
                Some(_) => {}
                None if old.regex().is_some() => changed = RegexChange::Resolved,
                None => {}
            }
        }
        if !is_new && group.readers.is_empty() {
            return Ok(changed);
        }
        let (refreshed_at, version) =
            group.regexes.values().next().map_or((i64::MIN, 0), |resolved| (resolved.timestamp_ms, resolved.version));
        let age_ms = self.now.wall_ms.saturating_sub(refreshed_at);
        // Negative: the clock was set back.
        if (0..=REFRESH_MIN_MS).contains(&age_ms) {
            return Ok(changed);
        }
        let is_due = is_new
            || group.readers.len() != group.regexes.len()
            || version < newest_topic_at
            || !(0..=i64::from(self.config.group_consumer_regex_refresh_interval_ms)).contains(&age_ms);
        if is_due {
            self.alarms.push((Alarm::Regex, AlarmChange::SetIfNone(0)));
        }
        Ok(changed)
    }

    /// Resolves the group's patterns to topics and writes them.
    fn resolve_regexes(&mut self) {
        let (id, group) = (self.id.clone(), self.group);
        let mut has_changed = false;
        let mut regexes = group.regexes.clone();
        let has_target = |pattern: &str| {
            let mut readers = group.members.values().filter(|member| member.regex() == Some(pattern));
            readers.any(|reader| group.target(&reader.id).values().any(|partitions| !partitions.is_empty()))
        };
        for pattern in group.readers.keys() {
            let Ok(compiled) = compile(pattern) else {
                // Kafka wrote the log, and its engine accepted the pattern.
                tracing::error!("group {id}: the pattern `{pattern}` cannot be compiled and matches no topic");
                continue;
            };
            let names = self.image.topics().map(|topic| topic.name.as_str());
            let topics: BTreeSet<String> = names.filter(|name| compiled.is_match(name)).map(str::to_owned).collect();
            let (version, timestamp) = (self.image.index as i64, self.now.wall_ms);
            has_changed |= match group.regexes.get(pattern) {
                Some(before) => before.topics != topics,
                // A member that had another pattern may still have its topics in the target, which no member reads
                // then. (Kafka does not raise the epoch if the new pattern matches nothing.)
                None => !topics.is_empty() || has_target(pattern),
            };
            let value =
                ConsumerGroupRegularExpressionValue { topics: topics.iter().cloned().collect(), version, timestamp };
            self.put(Key::Regex { group: &id, regex: pattern }, &value.to_bytes());
            regexes.insert(pattern.clone(), super::ResolvedRegex { topics, version, timestamp_ms: timestamp });
        }
        let mut read: BTreeSet<&str> =
            group.members.values().flat_map(|member| member.topics.iter().map(String::as_str)).collect();
        let looked_up = regexes.iter().filter(|(pattern, _)| group.readers.contains_key(*pattern));
        read.extend(looked_up.flat_map(|(_, resolved)| resolved.topics.iter().map(String::as_str)));
        let hash = self.metadata_hash_of(&read);
        if has_changed || hash != group.metadata_hash {
            self.put_epoch(group.epoch + 1, hash);
        }
    }
}

impl Groups {
    /// Handles the alarm that resolves a group's patterns.
    pub(in crate::coordinator::group) fn on_regex_alarm(
        &mut self,
        id: &str,
        now: crate::coordinator::Now,
        writes: &mut crate::coordinator::Writes<Groups>,
    ) {
        if let Some(mut step) = self.consumer_step(id, now, writes) {
            step.resolve_regexes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names_or_is_rejected_with_the_reason() {
        let regex = compile("a.*|b").unwrap();
        for (name, matches) in [("a", true), ("abc", true), ("b", true), ("bc", false), ("cb", false)] {
            assert_eq!(regex.is_match(name), matches, "{name}");
        }
        for pattern in ["(", "a)(b", "[z-a]", "*", "(?=a)"] {
            let refused = check_pattern(pattern).unwrap_err();
            assert_eq!(refused.error, ErrorCode::InvalidRegularExpression, "{pattern}");
            assert!(refused.message.contains(pattern), "{}", refused.message);
        }
    }
}
