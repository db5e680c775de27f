//! Waits for the writes of the process before this one.
//!
//! A killed process ends before its direct writes do: the kernel waits neither for the device nor for the ring (Linux
//! 6.18 on ext4, a slow device: the lock of the data directory was free at once, and the last write landed four seconds
//! later). Such a write could land on bytes that this process has acknowledged. Buffered writes, renames, and writes
//! behind the end of an ext4 file end with their process, because its ring's workers do them.
//!
//! A write in flight keeps its file open. So a file that no process has open for writing has none, and fcntl(2) grants
//! a read lease only on such a file.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::StorageError;
use crate::runtime::{self, lease};

/// A device that takes longer than this to finish a write is broken.
const WAIT_MAX: Duration = Duration::from_secs(60);
const RECHECK_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until no process has the file open for writing. Call it before the first read or write of a file that an
/// earlier process has written with direct I/O. On a file system without leases it does not wait.
///
/// # Errors
/// If the file does not exist, or is still open for writing after a minute.
pub async fn wait_for_writes(path: &Path) -> Result<(), StorageError> {
    wait_at_most(path, WAIT_MAX).await
}

async fn wait_at_most(path: &Path, most: Duration) -> Result<(), StorageError> {
    let mut has_waited = false;
    let closed = async {
        loop {
            match lease::is_open_for_writing(path) {
                Ok(false) => return Ok(()),
                Ok(true) => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    tracing::debug!("{}: this file system has no leases, so no wait for writes", path.display());
                    return Ok(());
                }
                Err(error) => return Err(StorageError::io("open", path)(error)),
            }
            if !std::mem::replace(&mut has_waited, true) {
                tracing::info!("waiting for writes of an earlier process to {}", path.display());
            }
            runtime::sleep(RECHECK_INTERVAL).await;
        }
    };
    runtime::timeout(most, closed).await.unwrap_or_else(|_| {
        Err(StorageError::Refused(format!(
            "{} is open for writing: another process writes to it, or the device has not finished the writes of a \
             killed process within {} seconds",
            path.display(),
            most.as_secs()
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Class, Config, run};

    #[test]
    fn wait_ends_when_the_last_writer_has_closed_the_file() {
        let path = std::env::temp_dir().join(format!("tidemill-earlier-{}", std::process::id()));
        let main = async || {
            let writer = std::fs::File::create(&path).unwrap();
            let reader = std::fs::File::open(&path).unwrap();
            if lease::is_open_for_writing(&path).is_err_and(|error| error.kind() == ErrorKind::Unsupported) {
                println!("SKIP: {} is on a file system without leases", path.display());
                return;
            }
            let refused = wait_at_most(&path, Duration::from_millis(20)).await.unwrap_err().to_string();
            assert!(refused.contains("is open for writing"), "{refused}");
            let waited = runtime::spawn(Class::Foreground, "wait", {
                let path = path.clone();
                async move { wait_for_writes(&path).await }
            });
            runtime::sleep(Duration::from_millis(20)).await;
            assert!(!waited.is_finished());
            drop(writer);
            waited.await.unwrap();
            drop(reader);
            std::fs::remove_file(&path).unwrap();
            assert!(wait_for_writes(&path).await.is_err(), "the file is missing");
        };
        run(Config::default(), main).unwrap();
    }
}
