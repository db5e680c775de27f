//! The thread that reads the outputs during the whole test, across all kills of the node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::output::{Output, Trouble};
use crate::support::feeder::impatient;
use tidemill::tools::client::Client;

/// Deadline until timeouts have ended the open transactions of killed copiers, and all records are read.
const AT_REST_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// The number of restarts of the node.
    restarts: AtomicU64,
    wrong: Mutex<Option<String>>,
    /// The number of committed copies, by output.
    copied: Vec<AtomicU64>,
}

pub struct Watch {
    shared: Arc<Shared>,
    thread: JoinHandle<Vec<Output>>,
}

impl Watch {
    pub fn start(bootstrap: &str, outputs: Vec<Output>) -> Watch {
        let copied = outputs.iter().map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { copied, ..Shared::default() });
        let (bootstrap, share) = (bootstrap.to_string(), shared.clone());
        Watch { thread: std::thread::spawn(move || watch(&bootstrap, outputs, &share)), shared }
    }

    /// Panics if a rule is broken.
    pub fn check(&self) {
        if let Some(wrong) = &*self.shared.wrong.lock().expect("the watch has not panicked") {
            panic!("{wrong}");
        }
        assert!(!self.thread.is_finished(), "the watch has ended");
    }

    /// Called after a restart of the node: the thread reads all outputs again.
    pub fn restarted(&self) {
        self.shared.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn copied(&self) -> Vec<u64> {
        self.shared.copied.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Called when no copier writes any more: reads to the end, and then everything again.
    pub fn end(self) -> Vec<Output> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let outputs = self.thread.join().expect("the watch has not panicked");
        if let Some(wrong) = &*self.shared.wrong.lock().expect("the watch has not panicked") {
            panic!("{wrong}");
        }
        outputs
    }
}

fn watch(bootstrap: &str, mut outputs: Vec<Output>, shared: &Shared) -> Vec<Output> {
    let mut client = None;
    let mut restarts = 0;
    let mut over_since = None;
    let mut away = String::new();
    loop {
        if client.is_none() {
            client = impatient(bootstrap).ok();
        }
        // Both are loaded before the sweep, so that the sweep sees all records written before.
        let is_over = shared.is_over.load(Ordering::Relaxed);
        let restarts_now = shared.restarts.load(Ordering::Relaxed);
        let outcome = client.as_mut().map(|client| round(client, &mut outputs, restarts < restarts_now || is_over));
        for (output, copied) in outputs.iter().zip(&shared.copied) {
            copied.store(output.copied.len() as u64, Ordering::Relaxed);
        }
        match outcome {
            Some(Ok(())) => restarts = restarts_now,
            Some(Err(Trouble::Away(why))) => (client, away) = (None, why.to_string()),
            None => {}
            Some(Err(Trouble::Wrong(wrong))) => {
                *shared.wrong.lock().expect("nobody panics with it") = Some(wrong);
                return outputs;
            }
        }
        if is_over {
            if outputs.iter().all(Output::is_at_rest) && client.is_some() {
                return outputs;
            }
            if over_since.get_or_insert_with(Instant::now).elapsed() > AT_REST_WITHIN {
                let unrest: Vec<String> = outputs.iter().map(Output::unrest).collect();
                *shared.wrong.lock().expect("nobody panics with it") = Some(format!("no rest: {unrest:#?}; {away}"));
                return outputs;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn round(client: &mut Client, outputs: &mut [Output], does_read_again: bool) -> Result<(), Trouble> {
    for output in &mut *outputs {
        output.sweep(client)?;
    }
    if does_read_again {
        for output in outputs {
            output.read_again(client)?;
        }
    }
    Ok(())
}
