//! The file that is measured.

use std::io;
use std::path::Path;

use crate::runtime::{AlignedBuf, Durability, File, Open, Slice, dir, random_bytes};

/// The bytes of one write when the file is filled.
const FILL_BYTES: usize = 1 << 20;

/// A prewritten file without a name.
pub struct TestFile {
    /// Open for direct reads and writes.
    pub file: File,
    /// Its length, in whole MiB.
    pub bytes: u64,
}

impl TestFile {
    /// Writes a file from end to end. Its name is removed first, so that its space is free when it is closed.
    pub async fn create(directory: &Path, bytes: u64) -> io::Result<TestFile> {
        assert!(bytes.is_multiple_of(FILL_BYTES as u64), "the file has whole MiB");
        let path = directory.join(format!(".tidemill-tune-{}", std::process::id()));
        let open = Open { read: true, write: true, create_new: true, direct: true, ..Open::default() };
        let file = File::open(&path, open).await?;
        dir::remove_file(&path).await?;
        let content = random_block(FILL_BYTES)?;
        for position in (0..bytes).step_by(FILL_BYTES) {
            file.write_at(content.clone(), position, Durability::Cached).await?;
        }
        file.sync_all().await?;
        Ok(TestFile { file, bytes })
    }
}

/// A block of random bytes, which no device can compress.
pub fn random_block(bytes: usize) -> io::Result<Slice> {
    let mut block = AlignedBuf::alloc(bytes)?;
    random_bytes(&mut block[..bytes]);
    Ok(Slice::from(block).slice(0..bytes))
}
