use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

#[test]
fn capacities_are_size_classes_and_aligned() {
    for (asked, capacity) in [
        (0, 4 << 10),
        (1, 4 << 10),
        (4096, 4 << 10),
        (4097, 8 << 10),
        (100_000, 128 << 10),
        (1 << 20, 1 << 20),
        ((1 << 20) + 1, (1 << 20) + (512 << 10)),
        (5 << 20, 5 << 20),
    ] {
        let before = arena_bytes_used();
        let mut buf = AlignedBuf::alloc(asked).unwrap();
        assert_eq!(buf.capacity(), capacity, "for {asked}");
        assert_eq!(buf.as_ptr() as usize % 4096, 0);
        assert_eq!(arena_bytes_used() - before, capacity);
        buf.fill(0xa5);
        assert_eq!(buf.len(), capacity);
        drop(buf);
        assert_eq!(arena_bytes_used(), before);
    }
}

#[test]
fn fresh_memory_is_zeroed() {
    let buf = AlignedBuf::alloc(3 << 20).unwrap();
    assert!(buf.iter().all(|b| *b == 0));
}

// ARENA-2
#[test]
fn allocation_beyond_the_budget_is_refused() {
    set_up_arena(64 << 10, 0);
    let a = AlignedBuf::alloc(32 << 10).unwrap();
    let b = AlignedBuf::alloc(32 << 10).unwrap();
    let error = AlignedBuf::alloc(1).unwrap_err();
    assert_eq!(error, OverBudget { asked: 1, used: 64 << 10, budget: 64 << 10 });
    assert!(AlignedBuf::alloc(usize::MAX).is_err());
    drop(a);
    let c = AlignedBuf::alloc(16 << 10).unwrap();
    drop((b, c));
    set_up_arena(ARENA_BYTES_DEFAULT, 0);
}

// ARENA-1
#[test]
fn blocks_never_overlap_and_all_memory_is_freed() {
    // A thread has its own arena: other tests do not change the counts.
    std::thread::spawn(|| {
        let mut seed = 7_u64;
        let mut random = move |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        let mut live: Vec<(AlignedBuf, u8)> = Vec::new();
        for round in 0..20_000 {
            if live.len() < 60 && random(3) > 0 {
                let mut buf = AlignedBuf::alloc(1 << (10 + random(12))).unwrap();
                let mark = random(256) as u8;
                // The first and last byte are enough to detect an overlap.
                let end = buf.capacity() - 1;
                (buf[0], buf[end]) = (mark, mark);
                live.push((buf, mark));
            } else if !live.is_empty() {
                let (buf, mark) = live.swap_remove(random(live.len() as u64) as usize);
                assert_eq!((buf[0], buf[buf.capacity() - 1]), (mark, mark), "overlap in round {round}");
            }
        }
        let used: usize = live.iter().map(|(buf, _)| buf.capacity()).sum();
        assert_eq!(arena_bytes_used(), used);
        live.clear();
        assert_eq!(arena_bytes_used(), 0);
        // All blocks were merged: two blocks of the largest size fit into each mapped chunk.
        let mapped = arena_bytes_mapped();
        let whole: Vec<_> = (0..mapped >> 20).map(|_| AlignedBuf::alloc(1 << 20).unwrap()).collect();
        assert_eq!(arena_bytes_mapped(), mapped);
        drop(whole);
    })
    .join()
    .unwrap();
}

#[test]
fn a_large_block_is_returned_to_the_system() {
    std::thread::spawn(|| {
        let buf = AlignedBuf::alloc(64 << 20).unwrap();
        assert_eq!(arena_bytes_mapped(), 64 << 20);
        drop(buf);
        assert_eq!(arena_bytes_mapped(), 0);
    })
    .join()
    .unwrap();
}

#[test]
fn free_chunks_stay_mapped_until_the_budget_needs_them() {
    std::thread::spawn(|| {
        set_up_arena(64 << 20, 2);
        let small: Vec<_> = (0..48).map(|_| AlignedBuf::alloc(1 << 20).unwrap()).collect();
        drop(small);
        assert_eq!(arena_bytes_mapped(), 48 << 20);
        let large = AlignedBuf::alloc(40 << 20).unwrap();
        assert_eq!(arena_bytes_mapped(), 64 << 20);
        assert!(large.iter().all(|byte| *byte == 0), "fresh memory is zeroed");
        drop(large);
        assert_eq!(arena_bytes_mapped(), 24 << 20);
    })
    .join()
    .unwrap();
}

// APPEND-1
#[test]
fn appended_bytes_are_readable_and_never_change() {
    let buf = AppendBuf::alloc(8 << 10).unwrap();
    assert_eq!(buf.append(b"hello"), 5);
    let hello = buf.slice(0..5);
    assert_eq!(buf.append(&[1; 10_000]), (8 << 10) - 5, "only what fits");
    assert_eq!((buf.len(), buf.remaining()), (8 << 10, 0));
    assert_eq!(&*hello, b"hello");
    assert_eq!(&*hello.slice(1..3), b"el");
    drop(buf);
    assert_eq!(&*hello, b"hello", "a slice keeps the block");
}

// APPEND-1
#[test]
#[should_panic(expected = "APPEND-1")]
fn a_slice_beyond_the_appended_bytes_is_refused() {
    let buf = AppendBuf::alloc(4096).unwrap();
    buf.append(b"abc");
    buf.slice(0..4);
}

// SLICE-1
#[test]
#[should_panic(expected = "SLICE-1")]
fn a_slice_beyond_its_parent_is_refused() {
    Slice::from(b"abc").slice(1..4);
}

#[test]
fn a_padded_slice_reads_appended_bytes_and_writes_whole_blocks() {
    let buf = AppendBuf::alloc(8 << 10).unwrap();
    buf.append(&[7; 5000]);
    let padded = buf.aligned(4096..8192);
    assert_eq!((padded.len(), padded.padded_len()), (904, 4096));
    assert!(padded.iter().all(|b| *b == 7));
    let whole = buf.aligned(0..4096);
    assert_eq!((whole.len(), whole.padded_len()), (4096, 4096));
    assert_eq!(Slices::from([padded, whole]).padded_bytes(), 8192);
}

#[test]
fn slices_of_one_block_join_where_all_bytes_between_are_readable() {
    let buf = AppendBuf::alloc(16 << 10).unwrap();
    buf.append(&[7; 5000]);
    let first = buf.aligned(0..8192);
    buf.append(&[8; 5000]);
    // The second begins within the last block of the first, as the next batch of a log does.
    let second = buf.aligned(4096..12288);
    let joined = first.join(&second).expect("no byte between them is unreadable");
    assert_eq!((joined.len(), joined.padded_len()), (10_000, 12_288));
    assert!(joined[..5000].iter().all(|b| *b == 7) && joined[5000..].iter().all(|b| *b == 8));
    let right_behind = buf.slice(0..4096).join(&buf.slice(4096..5000));
    assert_eq!(right_behind.map(|slice| slice.len()), Some(5000));
    assert_eq!(buf.slice(0..4096).join(&buf.slice(4097..5000)), None, "a gap");
    assert_eq!(second.join(&first), None, "backwards");
    let other = AppendBuf::alloc(16 << 10).unwrap();
    other.append(&[7; 5000]);
    assert_eq!(first.join(&other.aligned(0..8192)), None, "another block");
    assert_eq!(first.join(&Slice::from(vec![7; 8])), None);
}

#[test]
fn slices_are_made_from_all_kinds_of_bytes() {
    let mut block = AlignedBuf::alloc(4096).unwrap();
    block[..3].copy_from_slice(b"abc");
    let shared = block.freeze();
    for (slice, expected) in [
        (Slice::from(b"abc"), &b"abc"[..]),
        (Slice::from(b"abc".to_vec()), b"abc"),
        (shared.slice(0..3), b"abc"),
        (Slice::from(shared.clone()).slice(1..3), b"bc"),
        (Slice::default(), b""),
    ] {
        assert_eq!(&*slice, expected);
        assert_eq!(slice.clone(), slice);
        assert_eq!(Slices::from(slice).bytes(), expected.len());
    }
}

/// Runs `test` on a thread with an arena of its own, of `budget` bytes.
fn with_budget(budget: usize, test: fn()) {
    let run = move || {
        set_up_arena(budget, 0);
        test();
    };
    std::thread::spawn(run).join().unwrap();
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A block that a task waits for, and the number of wake-ups of that task.
struct Waiting {
    block: Allocating<AlignedBuf>,
    wakes: Arc<Wakes>,
}

impl Waiting {
    /// Polls the allocation once: there must be no room.
    fn start(bytes: usize) -> Waiting {
        let mut waiting = Waiting { block: AlignedBuf::alloc_wait(bytes), wakes: Arc::default() };
        assert!(waiting.poll().is_pending());
        waiting
    }

    fn poll(&mut self) -> Poll<AlignedBuf> {
        Pin::new(&mut self.block).poll(&mut Context::from_waker(&Waker::from(self.wakes.clone())))
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

// ARENA-3
#[test]
fn freed_memory_wakes_the_waiters_that_it_has_room_for() {
    with_budget(16 << 10, || {
        let (small, large) = (AlignedBuf::alloc(4 << 10).unwrap(), AlignedBuf::alloc(8 << 10).unwrap());
        let _rest = AlignedBuf::alloc(4 << 10).unwrap();
        let (mut a, mut b, mut c) = (Waiting::start(8 << 10), Waiting::start(4 << 10), Waiting::start(4 << 10));
        drop(small);
        assert_eq!((a.wakes(), b.wakes(), c.wakes()), (0, 1, 0), "a waiter that does not fit holds up no other");
        drop(large);
        assert_eq!((a.wakes(), b.wakes(), c.wakes()), (1, 1, 0), "in order of arrival; no byte is granted twice");
        assert!(a.poll().is_ready(), "the block is dropped at once");
        assert_eq!(c.wakes(), 1);
        assert!(b.poll().is_ready() && c.poll().is_ready());
    });
}

// ARENA-3
#[test]
fn a_dropped_waiter_passes_its_wake_up_on() {
    with_budget(8 << 10, || {
        let held = AlignedBuf::alloc(8 << 10).unwrap();
        let (first, unwoken, mut last) = (Waiting::start(8 << 10), Waiting::start(8 << 10), Waiting::start(4 << 10));
        drop(held);
        assert_eq!((first.wakes(), unwoken.wakes(), last.wakes()), (1, 0, 0));
        drop(unwoken);
        assert_eq!(last.wakes(), 0);
        drop(first);
        assert_eq!(last.wakes(), 1);
        assert!(last.poll().is_ready());
    });
}

// ARENA-3
#[test]
fn a_waiter_whose_memory_was_taken_leaves_the_rest_to_smaller_ones() {
    with_budget(8 << 10, || {
        let held = AlignedBuf::alloc(8 << 10).unwrap();
        let (mut large, mut small) = (Waiting::start(8 << 10), Waiting::start(4 << 10));
        drop(held);
        let taken = AlignedBuf::alloc(4 << 10).unwrap();
        assert!(large.poll().is_pending());
        assert_eq!((large.wakes(), small.wakes()), (1, 1));
        let Poll::Ready(block) = small.poll() else { panic!("the rest has room for the small block") };
        drop((taken, block));
        assert_eq!(large.wakes(), 2);
        assert!(large.poll().is_ready());
    });
}

#[test]
fn a_smaller_budget_returns_the_free_chunks_to_the_system() {
    const CHUNK: usize = 2 << 20;
    with_budget(8 * CHUNK, || {
        let mut blocks: Vec<_> = (0..8).map(|_| AlignedBuf::alloc(1 << 20).unwrap()).collect();
        assert_eq!((arena_bytes_mapped(), arena_bytes_free()), (4 * CHUNK, 4 * CHUNK));
        blocks.truncate(2);
        set_arena_budget(2 * CHUNK);
        assert_eq!((arena_bytes_mapped(), arena_bytes_free()), (4 * CHUNK, CHUNK));
        assert!(unmap_free_chunk() && unmap_free_chunk() && !unmap_free_chunk());
        assert_eq!(arena_bytes_mapped(), 2 * CHUNK);
        // Blocks in use stay.
        set_arena_budget(0);
        assert!(unmap_free_chunk() && !unmap_free_chunk());
        assert!(AlignedBuf::alloc(4 << 10).is_err());
        blocks.clear();
        assert!(unmap_free_chunk() && !unmap_free_chunk());
        assert_eq!(arena_bytes_mapped(), 0);
    });
}

// ARENA-3
#[test]
fn a_larger_budget_wakes_waiters() {
    with_budget(4 << 10, || {
        let _held = AlignedBuf::alloc(4 << 10).unwrap();
        let mut waiting = Waiting::start(4 << 10);
        set_up_arena(8 << 10, 0);
        assert_eq!(waiting.wakes(), 1);
        assert!(waiting.poll().is_ready());
    });
}
