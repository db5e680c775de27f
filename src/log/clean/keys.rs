//! The latest offset of each key in the part of a log that has not been compacted: Kafka's `SkimpyOffsetMap`.
//!
//! Blocks of the shard's memory, as one open-addressing table of 24 bytes a key: 16 of a keyed hash, 8 of the offset.
//! The keys themselves are not kept: with 128 bits under a random secret, two keys that collide are not to be found, by
//! accident or on purpose (Kafka takes MD5, for which they are).

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::model::Offset;
use crate::runtime::buf::BLOCK_BYTES_MAX;
use crate::runtime::{self, AlignedBuf};

/// Hash, and offset + 1; 0 there is a free slot.
pub const SLOT_BYTES: usize = 24;
/// What one block holds.
pub const BLOCK_SLOTS: usize = BLOCK_BYTES_MAX / SLOT_BYTES;

pub struct Keys {
    blocks: Vec<AlignedBuf>,
    slots: usize,
    count: usize,
    load_factor: f64,
    hasher: SipHasher13,
    /// Everything from where the map begins up to here is in it.
    latest: Offset,
}

impl Keys {
    /// A map without room; `load_factor` of what it is given will be filled.
    pub fn new(load_factor: f64) -> Keys {
        let mut secret = [0; 16];
        runtime::random_bytes(&mut secret);
        let hasher = SipHasher13::new_with_key(&secret);
        Keys { blocks: Vec::new(), slots: 0, count: 0, load_factor, hasher, latest: -1 }
    }

    /// Room for so many more slots, of one block at most; all of it before the first key.
    pub fn add(&mut self, mut block: AlignedBuf, slots: usize) {
        assert!(self.count == 0 && self.slots == self.blocks.len() * BLOCK_SLOTS, "only the last block is not full");
        assert!(slots <= BLOCK_SLOTS && slots * SLOT_BYTES <= block.capacity(), "{slots} slots");
        block[..slots * SLOT_BYTES].fill(0);
        self.blocks.push(block);
        self.slots += slots;
    }

    fn count_max(&self) -> usize {
        assert!(self.slots > 1, "one slot stays free, so that every search ends");
        ((self.slots as f64 * self.load_factor) as usize).clamp(1, self.slots - 1)
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The last offset of the part that the map speaks for; -1 of none.
    pub fn latest(&self) -> Offset {
        self.latest
    }

    /// Everything up to `offset` has been looked at.
    pub fn reached(&mut self, offset: Offset) {
        self.latest = self.latest.max(offset);
    }

    /// Notes that `key` is at `offset`, behind all that were noted before. False: the map is full, and goes no further.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        if self.count >= self.count_max() {
            return false;
        }
        assert!(offset > self.latest, "a log's offsets ascend");
        let hash = self.hash(key);
        let (block, at) = self.find(&hash);
        let slot = &mut self.blocks[block][at..at + SLOT_BYTES];
        if slot[16..] == [0; 8] {
            slot[..16].copy_from_slice(&hash);
            self.count += 1;
        }
        slot[16..].copy_from_slice(&(offset + 1).to_le_bytes());
        self.latest = offset;
        true
    }

    /// The latest offset of `key` in what the map speaks for.
    pub fn offset_of(&self, key: &[u8]) -> Option<Offset> {
        let (block, at) = self.find(&self.hash(key));
        let stored = &self.blocks[block][at + 16..at + SLOT_BYTES];
        let stored = i64::from_le_bytes(stored.try_into().expect("8 bytes"));
        (stored > 0).then(|| stored - 1)
    }

    fn hash(&self, key: &[u8]) -> [u8; 16] {
        let mut hasher = self.hasher;
        hasher.write(key);
        hasher.finish128().as_bytes()
    }

    /// Where the hash lies, or would: a block and a position in it.
    fn find(&self, hash: &[u8; 16]) -> (usize, usize) {
        let first = u64::from_le_bytes(hash[..8].try_into().expect("8 bytes")) % self.slots as u64;
        let mut slot = first as usize;
        loop {
            let (block, at) = (slot / BLOCK_SLOTS, slot % BLOCK_SLOTS * SLOT_BYTES);
            let stored = &self.blocks[block][at..at + SLOT_BYTES];
            if stored[16..] == [0; 8] || stored[..16] == *hash {
                return (block, at);
            }
            slot = if slot + 1 == self.slots { 0 } else { slot + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_says_so_and_forgets_nothing() {
        // One block that is not full, and one that is with one behind it.
        for (slots, expected) in [(170, 153), (BLOCK_SLOTS + 9, 39_329)] {
            let mut keys = Keys::new(0.9);
            for at in (0..slots).step_by(BLOCK_SLOTS) {
                keys.add(AlignedBuf::alloc(BLOCK_BYTES_MAX).unwrap(), (slots - at).min(BLOCK_SLOTS));
            }
            // Every key twice.
            let mut last = std::collections::HashMap::new();
            let mut offset = 0;
            while keys.put(format!("key {}", offset / 2).as_bytes(), offset) {
                last.insert(offset / 2, offset);
                assert_eq!(keys.latest(), offset);
                offset += 1;
            }
            assert_eq!((keys.len(), last.len()), (expected, expected), "nine tenths of {slots} slots");
            for (key, offset) in &last {
                assert_eq!(keys.offset_of(format!("key {key}").as_bytes()), Some(*offset), "key {key}");
            }
            assert_eq!((keys.offset_of(b"another"), keys.offset_of(b"")), (None, None));
            assert_eq!(keys.latest(), offset - 1);
            keys.reached(i64::MAX);
            keys.reached(3);
            assert_eq!(keys.latest(), i64::MAX);
        }
    }
}
