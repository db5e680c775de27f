//! Selects topics by name and by pattern.

use crate::tools::Failure;
use crate::tools::client::{Client, ClientError, TopicInfo};

/// Whether the name is a pattern. Names of topics contain neither character.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// The topics with these names and those that match these patterns, in order and each once. No names: all topics.
/// Patterns match internal topics only with `has_internal`.
pub(super) fn topics(client: &mut Client, names: &[String], has_internal: bool) -> Result<Vec<TopicInfo>, ClientError> {
    let mut all = client.all_topics()?;
    if names.is_empty() {
        all.retain(|topic| has_internal || !topic.is_internal);
        return Ok(all);
    }
    let mut selected: Vec<TopicInfo> = Vec::new();
    for name in names {
        let mut found: Vec<TopicInfo> = if is_pattern(name) {
            let is_shown = |topic: &&TopicInfo| has_internal || !topic.is_internal;
            all.iter().filter(is_shown).filter(|topic| matches(name, &topic.name)).cloned().collect()
        } else {
            // A new topic may be missing in the first response of a broker that lags behind its controller.
            vec![client.topic(name)?.clone()]
        };
        if found.is_empty() {
            return Err(ClientError::NoTopicMatches { pattern: name.clone() });
        }
        found.retain(|topic| selected.iter().all(|other| other.name != topic.name));
        selected.extend(found);
    }
    Ok(selected)
}

/// An unknown topic that the user does not want to create.
pub(super) fn without_advice_to_create(error: ClientError) -> Failure {
    match &error {
        ClientError::UnknownTopic { .. } => {
            Failure::with_hint(error.to_string(), "list the topics with `tidemill topic list`")
        }
        _ => error.into(),
    }
}

/// Whether the pattern matches the whole name: `*` matches any characters, `?` one. Linear in each `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // The position behind the last `*`, and the position in the name where its match ends.
    let mut retry = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, n));
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((behind, end)) = retry else { return false };
                retry = Some((behind, end + 1));
                (p, n) = (behind, end + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "a", true),
            ("e*", "events", true),
            ("*s", "events", true),
            ("e*t?", "events", true),
            ("e*t?", "event", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab", "aab", true),
            ("?", "", false),
            ("ev", "events", false),
            ("events*", "events", true),
            ("a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
