//! The bytes of one journal group, which one write makes durable: a header, then entries, padded to whole blocks; then
//! blocks of segments that hold large batches ([`super::image`]). A closing group has no entries.
//!
//! ```text
//! header, 64 bytes, little-endian          entry, 48 bytes, then its payload, padded to 8
//!  0  u32  magic "TMG1"                     0  u8   kind (1 batch, 2 log start, 3 batch in a segment's blocks)
//!  4  u16  version (2)                      1  u8x3 zero
//!  6  u16  flags (1: flushed)               4  u32  payload bytes
//!  8  u64  journal id                       8  u8x16 topic id
//! 16  u64  sequence                        24  i32  partition
//! 24  u64  session                         28  i32  leader epoch
//! 32  u32  lap                             32  i64  base offset
//! 36  u32  total bytes (whole blocks)      40  u32  payload's checksum
//! 40  u32  entries                         44  u32  kind 3: the payload's position in the group; else zero
//! 44  u32  used bytes
//! 48  u32  checksum of the previous group
//! 52  u32  checksum: CRC-32C of this header with 0 here, then of every entry's 48 bytes
//! 56  u64  flushed: groups up to this sequence were on stable storage when this group was sealed
//! ```
//!
//! A batch's payload checksum is the batch's own CRC-32C (from `attributes` to its end), so the journal does not read
//! the record bytes again. The fields that this CRC does not cover (offset, length, epoch, magic) are in the entry, and
//! the reader compares them. A log start has no payload: the partition's log begins at the entry's base offset. The
//! payload of kind 3 is not behind its entry, but at a position behind the group's own blocks.
//!
//! Version 1 had no kind 3. Its groups are read as before.
//!
//! Three checks keep bytes of an earlier lap from being replayed: the sequence number must be the expected one, the
//! session must not go back, and each group must carry the checksum of the previous group.

use super::image::{IMAGE_BYTES_MIN, ImageBatch, Place, Ranges, image_room};
use super::sequence::Sequence;
use crate::disk::{BLOCK_BYTES, block_ceil};
use crate::model::{LeaderEpoch, Offset, TopicId, TopicPartition};
use crate::runtime::buf::{AlignedBuf, OverBudget, Slices};
use crate::runtime::clock::Mono;

/// Bytes of a group's header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of an entry, without its payload.
pub const ENTRY_BYTES: usize = 48;
const MAGIC: u32 = u32::from_le_bytes(*b"TMG1");
const VERSION: u16 = 2;
const VERSION_MIN: u16 = 1;
const FLAG_FLUSHED: u16 = 1;
const KIND_BATCH: u8 = 1;
const KIND_LOG_START: u8 = 2;
const KIND_IMAGE_BATCH: u8 = 3;
/// The position in a v2 batch from which its CRC covers the bytes; see `record::header`.
const BATCH_CRC_FROM: usize = 21;

const _: () =
    assert!(HEADER_BYTES.is_multiple_of(8) && ENTRY_BYTES.is_multiple_of(8), "payloads are aligned to 8 bytes");

/// The bytes that a batch of `bytes` takes in a group.
pub fn entry_room(bytes: usize) -> usize {
    ENTRY_BYTES + bytes.next_multiple_of(8)
}

/// The meaning of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A batch that begins at the entry's offset.
    Batch,
    /// The partition's log start moves to the entry's offset.
    LogStart,
}

/// An entry, without its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalEntry {
    /// A batch or a log start.
    pub kind: EntryKind,
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch of the batch.
    pub leader_epoch: LeaderEpoch,
    /// A batch's first offset, or the new log start.
    pub base_offset: Offset,
}

/// A group's identity and its position in the sequence of groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupIdentity {
    /// The random number of the journal.
    pub journal_id: u64,
    /// Counts the starts of the shard. It never decreases from group to group.
    pub session: u64,
    /// Increases by one from group to group, over all files and sessions.
    pub sequence: Sequence,
    /// How often the journal has wrapped around to its first file.
    pub lap: u32,
    /// The checksum of the group before this one; 0 for the first.
    pub previous_checksum: u32,
    /// Groups up to this sequence were on stable storage when the group was sealed: a missing one among them is lost
    /// data.
    pub flushed: Sequence,
}

/// A group that entries are added to.
pub struct GroupBuilder {
    buf: AlignedBuf,
    used: usize,
    /// The most bytes of header, entries and copied batches.
    limit: usize,
    /// The most bytes of the whole group.
    total_max: usize,
    entries: u32,
    ranges: Ranges,
    /// The entries of batches in `ranges`: the position of each in `buf`, and its batch.
    placed: Vec<(usize, Place)>,
    flushed: bool,
}

/// A group that is ready to be written.
pub struct SealedGroup {
    /// Its own blocks, then blocks of segments.
    pub bytes: Slices,
    /// The bytes that it takes in the journal.
    pub total_bytes: usize,
    /// The bytes of the last blocks of its ranges, which are copied.
    pub copied_bytes: usize,
    /// The group's checksum.
    pub checksum: u32,
}

impl GroupBuilder {
    /// An empty group with room for at least `room` bytes of entries, and for at most `file_bytes` in total. A group
    /// must fit a file, and the buffer may be larger than requested.
    pub fn new(room: usize, file_bytes: usize) -> Result<GroupBuilder, OverBudget> {
        assert!(file_bytes.is_multiple_of(BLOCK_BYTES), "a file's groups are whole blocks");
        let buf = AlignedBuf::alloc(block_ceil(HEADER_BYTES + room))?;
        let limit = buf.capacity().min(file_bytes);
        Ok(GroupBuilder {
            buf,
            used: HEADER_BYTES,
            limit,
            total_max: limit,
            entries: 0,
            ranges: Ranges::default(),
            placed: Vec::new(),
            flushed: false,
        })
    }

    /// As [`new`](Self::new), with room for a batch of `bytes`.
    pub fn for_batch(bytes: usize, room: usize, file_bytes: usize) -> Result<GroupBuilder, OverBudget> {
        if bytes < IMAGE_BYTES_MIN {
            return GroupBuilder::new(room.max(entry_room(bytes)), file_bytes);
        }
        let group = GroupBuilder::new(room, file_bytes)?;
        let total_max = group.total_max.max(BLOCK_BYTES + image_room(bytes)).min(file_bytes);
        Ok(GroupBuilder { total_max, ..group })
    }

    /// A group without entries, which is flushed.
    pub fn closing() -> Result<GroupBuilder, OverBudget> {
        Ok(GroupBuilder { flushed: true, ..GroupBuilder::new(0, BLOCK_BYTES)? })
    }

    /// Whether no entry was added.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether a batch of `bytes` fits, or a log start if they are 0.
    pub fn has_room(&self, bytes: usize) -> bool {
        let (copied, ranges, in_ranges) = match bytes {
            IMAGE_BYTES_MIN.. => (entry_room(0), 1, image_room(bytes)),
            // The batch may join a range, and take one more block of it.
            _ if !self.placed.is_empty() => (entry_room(bytes), 0, BLOCK_BYTES),
            _ => (entry_room(bytes), 0, 0),
        };
        let used = self.used + copied;
        let copied_blocks = (self.ranges.count() + ranges) * BLOCK_BYTES;
        let own_bytes = if copied_blocks == 0 { used } else { block_ceil(used) + copied_blocks };
        own_bytes <= self.limit && block_ceil(used) + self.ranges.total_bytes() + in_ranges <= self.total_max
    }

    /// Whether the group takes a batch from its log's memory: a large batch, or a batch that continues a range.
    pub fn takes_image(&self, segment: u64, position: u64, bytes: usize) -> bool {
        bytes >= IMAGE_BYTES_MIN || self.ranges.end_at(segment, position)
    }

    /// Whether an entry promises stable storage, or the group is a closing one.
    pub fn needs_flush(&self) -> bool {
        self.flushed
    }

    /// Adds one batch, given as its header (with offset and epoch) and its records, and copies it.
    /// [`has_room`](Self::has_room) is true. `flush`: the batch's acknowledgement promises stable storage.
    pub fn push(&mut self, entry: JournalEntry, header: &[u8], records: &[u8], flush: bool) {
        let bytes = header.len() + records.len();
        let payload = self.push_entry(KIND_BATCH, entry, bytes, batch_crc(entry, header));
        let buf = &mut self.buf;
        let split = payload + header.len();
        let end = split + records.len();
        let padded = payload + bytes.next_multiple_of(8);
        assert!(payload < end && padded <= self.limit, "the padded payload lies inside the group");
        buf[payload..split].copy_from_slice(header);
        buf[split..end].copy_from_slice(records);
        buf[end..padded].fill(0);
        self.used = padded;
        self.flushed |= flush;
    }

    /// Adds one batch that lies in its log's memory, without a copy. [`has_room`](Self::has_room) is true. False: the
    /// batch is small and continues no range, so it must be copied.
    pub fn push_image(&mut self, entry: JournalEntry, header: &[u8], image: ImageBatch, flush: bool) -> bool {
        let bytes = image.bytes;
        let place = match self.ranges.extend(image) {
            Ok(place) => place,
            Err(image) if bytes >= IMAGE_BYTES_MIN => self.ranges.begin(image),
            Err(_) => return false,
        };
        let at = self.used;
        self.used = self.push_entry(KIND_IMAGE_BATCH, entry, bytes, batch_crc(entry, header));
        self.placed.push((at, place));
        self.flushed |= flush;
        let own_bytes = block_ceil(self.used) + self.ranges.count() * BLOCK_BYTES;
        assert!(own_bytes <= self.limit && self.total_bytes() <= self.total_max, "the caller checks the room first");
        true
    }

    /// Adds a log start, which always promises stable storage. The caller has checked that [`entry_room`] of 0 bytes
    /// fits.
    pub fn push_log_start(&mut self, entry: JournalEntry) {
        assert!(entry.kind == EntryKind::LogStart, "the entry has no payload");
        assert!(entry.base_offset >= Offset::ZERO, "a log start is an offset");
        self.used = self.push_entry(KIND_LOG_START, entry, 0, 0);
        self.flushed = true;
    }

    /// Writes the entry's 48 bytes and returns the position of its payload.
    fn push_entry(&mut self, kind: u8, entry: JournalEntry, bytes: usize, crc: u32) -> usize {
        let at = self.used;
        assert!(at + ENTRY_BYTES <= self.limit, "the caller checks the room first");
        let head = &mut self.buf[at..at + ENTRY_BYTES];
        head.fill(0);
        head[0] = kind;
        head[4..8].copy_from_slice(&(bytes as u32).to_le_bytes());
        head[8..24].copy_from_slice(&entry.partition.topic.0);
        head[24..28].copy_from_slice(&entry.partition.partition.to_le_bytes());
        head[28..32].copy_from_slice(&entry.leader_epoch.0.to_le_bytes());
        head[32..40].copy_from_slice(&entry.base_offset.0.to_le_bytes());
        head[40..44].copy_from_slice(&crc.to_le_bytes());
        self.entries += 1;
        at + ENTRY_BYTES
    }

    /// The bytes that the group takes in the journal.
    pub fn total_bytes(&self) -> usize {
        block_ceil(self.used) + self.ranges.total_bytes()
    }

    /// Writes the header, zeroes the padding of the entries, and notes the positions of the batches in the ranges.
    pub fn seal(mut self, identity: GroupIdentity) -> SealedGroup {
        let (own_bytes, total) = (block_ceil(self.used), self.total_bytes());
        assert!(identity.flushed < identity.sequence, "JRN-1: a group is not flushed before it is sealed");
        let copies = self.ranges.count() * BLOCK_BYTES;
        assert!(own_bytes + copies <= self.buf.capacity(), "the padding and the copied blocks lie inside the buffer");
        self.buf[self.used..own_bytes].fill(0);
        let position_of = self.ranges.positions(own_bytes);
        for (at, place) in &self.placed {
            self.buf[at + 44..at + 48].copy_from_slice(&(position_of(*place) as u32).to_le_bytes());
        }
        let header = &mut self.buf[..HEADER_BYTES];
        header.fill(0);
        header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[4..6].copy_from_slice(&VERSION.to_le_bytes());
        header[6..8].copy_from_slice(&(if self.flushed { FLAG_FLUSHED } else { 0 }).to_le_bytes());
        header[8..16].copy_from_slice(&identity.journal_id.to_le_bytes());
        header[16..24].copy_from_slice(&identity.sequence.0.to_le_bytes());
        header[24..32].copy_from_slice(&identity.session.to_le_bytes());
        header[32..36].copy_from_slice(&identity.lap.to_le_bytes());
        header[36..40].copy_from_slice(&(total as u32).to_le_bytes());
        header[40..44].copy_from_slice(&self.entries.to_le_bytes());
        header[44..48].copy_from_slice(&(self.used as u32).to_le_bytes());
        header[48..52].copy_from_slice(&identity.previous_checksum.to_le_bytes());
        header[56..64].copy_from_slice(&identity.flushed.0.to_le_bytes());
        let checksum = checksum(&self.buf[..self.used], self.entries).expect("the builder wrote whole entries");
        self.buf[52..56].copy_from_slice(&checksum.to_le_bytes());
        let mut copied = 0;
        let copy_at = |number: usize| own_bytes + number * BLOCK_BYTES;
        for (number, last) in self.ranges.last_bytes().enumerate() {
            let block = &mut self.buf[copy_at(number)..][..BLOCK_BYTES];
            block[..last.len()].copy_from_slice(last);
            block[last.len()..].fill(0);
            copied += last.len();
        }
        let buf = self.buf.freeze();
        let own = buf.slice(0..own_bytes);
        let bytes = if self.placed.is_empty() {
            Slices::One(own)
        } else {
            let blocks = self.ranges.into_blocks(|number| buf.slice(copy_at(number)..copy_at(number) + BLOCK_BYTES));
            Slices::Many(std::iter::once(own).chain(blocks).collect())
        };
        assert_eq!(bytes.bytes(), total, "the write is exactly the group");
        SealedGroup { bytes, total_bytes: total, copied_bytes: copied, checksum }
    }
}

/// The checksum that a batch's entry repeats.
fn batch_crc(entry: JournalEntry, header: &[u8]) -> u32 {
    assert!(header.len() > BATCH_CRC_FROM && entry.kind == EntryKind::Batch, "the entry is a batch");
    u32::from_be_bytes(header[17..21].try_into().expect("4 bytes"))
}

/// The bytes of a payload that follow its entry, with their padding.
fn following_bytes(head: &[u8]) -> Option<usize> {
    let payload = u32::from_le_bytes(head[4..8].try_into().ok()?) as usize;
    if head[0] == KIND_IMAGE_BATCH { Some(0) } else { payload.checked_next_multiple_of(8) }
}

/// CRC-32C of the header (with zero as its checksum) and of every entry without its payload. `None` when the entries do
/// not fill the bytes exactly.
fn checksum(group: &[u8], entries: u32) -> Option<u32> {
    let mut crc = crc32c::crc32c(&group[..52]);
    crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc = crc32c::crc32c_append(crc, &group[56..HEADER_BYTES]);
    let mut at = HEADER_BYTES;
    for _ in 0..entries {
        let head = group.get(at..at.checked_add(ENTRY_BYTES)?)?;
        crc = crc32c::crc32c_append(crc, head);
        at = at.checked_add(ENTRY_BYTES + following_bytes(head)?)?;
    }
    (at == group.len()).then_some(crc)
}

/// A group's header as read from disk. Its fields are plausible, and the checksum is not verified yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupHeader {
    /// Identity and position.
    pub identity: GroupIdentity,
    /// An entry promises stable storage, or this is a closing group, so the group was flushed.
    pub is_flushed: bool,
    /// The group's bytes on disk, in whole blocks.
    pub total_bytes: usize,
    /// The number of entries; 0 in a closing group.
    pub entries: u32,
    /// The header, the entries and the copied batches, without the padding.
    pub used_bytes: usize,
    /// CRC-32C of the header and of each entry's 48 bytes.
    pub checksum: u32,
}

impl GroupHeader {
    /// Whether this group, if it is whole, proves that the group `sequence` was on stable storage.
    pub fn proves(&self, sequence: Sequence) -> bool {
        self.identity.sequence > sequence && self.identity.flushed >= sequence
    }

    /// The header at the start of `bytes`, if they are plausible as one.
    pub fn parse(bytes: &[u8]) -> Option<GroupHeader> {
        let header = bytes.get(..HEADER_BYTES)?;
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let version = u16::from_le_bytes([header[4], header[5]]);
        let flags = u16::from_le_bytes([header[6], header[7]]);
        let (total_bytes, used_bytes) = (u32_at(36) as usize, u32_at(44) as usize);
        let fits = total_bytes.is_multiple_of(BLOCK_BYTES) && used_bytes >= HEADER_BYTES && used_bytes <= total_bytes;
        (u32_at(0) == MAGIC && (VERSION_MIN..=VERSION).contains(&version) && fits).then(|| GroupHeader {
            identity: GroupIdentity {
                journal_id: u64_at(8),
                sequence: Sequence(u64_at(16)),
                session: u64_at(24),
                lap: u32_at(32),
                previous_checksum: u32_at(48),
                flushed: Sequence(u64_at(56)),
            },
            is_flushed: flags & FLAG_FLUSHED != 0,
            total_bytes,
            entries: u32_at(40),
            used_bytes,
            checksum: u32_at(52),
        })
    }
}

/// Why the bytes of a group are rejected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// The header or an entry has changed since it was written, or the write was torn.
    #[error("the group's header and entries do not match their checksum")]
    Header,
    /// An entry is illegal, or disagrees with its batch.
    #[error("entry {entry}: {what}")]
    Payload {
        /// The entry's position in the group, from 0.
        entry: u32,
        /// The rule that the entry breaks.
        what: &'static str,
    },
}

/// Verifies a group and returns its entries, each with its payload (empty for a log start). The checksum of header and
/// entries is verified first, then each payload's. `group` is exactly `header.total_bytes` long.
pub fn read_entries<'a>(header: &GroupHeader, group: &'a [u8]) -> Result<Vec<(JournalEntry, &'a [u8])>, Damage> {
    let used = group.get(..header.used_bytes).ok_or(Damage::Header)?;
    if checksum(used, header.entries) != Some(header.checksum) {
        return Err(Damage::Header);
    }
    let mut entries = Vec::with_capacity((header.entries as usize).min(used.len() / ENTRY_BYTES));
    let mut at = HEADER_BYTES;
    for number in 0..header.entries {
        // `checksum` has walked the same lengths, so the slices below are in bounds.
        let head = &used[at..at + ENTRY_BYTES];
        let i32_at = |at: usize| i32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let payload_bytes = i32_at(4) as u32 as usize;
        let damage = |what| Damage::Payload { entry: number, what };
        let payload = if head[0] == KIND_IMAGE_BATCH {
            let from = i32_at(44) as u32 as usize;
            let blocks = group.get(..from + payload_bytes).filter(|_| from >= block_ceil(header.used_bytes));
            &blocks.ok_or_else(|| damage("a batch that is not in the group's blocks"))?[from..]
        } else {
            &used[at + ENTRY_BYTES..at + ENTRY_BYTES + payload_bytes]
        };
        let entry = JournalEntry {
            kind: match head[0] {
                KIND_BATCH | KIND_IMAGE_BATCH => EntryKind::Batch,
                KIND_LOG_START => EntryKind::LogStart,
                _ => return Err(damage("an entry kind that this build does not know")),
            },
            partition: TopicPartition {
                topic: TopicId(head[8..24].try_into().expect("16 bytes")),
                partition: i32_at(24),
            },
            leader_epoch: LeaderEpoch(i32_at(28)),
            base_offset: Offset(i64::from_le_bytes(head[32..40].try_into().expect("8 bytes"))),
        };
        match entry.kind {
            EntryKind::Batch => verify_batch(&entry, i32_at(40) as u32, payload).map_err(damage)?,
            EntryKind::LogStart if entry.base_offset < Offset::ZERO || !payload.is_empty() => {
                return Err(damage("a log start with a negative offset or with a payload"));
            }
            EntryKind::LogStart => {}
        }
        entries.push((entry, payload));
        at += ENTRY_BYTES + following_bytes(head).ok_or(Damage::Header)?;
    }
    Ok(entries)
}

/// Compares a batch with its entry, and verifies its CRC.
fn verify_batch(entry: &JournalEntry, crc: u32, payload: &[u8]) -> Result<(), &'static str> {
    if payload.len() <= BATCH_CRC_FROM {
        return Err("a batch shorter than its header");
    }
    let i32_at = |at: usize| i32::from_be_bytes(payload[at..at + 4].try_into().expect("4 bytes"));
    if payload[0..8] != entry.base_offset.0.to_be_bytes() || i32_at(12) != entry.leader_epoch.0 {
        return Err("the batch's offset or epoch is not the entry's");
    }
    if i32_at(8) as usize + 12 != payload.len() || payload[16] != 2 {
        return Err("the batch's length or magic is wrong");
    }
    if i32_at(17) as u32 != crc || crc32c::crc32c(&payload[BATCH_CRC_FROM..]) != crc {
        return Err("the batch does not match its checksum");
    }
    Ok(())
}

/// A sealed group whose write is in flight, or waits for an earlier one.
pub(super) struct InFlightGroup {
    pub sequence: Sequence,
    pub is_flushed: bool,
    pub is_written: bool,
    /// The bytes of its write.
    pub bytes: u64,
    /// The time of its first entry.
    pub since: Mono,
    /// The start of its write.
    pub sealed: Mono,
    /// If it is flushed: the unflushed bytes written so far, which its flush covers.
    pub covers: u64,
}
