//! Walks bytes that hold one batch after another: a segment, a journal payload, a fetch response.
//!
//! The walk reads only sizes and magic, the first 17 bytes of each batch. [`Batch::is_intact`] reads the whole batch
//! and checks its CRC.

use crate::record::header::{BatchHeader, HEADER_BYTES, MAGIC, PREFIX_BYTES};

/// One whole batch and its position.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The decoded header. Only its length and magic are checked.
    pub header: BatchHeader,
    /// The whole batch, header included.
    pub bytes: &'a [u8],
    /// Its start in the walked buffer.
    pub position: usize,
}

impl<'a> Batch<'a> {
    /// The records as stored: the bytes after the header, still compressed.
    pub fn stored_records(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Whether the CRC matches.
    pub fn is_intact(&self) -> bool {
        self.header.crc_matches(self.bytes)
    }
}

/// Why a walk stopped before the end of the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// The bytes end inside a batch, as in a cut fetch response or after an interrupted write.
    #[error("the batch at {position} needs {needed} bytes and {available} are left")]
    Torn {
        /// The start of the batch in the walked buffer.
        position: usize,
        /// The bytes of the whole batch, or of a header.
        needed: usize,
        /// The bytes from the start of the batch.
        available: usize,
    },
    /// The bytes are not a batch.
    #[error("no batch at {position}: {reason}")]
    Corrupt {
        /// The start of the batch in the walked buffer.
        position: usize,
        /// The fault.
        reason: Corruption,
    },
}

impl Broken {
    /// The end of the last whole batch.
    pub fn position(&self) -> usize {
        match *self {
            Broken::Torn { position, .. } | Broken::Corrupt { position, .. } => position,
        }
    }
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Corruption {
    /// The batch would end inside its header.
    #[error("its length field is {0}, less than a batch header")]
    Length(i32),
    /// A message format before Kafka 0.11, or damage.
    #[error("its magic is {0}; only 2 is supported")]
    Magic(i8),
}

/// The batches in `bytes`, one after another. Ends after the first [`Broken`].
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, position: 0, is_over: false }
}

/// The iterator of [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    is_over: bool,
}

impl Batches<'_> {
    /// The end of the last batch that was returned.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over || self.position == self.bytes.len() {
            return None;
        }
        let item = batch_at(self.bytes, self.position);
        match &item {
            Ok(batch) => self.position += batch.bytes.len(),
            Err(_) => self.is_over = true,
        }
        Some(item)
    }
}

/// The batch that starts at `position`. `position` is at most `bytes.len()`.
pub fn batch_at(bytes: &[u8], position: usize) -> Result<Batch<'_>, Broken> {
    let rest = &bytes[position..];
    let torn = |needed| Broken::Torn { position, needed, available: rest.len() };
    let corrupt = |reason| Broken::Corrupt { position, reason };
    let length = rest.get(8..PREFIX_BYTES).ok_or(torn(HEADER_BYTES))?;
    let length = i32::from_be_bytes(length.try_into().expect("4 bytes"));
    if length < (HEADER_BYTES - PREFIX_BYTES) as i32 {
        return Err(corrupt(Corruption::Length(length)));
    }
    let total = length as usize + PREFIX_BYTES;
    // The magic is checked before the size, so that random bytes are reported as corrupt and not as 2 GB too short.
    match rest.get(16).map(|magic| *magic as i8) {
        Some(MAGIC) => {}
        Some(magic) => return Err(corrupt(Corruption::Magic(magic))),
        None => return Err(torn(total)),
    }
    let bytes = rest.get(..total).ok_or(torn(total))?;
    let header = BatchHeader::decode(bytes).expect("a batch is at least its header");
    Ok(Batch { header, bytes, position })
}
