//! Operations that fail or never complete.

use std::rc::Rc;

use super::*;
use crate::runtime::fault::{Fault, FaultPlan, Rule, Target};

// MAIL-2
#[test]
fn a_failed_wake_up_is_repeated() {
    let mut endpoints = mesh::<u64>(2).into_iter();
    let (ping, pong) = (endpoints.next().unwrap(), endpoints.next().unwrap());
    let parking = Config { spin: Duration::ZERO, ..Config::default() };
    // Sends every message back, and ends with 0. It has no timer that would end a park.
    let echo = std::thread::spawn(move || {
        run(parking, || async move {
            loop {
                let (from, message) = pong.recv().await;
                pong.send(from, message);
                if message == 0 {
                    // The message leaves with the next round.
                    return sleep(Duration::from_millis(20)).await;
                }
            }
        })
        .unwrap();
    });
    on_a_shard(|| async move {
        let rule = Rule { target: Target::WakeUp, nth: 1, and_after: false, fault: Fault::Errno(libc::EOVERFLOW) };
        let mut plan = FaultPlan::new([rule]);
        for message in 1.. {
            install_faults(Some(plan));
            ping.send(1, message);
            let echoed = timeout(Duration::from_secs(20), ping.recv()).await;
            assert_eq!(echoed.expect("the parked shard wakes up"), (1, message));
            plan = install_faults(None).unwrap();
            // No wake-up was sent to a shard that was not parked.
            if plan.has_struck() {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        ping.send(1, 0);
        assert_eq!(ping.recv().await, (1, 0));
    });
    echo.join().unwrap();
}

// POOL-1
#[test]
fn the_receive_pool_outlives_operations_that_do_not_complete() {
    for fault in [None, Some(Fault::Hold)] {
        let config = Config { recv_buffers: 16, drain_max: Duration::from_millis(20), ..Config::default() };
        let pool = run(config, || async {
            let (_client, server) = pair().await;
            let rule = fault.map(|fault| Rule { target: Target::Recv, nth: 1, and_after: false, fault });
            install_faults(Some(FaultPlan::new(rule)));
            assert!(timeout(Duration::from_millis(1), server.recv()).await.is_err(), "the client sends nothing");
            reactor::Runtime::with(|rt| Rc::downgrade(&rt.pool))
        });
        assert_eq!(pool.unwrap().strong_count() > 0, fault.is_some(), "{fault:?}");
    }
}
