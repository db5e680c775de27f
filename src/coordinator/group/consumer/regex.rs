//! Subscriptions to a pattern: the names of all topics are looked through for it, apart from any heartbeat, and the topics that
//! it means are written down. Patterns are those of RE2, which the `regex` crate's are, but for corners that Kafka's engine and it
//! both leave to the other; they match a whole name.

use std::collections::BTreeSet;

use regex::Regex;

use super::super::{Alarm, Groups};
use super::{AlarmChange, ConsumerStep, GroupRefusal};
use crate::coordinator::group::consumer::member::ConsumerMember;
use crate::coordinator::group::record::Key;
use crate::coordinator::group::schema::ConsumerGroupRegularExpressionValue;
use crate::model::ErrorCode;

/// A group looks through the topics no more often than this.
const REFRESH_MIN_MS: i64 = 10_000;
/// A pattern may be compiled to so much; the crate's own bound is as large.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// What a change of a member's pattern means for its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegexChange {
    Nothing,
    /// It is not known yet which topics the new one means.
    Unresolved,
    Resolved,
}

/// Of a whole name. The pattern is compiled by itself first, so that one like `a)(b` is refused.
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
    /// The member's pattern is another one, or what the group's patterns mean is to be looked up (again).
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
        // Below 0: the clock was put back.
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

    /// Looks the group's patterns up, and writes down what they mean.
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
                // Kafka's engine has taken it, in a log that was its own.
                tracing::error!("group {id}: the pattern `{pattern}` cannot be compiled, and means no topic");
                continue;
            };
            let names = self.image.topics().map(|topic| topic.name.as_str());
            let topics: BTreeSet<String> = names.filter(|name| compiled.is_match(name)).map(str::to_owned).collect();
            let (version, timestamp) = (self.image.index as i64, self.now.wall_ms);
            has_changed |= match group.regexes.get(pattern) {
                Some(before) => before.topics != topics,
                // Whoever has come from another pattern may still be given what that meant, which is nobody's then. (Kafka
                // leaves it so where the new one means nothing.)
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
    /// It is time to look a group's patterns up.
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
    fn a_pattern_matches_whole_names_or_is_refused_with_the_reason() {
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
