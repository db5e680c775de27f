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
fn tasks_return_values_and_main_may_borrow() {
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

/// Gives turns to tasks that always want another one, each taking `turn_us`; how many each class got.
fn take_turns(tasks: &Tasks, turns: usize, turn_us: [u64; CLASSES]) -> [usize; CLASSES] {
    let mut got = [0; CLASSES];
    for _ in 0..turns {
        let Turn { id, class, .. } = tasks.next().expect("somebody is ready");
        tasks.wake(id); // As yield_now does, during the poll.
        tasks.charge(class, Duration::from_micros(turn_us[class as usize]));
        got[class as usize] += 1;
    }
    got
}

#[test]
fn classes_get_their_shares_of_time_when_all_have_work() {
    // (shares, what a turn takes, turns expected of 1000)
    for (shares, turn_us, expected) in [
        ([600, 300, 100], [20, 20, 20], [600, 300, 100]),
        ([500, 500, 500], [10, 20, 40], [571, 286, 143]),
        ([1000, 0, 0], [20, 20, 20], [998, 1, 1]),
    ] {
        let tasks = Tasks::new(shares);
        // Two tasks in the foreground: the share is the class's, not the task's.
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
fn a_class_that_was_idle_has_saved_nothing_up() {
    let tasks = Tasks::new([100, 100, 100]);
    tasks.insert(Class::Replication, "first", None);
    take_turns(&tasks, 10_000, [20; 3]);
    tasks.insert(Class::Background, "late", None);
    let got = take_turns(&tasks, 100, [20; 3]);
    assert!(got[1] >= 48 && got[2] >= 48, "equal shares from here on: {got:?}");
}

#[test]
fn a_stall_does_not_lock_its_class_out() {
    let tasks = Tasks::new([100, 100, 100]);
    tasks.insert(Class::Foreground, "stalls", None);
    tasks.insert(Class::Background, "goes on", None);
    take_turns(&tasks, 2, [2_000_000, 20, 20]);
    let got = take_turns(&tasks, 200, [20; 3]);
    assert!(got[0] >= 70, "{got:?}: a stall of two seconds is charged as one millisecond");
}

#[test]
fn the_clock_drives_the_shares() {
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
    // Loose, because other processes take the core away in the middle of a poll; the arithmetic is tested above.
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
fn a_poll_that_does_not_return_is_noticed_while_it_lasts() {
    run(Config { stall: Duration::from_secs(10), ..Config::default() }, || async {
        let hung = spawn(Class::Foreground, "hangs", async {
            let start = crate::runtime::clock::now();
            // Until the watchdog has seen it: this task cannot look at it in any other way.
            while stats().hung == 0 {
                assert!(start.elapsed() < Duration::from_secs(30), "nobody noticed");
            }
            start.elapsed()
        });
        assert!(hung.await >= Duration::from_millis(900));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(stats().hung, 1);
    })
    .unwrap();
}

#[test]
fn waking_from_another_thread_is_refused() {
    let refused = run(Config::default(), || async {
        let waker = std::future::poll_fn(|cx| std::task::Poll::Ready(cx.waker().clone())).await;
        std::thread::spawn(move || waker.wake()).join().is_err()
    });
    assert!(refused.unwrap());
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
