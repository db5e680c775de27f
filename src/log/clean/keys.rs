//! The key map: the latest offset of each key in the part of a log that was never compacted. Kafka's `SkimpyOffsetMap`.
//!
//! Blocks of the shard's memory form one open-addressing table of 24 bytes per key: 16 of a keyed hash, 8 of the
//! offset. The keys themselves are not stored: the 128-bit hash has a random secret, so collisions are infeasible to
//! find, by accident or on purpose. (For Kafka's MD5 they can be found.)

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::model::Offset;
use crate::runtime::buf::BLOCK_BYTES_MAX;
use crate::runtime::{self, AlignedBuf};

/// A slot: the hash, then offset + 1, where 0 marks a free slot.
pub const SLOT_BYTES: usize = 24;
/// Slots in one block.
pub const BLOCK_SLOTS: usize = BLOCK_BYTES_MAX / SLOT_BYTES;

/// The key map of a round.
pub struct Keys {
    blocks: Vec<AlignedBuf>,
    slots: usize,
    count: usize,
    load_factor: f64,
    hasher: SipHasher13,
    /// The map covers all offsets from its begin up to this one.
    latest: Offset,
}

impl Keys {
    /// A map without slots. It is full when `load_factor` of its slots are taken.
    pub fn new(load_factor: f64) -> Keys {
        let mut secret = [0; 16];
        runtime::random_bytes(&mut secret);
        let hasher = SipHasher13::new_with_key(&secret);
        Keys { blocks: Vec::new(), slots: 0, count: 0, load_factor, hasher, latest: Offset::UNKNOWN }
    }

    /// Adds `slots` free slots in one block. All blocks are added before the first key.
    pub fn add(&mut self, mut block: AlignedBuf, slots: usize) {
        assert!(
            self.count == 0 && self.slots == self.blocks.len() * BLOCK_SLOTS,
            "blocks are added before keys, and only the last one has fewer slots"
        );
        assert!(
            slots <= BLOCK_SLOTS && slots * SLOT_BYTES <= block.capacity(),
            "{slots} slots in {} bytes",
            block.capacity()
        );
        block[..slots * SLOT_BYTES].fill(0);
        self.blocks.push(block);
        self.slots += slots;
    }

    fn count_max(&self) -> usize {
        assert!(self.slots > 1, "one slot stays free, so that every search ends");
        ((self.slots as f64 * self.load_factor) as usize).clamp(1, self.slots - 1)
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the map has no key.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The last offset that the map covers; -1 if it covers none.
    pub fn latest(&self) -> Offset {
        self.latest
    }

    /// Notes that all records up to `offset` were read.
    pub fn reached(&mut self, offset: Offset) {
        self.latest = self.latest.max(offset);
    }

    /// Notes that a record at `offset`, behind all earlier ones, has `key`. Returns false if the map is full: then it
    /// covers no more offsets.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        if self.count >= self.count_max() {
            return false;
        }
        assert!(offset > self.latest, "CLEAN-1: the key at {offset} is not behind {}", self.latest);
        let hash = self.hash(key);
        let (block, at) = self.find(&hash);
        let slot = &mut self.blocks[block][at..at + SLOT_BYTES];
        if slot[16..] == [0; 8] {
            slot[..16].copy_from_slice(&hash);
            self.count += 1;
        }
        slot[16..].copy_from_slice(&(offset.0 + 1).to_le_bytes());
        self.latest = offset;
        true
    }

    /// The latest offset of `key` among the covered offsets.
    pub fn offset_of(&self, key: &[u8]) -> Option<Offset> {
        let (block, at) = self.find(&self.hash(key));
        let stored = &self.blocks[block][at + 16..at + SLOT_BYTES];
        let stored = i64::from_le_bytes(stored.try_into().expect("8 bytes"));
        (stored > 0).then(|| Offset(stored - 1))
    }

    fn hash(&self, key: &[u8]) -> [u8; 16] {
        let mut hasher = self.hasher;
        hasher.write(key);
        hasher.finish128().as_bytes()
    }

    /// The slot of the hash, or the free slot for it: a block and a position in it.
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
    fn full_map_refuses_keys_and_keeps_all_earlier_ones() {
        // One partial block; one full block and a partial one behind it.
        for (slots, expected) in [(170, 153), (BLOCK_SLOTS + 9, 39_329)] {
            let mut keys = Keys::new(0.9);
            for at in (0..slots).step_by(BLOCK_SLOTS) {
                keys.add(AlignedBuf::alloc(BLOCK_BYTES_MAX).unwrap(), (slots - at).min(BLOCK_SLOTS));
            }
            // Every key twice.
            let mut last = std::collections::HashMap::new();
            let mut offset = 0;
            while keys.put(format!("key {}", offset / 2).as_bytes(), Offset(offset)) {
                last.insert(offset / 2, offset);
                assert_eq!(keys.latest(), Offset(offset));
                offset += 1;
            }
            assert_eq!((keys.len(), last.len()), (expected, expected), "nine tenths of {slots} slots");
            for (key, offset) in &last {
                assert_eq!(keys.offset_of(format!("key {key}").as_bytes()), Some(Offset(*offset)), "key {key}");
            }
            assert_eq!((keys.offset_of(b"another"), keys.offset_of(b"")), (None, None));
            assert_eq!(keys.latest(), Offset(offset - 1));
            keys.reached(Offset(i64::MAX));
            keys.reached(Offset(3));
            assert_eq!(keys.latest(), Offset(i64::MAX));
        }
    }
}
