//! Directories and ports that no other test uses, in this process or another.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// `target/`, on a real disk: brokers open their files with O_DIRECT, which a tmpfs refuses.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent").to_path_buf()
}

/// A directory for one test. It is removed on drop, unless the test failed: then it is evidence.
pub struct Dir {
    path: PathBuf,
}

impl Dir {
    pub fn new(what: &str) -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{what}-{}-{n}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Dir { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            super::say(&format!("KEPT {}", self.path.display()));
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Consecutive ports, reserved until drop. A Tidemill node uses its port and one more per shard.
pub struct Ports {
    first: u16,
    _lock: File,
}

impl Ports {
    const BLOCK: u16 = 128;
    const FROM: u16 = 16_000;
    const BLOCKS: u16 = 120; // Ends below Linux's ephemeral ports, so that no client socket takes one of them.

    pub fn reserve() -> Ports {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ports");
        fs::create_dir_all(&dir).expect("target/tmp can be written");
        // Another work tree has another target/ and other lock files. So start at a block that follows from the process
        // id, and also try to bind the ports.
        let start = (std::process::id() % u32::from(Self::BLOCKS)) as u16;
        for n in 0..Self::BLOCKS {
            let block = (start + n) % Self::BLOCKS;
            let lock = File::create(dir.join(block.to_string())).expect("a lock file");
            if lock.try_lock().is_err() {
                continue;
            }
            let first = Self::FROM + block * Self::BLOCK;
            if (first..first + Self::BLOCK).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
                return Ports { first, _lock: lock };
            }
        }
        panic!("no {} consecutive free ports from {}", Self::BLOCK, Self::FROM);
    }

    pub fn first(&self) -> u16 {
        self.first
    }
}
