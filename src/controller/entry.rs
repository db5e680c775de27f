//! One entry of the metadata log, as bytes.
//!
//! | at | bytes | content |
//! |---|---|---|
//! | 0 | 4 | magic `TMML` |
//! | 4 | 1 | version of the archives ([`archive::VERSION`]) |
//! | 5 | 1 | kind: 0 commands, 1 image |
//! | 6 | 2 | zero |
//! | 8 | 4 | length of the payload |
//! | 12 | 4 | CRC-32C of bytes 0..12, 16..32 and the payload |
//! | 16 | 8 | index: of the commands, or of the last one in the image |
//! | 24 | 8 | term of the leader that ordered it |
//! | 32 | | payload: an archive of commands, or of an image |
//!
//! Integers are little-endian. Each entry is one write and is flushed before the next, so only the last can be torn.

use crate::metadata::archive::{self, Damaged};
use crate::metadata::{Command, Image};

/// The size of the header before the payload.
pub const HEADER_BYTES: usize = 32;
/// The first bytes of every entry.
pub const MAGIC: [u8; 4] = *b"TMML";
const KIND_COMMANDS: u8 = 0;
const KIND_IMAGE: u8 = 1;

/// The content of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// The changes at one index. All of them apply, or none (META-2).
    Commands(Vec<Command>),
    /// A snapshot. It replaces every entry before it.
    Image(Box<Image>),
}

/// One decoded entry of the metadata log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetadataEntry {
    /// The index of the commands, which increases; or that of the snapshot's image.
    pub index: u64,
    /// The controller's term, which never decreases.
    pub term: u64,
    /// The changes, or a snapshot.
    pub payload: Payload,
}

/// Why bytes are not an entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadEntry {
    /// The bytes end inside the entry: a torn write, at the end of a log.
    #[error("the entry needs {wanted} bytes, and {have} are left")]
    Short {
        /// The bytes that the entry needs.
        wanted: usize,
        /// The bytes that are present.
        have: usize,
    },
    /// The bytes do not begin with an entry.
    #[error("no entry starts here: the magic is {0:02x?}")]
    Magic([u8; 4]),
    /// The entry's bytes have changed since they were written.
    #[error("the stored checksum is {stored:08x}, and that of the bytes is {computed:08x}")]
    Checksum {
        /// The CRC-32C in the entry.
        stored: u32,
        /// The CRC-32C of its bytes.
        computed: u32,
    },
    /// The version or the kind is unknown to this build.
    #[error(
        "written by a newer Tidemill: version {version}, kind {kind}; this one reads versions up to {}",
        archive::VERSION
    )]
    Newer {
        /// The entry's version.
        version: u8,
        /// The entry's kind.
        kind: u8,
    },
    /// The checksum matches, and the archive is not of the expected structure.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// A snapshot's entry and its image disagree.
    #[error("the index of the entry is {index}, and that of its image is {image}")]
    ImageIndex {
        /// The entry's index.
        index: u64,
        /// The image's index.
        image: u64,
    },
}

/// The bytes of an entry.
pub fn encode(index: u64, term: u64, payload: &Payload) -> Vec<u8> {
    let (kind, archive) = match payload {
        Payload::Commands(commands) => (KIND_COMMANDS, archive::encode_commands(commands)),
        Payload::Image(image) => {
            assert_eq!(image.index, index, "a snapshot has the index of its image");
            (KIND_IMAGE, archive::encode_image(image))
        }
    };
    let length = u32::try_from(archive.len()).expect("rkyv with 32-bit pointers archives less than 4 GiB");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + archive.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[archive::VERSION, kind, 0, 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&index.to_le_bytes());
    bytes.extend_from_slice(&term.to_le_bytes());
    bytes.extend_from_slice(&archive);
    let crc = checksum(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The entry at the start of `bytes`, and its length in bytes.
pub fn decode(bytes: &[u8]) -> Result<(MetadataEntry, usize), BadEntry> {
    let end = extent(bytes)?;
    let entry = &bytes[..end];
    let (version, kind) = (entry[4], entry[5]);
    let is_known = (archive::VERSION_OLDEST..=archive::VERSION).contains(&version);
    if !is_known || !matches!(kind, KIND_COMMANDS | KIND_IMAGE) {
        return Err(BadEntry::Newer { version, kind });
    }
    let (index, term) = (u64_at(entry, 16), u64_at(entry, 24));
    let archive = &entry[HEADER_BYTES..];
    let payload = if kind == KIND_COMMANDS {
        Payload::Commands(archive::decode_commands(archive)?)
    } else {
        let image = archive::decode_image(version, archive)?;
        if image.index != index {
            return Err(BadEntry::ImageIndex { index, image: image.index });
        }
        Payload::Image(Box::new(image))
    };
    Ok((MetadataEntry { index, term, payload }, end))
}

/// The length of the entry at the start of `bytes`, if it is whole.
pub fn extent(bytes: &[u8]) -> Result<usize, BadEntry> {
    if bytes.len() < HEADER_BYTES {
        return Err(BadEntry::Short { wanted: HEADER_BYTES, have: bytes.len() });
    }
    let magic = [bytes[0], bytes[1], bytes[2], bytes[3]];
    if magic != MAGIC {
        return Err(BadEntry::Magic(magic));
    }
    let wanted = HEADER_BYTES + u32_at(bytes, 8) as usize;
    if bytes.len() < wanted {
        return Err(BadEntry::Short { wanted, have: bytes.len() });
    }
    let (stored, computed) = (u32_at(bytes, 12), checksum(&bytes[..wanted]));
    if stored != computed {
        return Err(BadEntry::Checksum { stored, computed });
    }
    Ok(wanted)
}

/// The CRC-32C of the entry without the checksum itself.
fn checksum(entry: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&entry[..12]), &entry[16..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::apply::tests::{all_commands, create, image_with_nodes};

    #[test]
    fn entries_decode_as_they_were_encoded() {
        let image = create(&image_with_nodes(2), "t", 3);
        for (index, payload) in [
            (5, Payload::Commands(all_commands())),
            (6, Payload::Commands(vec![])),
            (image.index, Payload::Image(Box::new(image.clone()))),
        ] {
            let mut bytes = encode(index, 7, &payload);
            let length = bytes.len();
            bytes.extend_from_slice(b"later bytes");
            assert_eq!(decode(&bytes), Ok((MetadataEntry { index, term: 7, payload }, length)));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_detected() {
        let bytes = encode(5, 1, &Payload::Commands(all_commands()));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(decode(&flipped).is_err(), "bit 0 of byte {at}");
            assert!(matches!(decode(&bytes[..at]), Err(BadEntry::Short { .. })), "cut at {at}");
        }
    }

    #[test]
    fn commands_of_version_1_decode() {
        let payload = Payload::Commands(all_commands());
        let mut bytes = encode(5, 7, &payload);
        bytes[4] = 1;
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode(&bytes), Ok((MetadataEntry { index: 5, term: 7, payload }, bytes.len())));
    }

    #[test]
    fn an_entry_of_a_newer_release_is_reported_as_newer() {
        let mut bytes = encode(5, 1, &Payload::Commands(vec![]));
        bytes[4] = archive::VERSION + 1;
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let error = decode(&bytes).unwrap_err();
        assert_eq!(error, BadEntry::Newer { version: archive::VERSION + 1, kind: 0 });
        assert!(error.to_string().contains("newer Tidemill"));
    }
}
