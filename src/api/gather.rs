//! Answers of many parts, put together: by topic, or in the order in which the parts were asked for.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Each topic once, with all of its items, in the order in which topics come first.
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

/// Each answer to where its id was first asked for. One that nobody has asked for is in front.
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

/// How many things a request may name, some of them again.
const NAMED_AGAIN_MAX: usize = 1_000;

/// What is named again is answered again, as in Kafka; but of very many each once, for a request of 4 MiB that names
/// one thing over and over would have an answer of gigabytes.
pub(in crate::api) fn each_once_of_many<T, K: Eq + Hash>(
    all: impl ExactSizeIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> impl Iterator<Item = T> {
    let are_many = all.len() > NAMED_AGAIN_MAX;
    let mut seen = HashSet::new();
    all.filter(move |one| !are_many || seen.insert(key(one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_told_once_where_it_first_came() {
        let all = [("b", vec![1]), ("a", vec![2, 3]), ("b", vec![4]), ("c", vec![])];
        assert_eq!(by_topic(all), [("b", vec![1, 4]), ("a", vec![2, 3]), ("c", vec![])]);
    }

    #[test]
    fn what_is_named_again_is_answered_again_unless_there_is_very_much_of_it() {
        assert_eq!(each_once_of_many([1, 2, 1].into_iter(), |n| *n).collect::<Vec<_>>(), [1, 2, 1]);
        let many: Vec<_> = (0..100_000).map(|n| n % 3).collect();
        assert_eq!(each_once_of_many(many.into_iter(), |n| *n).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn answers_come_as_asked_and_those_of_one_id_stay_in_their_order() {
        let asked = ["b", "a", "b", "c"].map(String::from);
        let mut answers = [("c", 0), ("b", 1), ("a", 2), ("b", 3)].map(|(id, n)| (id.to_owned(), n));
        as_asked(&mut answers, &asked, |answer| &answer.0);
        assert_eq!(answers.map(|answer| answer.1), [1, 3, 2, 0]);
    }
}
