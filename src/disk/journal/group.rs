//! The bytes of one group commit.
//!
//! A group is what one write makes durable: a header, then entries, padded to whole blocks.
//!
//! ```text
//! header, 64 bytes, little-endian          entry, 48 bytes, then its payload, padded to 8
//!  0  u32  magic "TMG1"                     0  u8   kind (1 batch, 2 log start)
//!  4  u16  version (1)                      1  u8x3 zero
//!  6  u16  flags (1: flushed)               4  u32  payload bytes
//!  8  u64  journal id                       8  u8x16 topic id
//! 16  u64  sequence                        24  i32  partition
//! 24  u64  session                         28  i32  leader epoch
//! 32  u32  lap                             32  i64  base offset
//! 36  u32  total bytes (whole blocks)      40  u32  payload's checksum
//! 40  u32  entries                         44  u32  zero
//! 44  u32  used bytes
//! 48  u32  checksum of the group before
//! 52  u32  checksum: CRC-32C of this header with 0 here, then of every entry's 48 bytes
//! 56  u64  flushed: groups up to this sequence were on stable storage when this one was sealed
//! ```
//!
//! A batch's payload checksum is the CRC-32C that the batch carries itself (over `attributes` to its end), so the
//! journal need not read the record bytes again; what that CRC leaves out (offset, length, epoch, magic) the
//! entry states, and the reader compares. A log start has no payload: the partition's log begins at its base offset.
//!
//! Three things keep recycled bytes of an earlier lap from being read as data: the sequence number must be the
//! expected one, the session must not go back, and each group carries the checksum of the group before it.

use crate::disk::{BLOCK_BYTES, block_ceil};
use crate::model::{LeaderEpoch, Offset, TopicId, TopicPartition};
use crate::runtime::buf::{AlignedBuf, OverBudget};

pub const HEADER_BYTES: usize = 64;
pub const ENTRY_BYTES: usize = 48;
const MAGIC: u32 = u32::from_le_bytes(*b"TMG1");
const VERSION: u16 = 1;
const FLAG_FLUSHED: u16 = 1;
const KIND_BATCH: u8 = 1;
const KIND_LOG_START: u8 = 2;
/// Bytes of a v2 batch before its CRC's reach; see `record::header`.
const BATCH_CRC_FROM: usize = 21;

/// Room that one batch of `bytes` takes in a group.
pub fn entry_room(bytes: usize) -> usize {
    ENTRY_BYTES + bytes.next_multiple_of(8)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A batch, which begins at the entry's offset.
    Batch,
    /// The partition's log begins at the entry's offset from here on.
    LogStart,
}

/// What an entry says, but for a batch's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalEntry {
    pub kind: EntryKind,
    pub partition: TopicPartition,
    pub leader_epoch: LeaderEpoch,
    pub base_offset: Offset,
}

/// Where a group stands among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupIdentity {
    pub journal_id: u64,
    pub session: u64,
    pub sequence: u64,
    pub lap: u32,
    pub previous_checksum: u32,
    /// Groups up to this one were on stable storage by then: where one of them is missing, it was lost.
    pub flushed: u64,
}

/// A group being filled.
pub struct GroupBuilder {
    buf: AlignedBuf,
    used: usize,
    /// What it may grow to.
    limit: usize,
    entries: u32,
    flushed: bool,
}

impl GroupBuilder {
    /// An empty group with room for at least `room` bytes of entries, if `file_bytes` have it: a group has to fit a file, and
    /// a buffer may be larger than was asked for.
    pub fn new(room: usize, file_bytes: usize) -> Result<GroupBuilder, OverBudget> {
        let buf = AlignedBuf::alloc(block_ceil(HEADER_BYTES + room))?;
        let limit = buf.capacity().min(file_bytes);
        Ok(GroupBuilder { buf, used: HEADER_BYTES, limit, entries: 0, flushed: false })
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub fn has_room(&self, bytes: usize) -> bool {
        self.used + bytes <= self.limit
    }

    pub fn needs_flush(&self) -> bool {
        self.flushed
    }

    /// Adds one batch, given as its header (offset and epoch in identity) and the rest. The caller has made sure of
    /// [`entry_room`]. `flush`: whether the batch's acknowledgement promises stable storage.
    pub fn push(&mut self, entry: JournalEntry, header: &[u8], records: &[u8], flush: bool) {
        let bytes = header.len() + records.len();
        assert!(header.len() > BATCH_CRC_FROM && entry.kind == EntryKind::Batch, "it is a batch");
        let crc = u32::from_be_bytes(header[17..21].try_into().expect("4 bytes"));
        let payload = self.push_head(KIND_BATCH, entry, bytes, crc);
        let buf = &mut self.buf;
        let split = payload + header.len();
        let end = split + records.len();
        let padded = payload + bytes.next_multiple_of(8);
        buf[payload..split].copy_from_slice(header);
        buf[split..end].copy_from_slice(records);
        buf[end..padded].fill(0);
        self.used = padded;
        self.flushed |= flush;
    }

    /// Adds where a log begins, which is always promised to be on stable storage. The caller has made sure of
    /// [`entry_room`] for nothing.
    pub fn push_log_start(&mut self, entry: JournalEntry) {
        assert!(entry.kind == EntryKind::LogStart, "it has no bytes");
        self.used = self.push_head(KIND_LOG_START, entry, 0, 0);
        self.flushed = true;
    }

    /// Answers where the entry's bytes go.
    fn push_head(&mut self, kind: u8, entry: JournalEntry, bytes: usize, crc: u32) -> usize {
        assert!(self.has_room(entry_room(bytes)), "the caller reserves first");
        let at = self.used;
        let head = &mut self.buf[at..at + ENTRY_BYTES];
        head.fill(0);
        head[0] = kind;
        head[4..8].copy_from_slice(&(bytes as u32).to_le_bytes());
        head[8..24].copy_from_slice(&entry.partition.topic.0);
        head[24..28].copy_from_slice(&entry.partition.partition.to_le_bytes());
        head[28..32].copy_from_slice(&entry.leader_epoch.to_le_bytes());
        head[32..40].copy_from_slice(&entry.base_offset.to_le_bytes());
        head[40..44].copy_from_slice(&crc.to_le_bytes());
        self.entries += 1;
        at + ENTRY_BYTES
    }

    /// How many bytes the group will take in the journal.
    pub fn total_bytes(&self) -> usize {
        block_ceil(self.used)
    }

    /// Closes the group: header written, padding zeroed. Answers the buffer, its length and the group's checksum.
    pub fn seal(mut self, identity: GroupIdentity) -> (AlignedBuf, usize, u32) {
        let total = self.total_bytes();
        self.buf[self.used..total].fill(0);
        let header = &mut self.buf[..HEADER_BYTES];
        header.fill(0);
        header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[4..6].copy_from_slice(&VERSION.to_le_bytes());
        header[6..8].copy_from_slice(&(if self.flushed { FLAG_FLUSHED } else { 0 }).to_le_bytes());
        header[8..16].copy_from_slice(&identity.journal_id.to_le_bytes());
        header[16..24].copy_from_slice(&identity.sequence.to_le_bytes());
        header[24..32].copy_from_slice(&identity.session.to_le_bytes());
        header[32..36].copy_from_slice(&identity.lap.to_le_bytes());
        header[36..40].copy_from_slice(&(total as u32).to_le_bytes());
        header[40..44].copy_from_slice(&self.entries.to_le_bytes());
        header[44..48].copy_from_slice(&(self.used as u32).to_le_bytes());
        header[48..52].copy_from_slice(&identity.previous_checksum.to_le_bytes());
        header[56..64].copy_from_slice(&identity.flushed.to_le_bytes());
        let checksum = checksum(&self.buf[..self.used], self.entries).expect("the builder lays entries out itself");
        self.buf[52..56].copy_from_slice(&checksum.to_le_bytes());
        (self.buf, total, checksum)
    }
}

/// CRC-32C of the header (with its checksum field as zero) and of every entry's head; `None` when the entries
/// do not fit the bytes.
fn checksum(group: &[u8], entries: u32) -> Option<u32> {
    let mut crc = crc32c::crc32c(&group[..52]);
    crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc = crc32c::crc32c_append(crc, &group[56..HEADER_BYTES]);
    let mut at = HEADER_BYTES;
    for _ in 0..entries {
        let head = group.get(at..at.checked_add(ENTRY_BYTES)?)?;
        crc = crc32c::crc32c_append(crc, head);
        let payload = u32::from_le_bytes(head[4..8].try_into().ok()?) as usize;
        at = at.checked_add(ENTRY_BYTES + payload.checked_next_multiple_of(8)?)?;
    }
    (at == group.len()).then_some(crc)
}

/// A group's header as found on disk. Its own fields are plausible; nothing is verified yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupHeader {
    pub identity: GroupIdentity,
    pub is_flushed: bool,
    pub total_bytes: usize,
    pub entries: u32,
    pub used_bytes: usize,
    pub checksum: u32,
}

impl GroupHeader {
    /// Whether this group, being whole, is proof that the group `sequence` was once on stable storage.
    pub fn proves(&self, sequence: u64) -> bool {
        self.identity.sequence > sequence && self.identity.flushed >= sequence
    }

    /// The header at the start of `bytes`, if they look like one of this format.
    pub fn parse(bytes: &[u8]) -> Option<GroupHeader> {
        let header = bytes.get(..HEADER_BYTES)?;
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let version = u16::from_le_bytes([header[4], header[5]]);
        let flags = u16::from_le_bytes([header[6], header[7]]);
        let (total_bytes, used_bytes) = (u32_at(36) as usize, u32_at(44) as usize);
        let fits = total_bytes.is_multiple_of(BLOCK_BYTES) && used_bytes >= HEADER_BYTES && used_bytes <= total_bytes;
        (u32_at(0) == MAGIC && version == VERSION && fits).then(|| GroupHeader {
            identity: GroupIdentity {
                journal_id: u64_at(8),
                sequence: u64_at(16),
                session: u64_at(24),
                lap: u32_at(32),
                previous_checksum: u32_at(48),
                flushed: u64_at(56),
            },
            is_flushed: flags & FLAG_FLUSHED != 0,
            total_bytes,
            entries: u32_at(40),
            used_bytes,
            checksum: u32_at(52),
        })
    }
}

/// Why the bytes at a identity are not the group that belongs there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    #[error("the group's header and entries do not match their checksum")]
    Header,
    #[error("entry {entry}: {what}")]
    Payload { entry: u32, what: &'static str },
}

/// The entries of a whole group, each with its payload (none of a log start), and verified: header and entry checksum
/// first, then every payload's own.
/// `group` is exactly `header.total_bytes` long.
pub fn read_entries<'a>(header: &GroupHeader, group: &'a [u8]) -> Result<Vec<(JournalEntry, &'a [u8])>, Damage> {
    let used = group.get(..header.used_bytes).ok_or(Damage::Header)?;
    if checksum(used, header.entries) != Some(header.checksum) {
        return Err(Damage::Header);
    }
    let mut entries = Vec::with_capacity((header.entries as usize).min(used.len() / ENTRY_BYTES));
    let mut at = HEADER_BYTES;
    for number in 0..header.entries {
        // `checksum` has walked the same lengths, so the slices below exist.
        let head = &used[at..at + ENTRY_BYTES];
        let i32_at = |at: usize| i32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let payload_bytes = i32_at(4) as u32 as usize;
        let payload = &used[at + ENTRY_BYTES..at + ENTRY_BYTES + payload_bytes];
        let damage = |what| Damage::Payload { entry: number, what };
        let entry = JournalEntry {
            kind: match head[0] {
                KIND_BATCH => EntryKind::Batch,
                KIND_LOG_START => EntryKind::LogStart,
                _ => return Err(damage("an entry kind that this version does not know")),
            },
            partition: TopicPartition {
                topic: TopicId(head[8..24].try_into().expect("16 bytes")),
                partition: i32_at(24),
            },
            leader_epoch: i32_at(28),
            base_offset: i64::from_le_bytes(head[32..40].try_into().expect("8 bytes")),
        };
        match entry.kind {
            EntryKind::Batch => verify_batch(&entry, i32_at(40) as u32, payload).map_err(damage)?,
            EntryKind::LogStart if entry.base_offset < 0 || !payload.is_empty() => {
                return Err(damage("a log start that is none"));
            }
            EntryKind::LogStart => {}
        }
        entries.push((entry, payload));
        at += ENTRY_BYTES + payload_bytes.next_multiple_of(8);
    }
    Ok(entries)
}

fn verify_batch(entry: &JournalEntry, crc: u32, payload: &[u8]) -> Result<(), &'static str> {
    if payload.len() <= BATCH_CRC_FROM {
        return Err("a batch shorter than its header");
    }
    let i32_at = |at: usize| i32::from_be_bytes(payload[at..at + 4].try_into().expect("4 bytes"));
    if payload[0..8] != entry.base_offset.to_be_bytes() || i32_at(12) != entry.leader_epoch {
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
