//! Merges partial responses: by topic, or in the order of the request.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Groups items by topic. Topics keep the order of their first item.
pub(in crate::api) fn by_topic<K: Clone + Eq + Hash, I: IntoIterator>(
    all: impl IntoIterator<Item = (K, I)>,
) -> Vec<(K, Vec<I::Item>)> {
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut topics: Vec<(K, Vec<I::Item>)> = Vec::new();
    for (topic, items) in all {
        let at = *places.entry(topic).or_insert_with_key(|topic| {
            topics.push((topic.clone(), Vec::new()));
            topics.len() - 1
        });
        topics[at].1.extend(items);
    }
    topics
}

/// Sorts answers by the first position of their id in the request. Answers with other ids come first.
pub(in crate::api) fn as_asked<'a, A>(
    answers: &mut [A],
    asked: impl IntoIterator<Item = &'a String>,
    id: impl Fn(&A) -> &String,
) {
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (at, id) in asked.into_iter().enumerate() {
        places.entry(id).or_insert(at);
    }
    answers.sort_by_cached_key(|answer| places.get(id(answer).as_str()).copied());
}

/// The most elements that a request may name with repetitions.
const REPETITIONS_MAX: usize = 1_000;

/// Keeps repeated elements, as Kafka answers each of them, unless there are more than [`REPETITIONS_MAX`] elements. A
/// request of 4 MiB that repeats one name would otherwise have a response of gigabytes.
pub(in crate::api) fn deduplicate_if_many<T, K: Eq + Hash>(
    all: impl ExactSizeIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> impl Iterator<Item = T> {
    let are_many = all.len() > REPETITIONS_MAX;
    let mut seen = HashSet::new();
    all.filter(move |one| !are_many || seen.insert(key(one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_keep_the_order_of_their_first_item() {
        let all = [("b", vec![1]), ("a", vec![2, 3]), ("b", vec![4]), ("c", vec![])];
        assert_eq!(by_topic(all), [("b", vec![1, 4]), ("a", vec![2, 3]), ("c", vec![])]);
    }

    #[test]
    fn repetitions_are_kept_unless_there_are_many_elements() {
        assert_eq!(deduplicate_if_many([1, 2, 1].into_iter(), |n| *n).collect::<Vec<_>>(), [1, 2, 1]);
        let many: Vec<_> = (0..100_000).map(|n| n % 3).collect();
        assert_eq!(deduplicate_if_many(many.into_iter(), |n| *n).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn answers_follow_the_request_and_keep_the_order_within_an_id() {
        let asked = ["b", "a", "b", "c"].map(String::from);
        let mut answers = [("c", 0), ("b", 1), ("a", 2), ("b", 3)].map(|(id, n)| (id.to_owned(), n));
        as_asked(&mut answers, &asked, |answer| &answer.0);
        assert_eq!(answers.map(|answer| answer.1), [1, 3, 2, 0]);
    }
}
