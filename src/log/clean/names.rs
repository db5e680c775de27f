//! Temporary names of compacted segments.
//!
//! ```text
//! <base>.log.cleaned   being written; a restart removes it
//! <base>.log.swap      whole and flushed, its name too; a restart keeps it if the checkpoint names it
//! <base>.log           in its place
//! ```

use std::path::{Path, PathBuf};

use crate::log::segment::file_path;
use crate::model::Offset;

/// The suffix while the segment is written.
pub const CLEANED: &str = "cleaned";
/// The suffix while the segment waits for a checkpoint.
pub const SWAP: &str = "swap";
/// A segment's files that are swapped; the `.log` last.
pub const EXTENSIONS: [&str; 4] = ["index", "timeindex", "txnindex", "log"];

/// The temporary name of a segment's file.
pub fn temporary(directory: &Path, base_offset: Offset, extension: &str, suffix: &str) -> PathBuf {
    file_path(directory, base_offset, &format!("{extension}.{suffix}"))
}

/// Splits a temporary name into the base offset and the name without the suffix.
pub fn parse(name: &str, suffix: &str) -> Option<(Offset, String)> {
    let place = name.strip_suffix(suffix)?.strip_suffix('.')?;
    let (digits, extension) = place.split_once('.')?;
    let is_ours = digits.len() == 20 && EXTENSIONS.contains(&extension);
    Some((digits.parse().ok().filter(|_| is_ours).map(Offset)?, place.to_owned()))
}

/// Whether a compaction has left the file.
pub fn is_temporary(name: &str) -> bool {
    parse(name, CLEANED).is_some() || parse(name, SWAP).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_parsed_and_others_are_not() {
        let path = temporary(Path::new(""), Offset(7), "txnindex", SWAP);
        let name = path.to_str().unwrap();
        assert_eq!(parse(name, SWAP), Some((Offset(7), "00000000000000000007.txnindex".to_owned())));
        assert!(is_temporary(name) && parse(name, CLEANED).is_none());
        for other in ["00000000000000000007.log", "7.log.swap", "00000000000000000007.txt.swap", ".swap", "swap"] {
            assert!(!is_temporary(other), "{other}");
        }
    }
}
