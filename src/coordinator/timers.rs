//! The deadlines of a state machine, one for each key.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use crate::runtime::Mono;

/// At most one deadline for each key. Setting a key again moves its deadline.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    at: HashMap<K, Mono>,
    order: BTreeSet<(Mono, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Timers<K> {
        Timers { at: HashMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord> Timers<K> {
    /// Sets or moves the deadline of a key.
    pub fn set(&mut self, key: K, at: Mono) {
        if let Some(before) = self.at.insert(key.clone(), at) {
            self.order.remove(&(before, key.clone()));
        }
        self.order.insert((at, key));
    }

    /// Removes the deadline of a key.
    pub fn cancel(&mut self, key: &K) {
        if let Some((key, at)) = self.at.remove_entry(key) {
            self.order.remove(&(at, key));
        }
    }

    /// The deadline of a key.
    pub fn get(&self, key: &K) -> Option<Mono> {
        self.at.get(key).copied()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Mono> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Removes and returns the earliest key that is due.
    pub fn take_due(&mut self, now: Mono) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_deadline_fires_once_at_its_new_time_and_in_order() {
        let at = Mono::from_nanos;
        let mut timers = Timers::default();
        timers.set("b", at(5));
        timers.set("a", at(3));
        timers.set("c", at(9));
        timers.set("b", at(7));
        timers.cancel(&"c");
        assert_eq!((timers.next(), timers.get(&"b"), timers.get(&"c")), (Some(at(3)), Some(at(7)), None));
        assert_eq!(timers.take_due(at(2)), None);
        assert_eq!(
            [timers.take_due(at(8)), timers.take_due(at(8)), timers.take_due(at(8))],
            [Some("a"), Some("b"), None]
        );
        assert_eq!(timers.next(), None);
    }
}
