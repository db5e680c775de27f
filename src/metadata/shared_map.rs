//! A sorted map whose clones share their entries. A change copies one chunk of entries and the list of chunks, not the
//! whole map. So the next image of 10,000 topics costs the copy of some 200 entries and pointers.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The most entries of a chunk.
const CHUNK_MAX: usize = 128;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A sorted map in chunks. No chunk is empty, and the keys ascend over all chunks.
#[derive(Clone)]
pub(super) struct SharedMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

impl<K, V> SharedMap<K, V> {
    fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (chunk, place) = self.find(key);
        place.ok().map(|at| &self.chunks[chunk][at].1)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The values of `key` and of all greater keys, in order.
    pub fn values_from<'a, Q: Ord + ?Sized>(&'a self, key: &Q) -> impl Iterator<Item = &'a V> + use<'a, K, V, Q>
    where
        K: Borrow<Q>,
    {
        let (chunk, place) = self.find(key);
        let at = place.unwrap_or_else(|at| at);
        let rest = self.chunks.get(chunk).map_or(&[][..], |first| &first[at..]);
        let later = self.chunks.iter().skip(chunk + 1).flat_map(|chunk| chunk.iter());
        rest.iter().chain(later).map(|(_, value)| value)
    }

    /// Inserts or replaces a value.
    pub fn insert(&mut self, key: K, value: V) {
        let (chunk, place) = self.find(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let entries = Arc::make_mut(&mut chunks[chunk]);
        match place {
            Ok(at) => entries[at].1 = value,
            Err(at) => {
                entries.insert(at, (key, value));
                self.len += 1;
            }
        }
        if entries.len() > CHUNK_MAX {
            let upper = entries.split_off(CHUNK_MAX / 2);
            chunks.insert(chunk + 1, Arc::new(upper));
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (chunk, place) = self.find(key);
        let at = place.ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let entries = Arc::make_mut(&mut chunks[chunk]);
        let (_, value) = entries.remove(at);
        self.len -= 1;
        let left = entries.len();
        // Deletions must not leave many small chunks behind.
        if left == 0 {
            chunks.remove(chunk);
        } else if let Some(next) = chunks.get(chunk + 1).filter(|next| left + next.len() <= CHUNK_MAX / 2).cloned() {
            Arc::make_mut(&mut chunks[chunk]).extend(next.iter().cloned());
            chunks.remove(chunk + 1);
        }
        Some(value)
    }

    /// The chunk of the key, and its place there or the place to insert it.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> (usize, Result<usize, usize>)
    where
        K: Borrow<Q>,
    {
        let behind = self.chunks.partition_point(|chunk| chunk[0].0.borrow() <= key);
        let chunk = behind.saturating_sub(1);
        let entries = self.chunks.get(chunk).map_or(&[][..], |entries| entries);
        (chunk, entries.binary_search_by(|(other, _)| other.borrow().cmp(key)))
    }

    /// The number of chunks that this map does not share with `other`.
    #[cfg(test)]
    pub fn own_chunks(&self, other: &Self) -> usize {
        let is_shared = |chunk: &&Chunk<K, V>| other.chunks.iter().any(|theirs| Arc::ptr_eq(theirs, chunk));
        self.chunks.iter().filter(|chunk| !is_shared(chunk)).count()
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> SharedMap<K, V> {
        SharedMap { chunks: Arc::default(), len: 0 }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &SharedMap<K, V>) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_change_copies_at_most_two_chunks_and_leaves_clones_alone() {
        let mut map = SharedMap::default();
        (0..10_000u32).for_each(|key| map.insert(key * 2, key));
        for key in [0, 1, 9_999, 10_000, 19_998, 30_000] {
            let before = map.clone();
            map.insert(key, 7);
            assert!(map.own_chunks(&before) <= 2, "{key}");
            assert_ne!((before.get(&key), before.len()), (map.get(&key), map.len()), "{key}");
            let before = map.clone();
            map.remove(&key);
            assert!(map.own_chunks(&before) <= 2, "{key}");
            assert_eq!((before.get(&key), map.get(&key)), (Some(&7), None));
        }
    }

    proptest::proptest! {
        #[test]
        fn the_map_equals_a_sorted_map(changes in proptest::collection::vec((0u16..600, 0u8..3), 0..2000)) {
            let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
            for (at, (key, kind)) in changes.into_iter().enumerate() {
                if kind == 0 {
                    assert_eq!(map.remove(&key), model.remove(&key));
                } else {
                    map.insert(key, at);
                    model.insert(key, at);
                }
                assert_eq!(map.len(), model.len());
                assert!(map.values_from(&key).eq(model.range(key..).map(|(_, value)| value)));
            }
            assert!(map.values().eq(model.values()));
            assert!(map.chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
            let mut rebuilt = SharedMap::default();
            model.iter().rev().for_each(|(key, value)| rebuilt.insert(*key, *value));
            assert_eq!(map, rebuilt);
        }
    }
}
