//! Reads the bytes of a metadata log into the image at its end, or reports why the log is unusable.
//!
//! Bytes at the end that are not an entry are taken for a torn write, which was never acknowledged, and are cut off. A
//! damaged last entry looks the same. `store` refuses the log if another file proves that the entry was there. Bytes
//! before a whole entry that are not an entry were damaged after their flush. Their changes were
//! acknowledged and starting without them would lose these changes, so the log is rejected.

use super::entry::{self, BadEntry, MAGIC, Payload};
use crate::metadata::{CommandRejected, Delta, Image, apply_to};

/// The content of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The image after the last whole entry.
    pub image: Image,
    /// The term of the last entry; 0 if there is none.
    pub term: u64,
    /// The length of all whole entries. The caller cuts the file to it.
    pub valid_bytes: u64,
    /// The length of the snapshot at the start; 0 if there is none.
    pub snapshot_bytes: u64,
    /// The length of the torn write after the whole entries, and why it is not an entry.
    pub torn: Option<(u64, BadEntry)>,
}

/// Why a log is unusable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecoverError {
    /// Flushed bytes are damaged: whole entries follow them.
    #[error(
        "the metadata log is damaged at byte {at} ({why}), and whole entries follow at byte {next}: starting without \
         the damaged ones would lose acknowledged changes. Restore the file from a copy, or from another node"
    )]
    Damaged {
        /// The position of the damage in the file.
        at: u64,
        /// The position of the next whole entry.
        next: u64,
        /// Why the bytes are not an entry.
        why: BadEntry,
    },
    /// An entry is whole, but this build cannot read it.
    #[error("the metadata log has an entry that cannot be read at byte {at}: {why}")]
    Unreadable {
        /// The position of the entry in the file.
        at: u64,
        /// The version, structure or index that this build rejects.
        why: BadEntry,
    },
    /// An index does not increase, a term decreases, or a snapshot is not the first entry.
    #[error("the metadata log has index {index} after {before} at byte {at}")]
    Order {
        /// The position of the entry in the file.
        at: u64,
        /// The index of the entry before it.
        before: u64,
        /// The entry's index.
        index: u64,
    },
    /// A command was accepted once and is rejected now.
    #[error("the metadata log has a change at byte {at} that does not apply: {why}")]
    DoesNotApply {
        /// The position of the entry in the file.
        at: u64,
        /// The rule that rejects it.
        why: CommandRejected,
    },
}

/// Applies every whole entry in `bytes`, from the start.
pub fn recover(bytes: &[u8]) -> Result<Recovered, RecoverError> {
    let mut recovered = Recovered { image: Image::default(), term: 0, valid_bytes: 0, snapshot_bytes: 0, torn: None };
    let mut at = 0;
    while at < bytes.len() {
        let here = at as u64;
        let (entry, length) = match entry::decode(&bytes[at..]) {
            Ok(read) => read,
            Err(why) if is_whole(&why) => return Err(RecoverError::Unreadable { at: here, why }),
            Err(why) => match next_entry(&bytes[at + 1..]) {
                Some(after) => return Err(RecoverError::Damaged { at: here, next: here + 1 + after as u64, why }),
                None => {
                    recovered.torn = Some(((bytes.len() - at) as u64, why));
                    break;
                }
            },
        };
        match entry.payload {
            Payload::Image(image) if at == 0 => {
                recovered.image = *image;
                recovered.snapshot_bytes = length as u64;
            }
            Payload::Image(_) => {
                return Err(RecoverError::Order { at: here, before: recovered.image.index, index: entry.index });
            }
            Payload::Commands(commands) => {
                if entry.index <= recovered.image.index || entry.term < recovered.term {
                    return Err(RecoverError::Order { at: here, before: recovered.image.index, index: entry.index });
                }
                apply_to(&mut recovered.image, &mut Delta::default(), entry.index, &commands)
                    .map_err(|why| RecoverError::DoesNotApply { at: here, why })?;
            }
        }
        recovered.term = entry.term;
        at += length;
        recovered.valid_bytes = at as u64;
    }
    let torn_bytes = recovered.torn.as_ref().map_or(0, |(length, _)| *length);
    assert!(
        recovered.valid_bytes + torn_bytes == bytes.len() as u64,
        "CTRL-4: {} bytes of entries and {torn_bytes} torn ones are not the whole log",
        recovered.valid_bytes
    );
    Ok(recovered)
}

/// Whether the checksum matches, so that the bytes are as written and not a torn write.
fn is_whole(why: &BadEntry) -> bool {
    matches!(why, BadEntry::Newer { .. } | BadEntry::Damaged(_) | BadEntry::ImageIndex { .. })
}

/// The position of the first whole entry in `bytes`.
fn next_entry(bytes: &[u8]) -> Option<usize> {
    let starts = bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    starts.map(|(at, _)| at).find(|at| entry::extent(&bytes[*at..]).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Command;
    use crate::metadata::apply::tests::{create, create_command, image_with_nodes, run};

    /// A log of a snapshot and three entries, the position of each, and the image after each.
    fn log() -> (Vec<u8>, Vec<usize>, Vec<Image>) {
        let mut image = create(&image_with_nodes(2), "old", 1);
        let mut bytes = entry::encode(image.index, 1, &Payload::Image(Box::new(image.clone())));
        let (mut starts, mut images) = (vec![0], vec![image.clone()]);
        for name in ["a", "b", "c"] {
            let command = create_command(&image, name, &[&[1, 2]]);
            image = run(&image, &command).0;
            starts.push(bytes.len());
            bytes.extend_from_slice(&entry::encode(image.index, 1, &Payload::Commands(vec![command])));
            images.push(image.clone());
        }
        (bytes, starts, images)
    }

    #[test]
    fn a_whole_log_yields_the_image_that_was_written() {
        let (bytes, starts, images) = log();
        let recovered = recover(&bytes).unwrap();
        assert_eq!(Some(&recovered.image), images.last());
        assert_eq!((recovered.valid_bytes, recovered.torn, recovered.term), (bytes.len() as u64, None, 1));
        assert_eq!(recovered.snapshot_bytes, starts[1] as u64);
        assert_eq!(recover(&[]).unwrap().image, Image::default());
    }

    #[test]
    fn ctrl_4_a_log_cut_anywhere_yields_the_longest_whole_prefix() {
        let (bytes, starts, images) = log();
        for cut in 0..bytes.len() {
            let recovered = recover(&bytes[..cut]).unwrap();
            let whole = starts.iter().filter(|start| **start <= cut).count() - 1;
            let expected = if whole == 0 { Image::default() } else { images[whole - 1].clone() };
            assert_eq!(recovered.image, expected, "cut at {cut}");
            assert_eq!(recovered.valid_bytes, starts[whole] as u64, "cut at {cut}");
            assert_eq!(recovered.torn.map_or(0, |torn| torn.0), (cut - starts[whole]) as u64);
        }
    }

    #[test]
    fn a_last_entry_of_which_only_some_blocks_arrived_is_torn() {
        let (bytes, starts, images) = log();
        let last = *starts.last().unwrap();
        for at in last..bytes.len() {
            let mut torn = bytes.clone();
            torn[at..].fill(0);
            torn.extend_from_slice(&[0; 100]);
            let recovered = recover(&torn).unwrap();
            // An entry that ends in zeros is intact.
            let is_intact = torn[..bytes.len()] == bytes;
            assert_eq!(recovered.image, images[if is_intact { 3 } else { 2 }], "zero from {at}");
            assert!(recovered.torn.is_some());
        }
    }

    #[test]
    fn damage_before_a_whole_entry_is_rejected_with_both_positions() {
        let (bytes, starts, _) = log();
        for at in 0..*starts.last().unwrap() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let entry = starts.iter().rposition(|start| *start <= at).unwrap();
            match recover(&damaged) {
                Err(RecoverError::Damaged { at, next, .. }) => {
                    assert_eq!((at, next), (starts[entry] as u64, starts[entry + 1] as u64));
                }
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_log_out_of_order_or_with_inapplicable_commands_is_rejected() {
        let command = |id: &str| vec![Command::FormatCluster { cluster_id: id.into() }];
        let one = entry::encode(1, 1, &Payload::Commands(command("a")));
        let twice = [one.clone(), one.clone()].concat();
        assert_eq!(recover(&twice), Err(RecoverError::Order { at: one.len() as u64, before: 1, index: 1 }));
        let again = [one.clone(), entry::encode(2, 1, &Payload::Commands(command("b")))].concat();
        assert!(matches!(recover(&again), Err(RecoverError::DoesNotApply { .. })));
        let image = Box::new(image_with_nodes(1));
        let late = [one, entry::encode(image.index, 1, &Payload::Image(image))].concat();
        assert!(matches!(recover(&late), Err(RecoverError::Order { .. })));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_recovered_or_rejected_without_a_panic(
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            at in 0usize..2000,
            keep in 0usize..2000,
        ) {
            let (mut bytes, _, _) = log();
            let at = at % bytes.len();
            let end = (at + noise.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&noise[..end - at]);
            bytes.truncate(keep.max(at));
            if let Ok(recovered) = recover(&bytes) {
                assert!(recovered.valid_bytes <= bytes.len() as u64);
                // The whole entries alone yield the same image.
                let again = recover(&bytes[..recovered.valid_bytes as usize]).unwrap();
                assert_eq!((again.image, again.torn), (recovered.image, None));
            }
            let _ = recover(&noise);
        }
    }
}
