//! Finds the known name that a mistyped name most likely meant.

/// The nearest of `known`, unless more than a third of the characters differ.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) =
        known.map(|name| (strsim::damerau_levenshtein(typed, name), name)).min_by_key(|(distance, _)| *distance)?;
    (distance <= typed.chars().count().max(6) / 3).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_name_and_an_unrelated_word_finds_none() {
        let known = ["log.retention.ms", "log.retention.bytes", "num.partitions"];
        let find = |typed| nearest(typed, known.into_iter());
        assert_eq!(find("log.retension.ms"), Some("log.retention.ms"));
        assert_eq!(find("num.partition"), Some("num.partitions"));
        assert_eq!(find("zzz"), None);
        assert_eq!(find(""), None);
    }
}
