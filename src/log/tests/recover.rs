//! The indexes of an active segment are not flushed: a power failure can take any part of them.

use super::*;
use crate::runtime::fault::{Fault, FaultPlan, Rule, Target};

/// Appends `count` batches of 20 KB and flushes them. Returns the state and drops the log, as a crash does.
async fn crash(scratch: &Scratch, count: i64) -> PartitionState {
    let log = Log::create(&scratch.0, Rc::new(unlimited()), Memory::new(MEMORY_BYTES)).await.unwrap();
    for n in 0..count {
        assert!(append(&log, &batch(n, Codec::None, 20_000)).await);
    }
    let known = state(&log);
    assert!(known.segment_index_entries as i64 >= count - 2 && known.segment_time_entries > 0);
    log.flush().await.unwrap();
    known
}

async fn reopen(scratch: &Scratch, known: &PartitionState) -> Log {
    let (known, memory) = (Known::Checkpointed(known), Memory::new(MEMORY_BYTES));
    Log::open(&scratch.0, Rc::new(deleting()), known, memory, &mut |_, _| {}).await.unwrap()
}

fn index(scratch: &Scratch, extension: &'static str) -> PathBuf {
    segment::file_path(&scratch.0, Offset(0), extension)
}

/// Fails each read of a file after the first two.
fn fail_reads() {
    let rule = Rule { target: Target::Read, nth: 3, and_after: true, fault: Fault::Errno(libc::EIO) };
    runtime::install_faults(Some(FaultPlan::new([rule])));
}

#[test]
fn recovery_does_not_walk_a_large_active_segment_whose_index_is_lost() {
    let main = async || {
        for (number, extension) in ["index", "timeindex"].into_iter().enumerate() {
            let scratch = Scratch::new(&format!("unindexed-{number}"));
            let known = crash(&scratch, 40).await;
            std::fs::remove_file(index(&scratch, extension)).unwrap();
            fail_reads();
            let log = reopen(&scratch, &known).await;
            runtime::install_faults(None);
            assert_eq!((log.segment_count(), log.end_offset()), (2, Offset(40)), "the segment is sealed");
            assert!(append(&log, &batch(40, Codec::None, 100)).await);
            for n in [0, 17, 39, 40] {
                let read = log.read(&ReadRequest { bytes_max: 1, ..request(&log, n) }).await.unwrap();
                assert_eq!(bytes_of(read).await, batch(n, Codec::None, if n < 40 { 20_000 } else { 100 }));
            }
            // The stored checkpoint takes the sealed segment for the active one, so it stays until the next one.
            log.decide_log_start(Offset(41));
            log.advance_log_start(Offset(41));
            assert!(log.drop_segments().await.unwrap() == 0 && log.waits_for_checkpoint(), "LOG-3");
            assert_eq!(reopen(&scratch, &known).await.end_offset(), Offset(40), "a second crash changes nothing");
        }
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn recovery_restores_the_lost_end_of_an_index() {
    let scratch = Scratch::new("cut-index");
    let main = async || {
        let known = crash(&scratch, 40).await;
        let stored = std::fs::read(index(&scratch, "index")).unwrap();
        let whole = reopen(&scratch, &known).await.active().entries_in_memory().unwrap();
        for lost in [0, 1, 4] {
            std::fs::write(index(&scratch, "index"), &stored[..stored.len() - lost * 8]).unwrap();
            let log = reopen(&scratch, &known).await;
            let found = log.active().entries_in_memory().unwrap();
            assert_eq!(found, whole, "{lost} entries were lost");
            assert_eq!(log.segment_count(), 1);
        }
        std::fs::write(index(&scratch, "index"), &stored[..8]).unwrap();
        assert_eq!(reopen(&scratch, &known).await.segment_count(), 2, "too much is lost");
    };
    runtime::run(Config::default(), main).unwrap();
}
