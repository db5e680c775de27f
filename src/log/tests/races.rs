//! Operations of one log that meet while one of them is in flight: the fault plan holds it back.

use std::rc::Rc;
use std::time::Duration;

use super::{MEMORY_BYTES, Scratch, VALUE_BYTES, append, batch, bytes_of, request, three_segments, unlimited};
use crate::log::Log;
use crate::log::segment::file_path;
use crate::log::tail::Memory;
use crate::model::{LeaderEpoch, Offset};
use crate::runtime::fault::{FaultPlan, Target};
use crate::runtime::{self, Class, Config, JoinHandle};

/// Long enough for a task that does not wait to finish.
const A_WHILE: Duration = Duration::from_millis(50);

fn spawn<T: 'static>(task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    runtime::spawn(Class::Foreground, "test", task)
}

/// Waits until the fault plan holds an operation back.
pub async fn wait_held() {
    let held = async {
        while runtime::held_operations() == 0 {
            runtime::yield_now().await;
        }
    };
    runtime::timeout(Duration::from_secs(10), held).await.expect("the operation starts");
}

async fn log_with_a_batch(scratch: &Scratch) -> Rc<Log> {
    let log = Log::create(&scratch.0, Rc::new(unlimited()), Memory::new(MEMORY_BYTES)).await.unwrap();
    assert!(append(&log, &batch(0, crate::record::codec::Codec::None, VALUE_BYTES)).await);
    Rc::new(log)
}

#[test]
fn log_5_directory_is_released_after_opens_in_flight() {
    let scratch = Scratch::new("release");
    let main = async || {
        let old = log_with_a_batch(&scratch).await;
        runtime::install_faults(Some(FaultPlan::hold(Target::Open, 1)));
        let segment = old.active();
        let writer = spawn(async move { segment.write_back(true).await });
        wait_held().await;
        old.discard();
        let released = spawn({
            let old = old.clone();
            async move { drop(old.release_directory().await) }
        });
        runtime::sleep(A_WHILE).await;
        assert!(!released.is_finished(), "LOG-5");
        runtime::install_faults(None);
        released.await;
        // The topic is created anew at once.
        let renamed = scratch.0.with_extension("deleted");
        std::fs::rename(&scratch.0, &renamed).unwrap();
        let new = Log::create(&scratch.0, Rc::new(unlimited()), Memory::new(MEMORY_BYTES)).await.unwrap();
        assert_eq!(writer.await.unwrap(), 0, "a removed segment is not written");
        old.flush().await.unwrap();
        std::fs::remove_dir_all(&renamed).unwrap();
        assert_eq!(std::fs::read_dir(new.directory()).unwrap().count(), 0);
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn failed_write_of_a_deleted_log_is_no_failure() {
    let scratch = Scratch::new("deleted-write");
    let main = async || {
        for target in [Target::Open, Target::Write, Target::Sync] {
            let log = log_with_a_batch(&scratch).await;
            runtime::install_faults(Some(FaultPlan::hold(target, 1)));
            let segment = log.active();
            let flush = spawn(async move { segment.flush().await });
            wait_held().await;
            log.discard();
            // The next operation fails.
            runtime::install_faults(Some(FaultPlan::fail(Target::Sync, 1, libc::EIO)));
            flush.await.unwrap_or_else(|error| panic!("{target:?}: {error}"));
            runtime::install_faults(None);
            log.release_directory().await;
        }
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn reader_of_a_removed_segment_does_not_create_its_file_again() {
    let scratch = Scratch::new("reader");
    let main = async || {
        let log = three_segments(&scratch).await;
        log.flush().await.unwrap();
        let extent = log.read(&request(&log, 0)).await.unwrap().extents.remove(0);
        let segment = log.segments.borrow_mut().pop_front().unwrap();
        segment.evict_idle();
        assert!(segment.evict_chunk(0));
        runtime::install_faults(Some(FaultPlan::hold(Target::Open, 1)));
        let reader = spawn(async move { extent.load(1 << 20).await.map(drop) });
        wait_held().await;
        let path = segment.log_path();
        std::fs::remove_file(&path).unwrap();
        segment.discard();
        runtime::install_faults(None);
        assert!(reader.await.is_err() && !path.exists());
    };
    runtime::run(Config::default(), main).unwrap();
}

// SEG-4
#[test]
fn seg_4_no_flush_succeeds_after_a_failed_one() {
    let scratch = Scratch::new("flush-fails");
    let main = async || {
        // The file's data, the entry that names it, the directory's own entry, and the cut of a sealed segment.
        for nth in 1..=4 {
            let _ = std::fs::remove_dir_all(&scratch.0);
            let log = log_with_a_batch(&scratch).await;
            let segment = log.active();
            log.roll();
            runtime::install_faults(Some(FaultPlan::fail(Target::Sync, nth, libc::EIO)));
            let first = segment.finish().await.unwrap_err().to_string();
            for _ in 0..2 {
                assert_eq!(segment.finish().await.unwrap_err().to_string(), first, "SEG-4");
                assert_eq!(segment.flush().await.unwrap_err().to_string(), first, "SEG-4");
            }
            assert!(runtime::install_faults(None).unwrap().has_struck() && segment.is_dirty());
        }
    };
    runtime::run(Config::default(), main).unwrap();
}

// SEG-2
#[test]
fn seg_2_active_segment_that_is_sealed_during_its_last_flush_is_not_cut() {
    let scratch = Scratch::new("sealed-late");
    let main = async || {
        let log = log_with_a_batch(&scratch).await;
        let segment = log.active();
        runtime::install_faults(Some(FaultPlan::hold(Target::Sync, 1)));
        let finish = spawn({
            let segment = segment.clone();
            async move { segment.finish().await }
        });
        wait_held().await;
        let next = batch(1, crate::record::codec::Codec::None, VALUE_BYTES);
        assert!(append(&log, &next).await);
        log.roll();
        segment.write_back(true).await.unwrap();
        runtime::install_faults(None);
        finish.await.unwrap();
        assert!(segment.is_dirty() && segment.is_sealed(), "a later checkpoint finishes it");
        let file = std::fs::read(segment.log_path()).unwrap();
        assert!(file.len() as u64 >= segment.size(), "the second batch is not cut off");
        log.flush().await.unwrap();
        assert!(!segment.is_dirty());
        assert_eq!(bytes_of(log.read(&request(&log, 1)).await.unwrap()).await, next);
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn epochs_that_change_without_a_new_one_are_stored() {
    let scratch = Scratch::new("epochs");
    let main = async || {
        let log = three_segments(&scratch).await;
        log.flush().await.unwrap();
        let stored = || std::fs::read_to_string(scratch.0.join("leader-epoch-checkpoint")).unwrap();
        assert_eq!(stored(), "0\n1\n0 0\n");
        log.decide_log_start(Offset(2));
        log.advance_log_start(Offset(2));
        assert_eq!(log.epochs().entries(), [(LeaderEpoch(0), Offset(2))]);
        log.flush().await.unwrap();
        assert_eq!(stored(), "0\n1\n0 2\n");
        assert!(file_path(&scratch.0, Offset(0), "log").exists());
    };
    runtime::run(Config::default(), main).unwrap();
}
