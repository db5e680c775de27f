use super::*;
use crate::runtime::{Config, last_stall, run, sleep, stats, sync};
use std::rc::Rc;

fn burn(duration: Duration) {
    let start = crate::runtime::clock::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

#[test]
fn tasks_return_values_and_the_main_future_may_borrow() {
    let mut log = Vec::new();
    run(Config::default(), || async {
        let handles: Vec<_> = (0..100).map(|i| spawn(Class::Foreground, "adder", async move { i * 2 })).collect();
        for handle in handles {
            log.push(handle.await);
        }
    })
    .unwrap();
    assert_eq!(log, (0..100).map(|i| i * 2).collect::<Vec<_>>());
}

#[test]
fn an_aborted_task_is_dropped_at_once() {
    run(Config::default(), || async {
        let witness = Rc::new(());
        let held = witness.clone();
        let task = spawn(Class::Background, "sleeper", async move {
            sleep(Duration::from_secs(1000)).await;
            drop(held);
        });
        yield_now().await;
        assert_eq!(Rc::strong_count(&witness), 2);
        task.abort();
        assert_eq!(Rc::strong_count(&witness), 1);
        assert!(task.is_finished());
    })
    .unwrap();
}

#[test]
fn a_task_may_abort_itself() {
    run(Config::default(), || async {
        let handle: Rc<std::cell::RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let own = handle.clone();
        let (done, finished) = sync::oneshot::<()>();
        *handle.borrow_mut() = Some(spawn(Class::Foreground, "suicidal", async move {
            let _done = done;
            own.borrow().as_ref().unwrap().abort();
            std::future::pending::<()>().await;
        }));
        assert_eq!(finished.await, Err(sync::SenderGone));
    })
    .unwrap();
}

#[test]
fn tasks_left_at_the_end_are_dropped() {
    let witness = Rc::new(());
    let held = witness.clone();
    run(Config::default(), || async move {
        drop(spawn(Class::Foreground, "left", async move {
            let _held = held;
            std::future::pending::<()>().await;
        }));
        yield_now().await;
    })
    .unwrap();
    assert_eq!(Rc::strong_count(&witness), 1);
}

/// Polls tasks that are always ready; each poll takes `turn_us`. Returns the number of polls per class.
fn take_turns(tasks: &Tasks, turns: usize, turn_us: [u64; CLASSES]) -> [usize; CLASSES] {
    let mut got = [0; CLASSES];
    for _ in 0..turns {
        let Turn { id, class, .. } = tasks.next().expect("a task is ready");
        tasks.wake(id); // As yield_now does, during the poll.
        tasks.charge(class, Duration::from_micros(turn_us[class as usize]));
        got[class as usize] += 1;
    }
    got
}

#[test]
fn classes_get_their_shares_of_time_when_all_have_work() {
    // (shares, duration of a poll, expected polls of 1000)
    for (shares, turn_us, expected) in [
        ([600, 300, 100], [20, 20, 20], [600, 300, 100]),
        ([500, 500, 500], [10, 20, 40], [571, 286, 143]),
        ([1000, 0, 0], [20, 20, 20], [998, 1, 1]),
    ] {
        let tasks = Tasks::new(shares);
        // Two foreground tasks: the share belongs to the class, not to the task.
        for class in [Class::Foreground, Class::Foreground, Class::Replication, Class::Background] {
            tasks.insert(class, "spinner", None);
        }
        let got = take_turns(&tasks, 1000, turn_us);
        for c in 0..CLASSES {
            assert!(got[c].abs_diff(expected[c]) <= 10, "{got:?} instead of {expected:?}");
        }
    }
}

#[test]
fn an_idle_class_does_not_save_up_time() {
    let tasks = Tasks::new([100, 100, 100]);
    tasks.insert(Class::Replication, "first", None);
    take_turns(&tasks, 10_000, [20; 3]);
    tasks.insert(Class::Background, "late", None);
    let got = take_turns(&tasks, 100, [20; 3]);
    assert!(got[1] >= 48 && got[2] >= 48, "equal shares from now on: {got:?}");
}

#[test]
fn a_stall_does_not_block_its_class() {
    let tasks = Tasks::new([100, 100, 100]);
    tasks.insert(Class::Foreground, "stalls", None);
    tasks.insert(Class::Background, "goes on", None);
    take_turns(&tasks, 2, [2_000_000, 20, 20]);
    let got = take_turns(&tasks, 200, [20; 3]);
    assert!(got[0] >= 70, "{got:?}: a stall of two seconds is charged as one millisecond");
}

#[test]
fn shares_are_measured_by_the_clock() {
    let config = Config { stall: Duration::from_secs(10), ..Config::default() };
    let stats = run(config, || async {
        for class in [Class::Foreground, Class::Replication, Class::Background] {
            drop(spawn(class, "spinner", async {
                loop {
                    burn(Duration::from_micros(20));
                    yield_now().await;
                }
            }));
        }
        sleep(Duration::from_millis(200)).await;
        stats()
    })
    .unwrap();
    let [foreground, replication, background] = stats.class_ns;
    // Loose, because other processes preempt the thread during a poll. The tests above check the arithmetic.
    assert!(foreground > background && replication > 0 && background > 0, "{stats:?}");
}

#[test]
fn a_stall_is_counted_and_named() {
    let config = Config { stall: Duration::from_millis(5), ..Config::default() };
    run(config, || async {
        spawn(Class::Foreground, "quick", async {}).await;
        assert_eq!(stats().stalls, 0);
        spawn(Class::Foreground, "the culprit", async { burn(Duration::from_millis(20)) }).await;
        assert_eq!(stats().stalls, 1);
        let stall = last_stall().unwrap();
        assert_eq!(stall.task, "the culprit");
        assert!(stall.duration >= Duration::from_millis(20));
    })
    .unwrap();
}

#[test]
fn the_watchdog_counts_a_poll_that_does_not_return() {
    run(Config { stall: Duration::from_secs(10), ..Config::default() }, || async {
        let hung = spawn(Class::Foreground, "hangs", async {
            let start = crate::runtime::clock::now();
            // Blocks until the watchdog has counted this poll.
            while stats().hung == 0 {
                assert!(start.elapsed() < Duration::from_secs(30), "the watchdog did not count the poll");
            }
            start.elapsed()
        });
        assert!(hung.await >= Duration::from_millis(900));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(stats().hung, 1);
    })
    .unwrap();
}

// WAKER-1
#[test]
fn a_wake_up_from_another_thread_is_refused() {
    let refused = run(Config::default(), || async {
        let waker = std::future::poll_fn(|cx| std::task::Poll::Ready(cx.waker().clone())).await;
        std::thread::spawn(move || waker.wake()).join().unwrap_err()
    });
    let refused = refused.unwrap();
    let message = refused.downcast_ref::<String>().unwrap();
    assert!(message.contains("WAKER-1"), "{message}");
}

// TASK-1
#[test]
fn a_task_that_is_woken_twice_is_polled_once() {
    let tasks = Tasks::new([100; 3]);
    let id = tasks.insert(Class::Foreground, "woken", None);
    tasks.wake(id);
    tasks.wake(id);
    assert_eq!(tasks.next().unwrap().id, id);
    assert!(tasks.next().is_none());
}

// TASK-2
#[test]
fn a_late_wake_up_does_not_wake_the_next_task_of_the_slot() {
    let tasks = Tasks::new([100; 3]);
    let earlier = tasks.insert(Class::Foreground, "earlier", None);
    tasks.remove(earlier);
    let later = tasks.insert(Class::Foreground, "later", None);
    assert_eq!((earlier.index, tasks.next().unwrap().id), (later.index, later));
    tasks.wake(earlier);
    assert!(!tasks.has_ready());
}

#[test]
fn a_panic_in_a_task_ends_the_run_and_the_thread_can_run_again() {
    let panicked = std::panic::catch_unwind(|| {
        run(Config::default(), || async {
            drop(spawn(Class::Foreground, "faulty", async { panic!("as ordered") }));
            sleep(Duration::from_secs(1000)).await;
        })
    });
    assert!(panicked.is_err());
    assert_eq!(run(Config::default(), || async { 5 }).unwrap(), 5);
}
