//! The thread that reads the outputs all the while, through every death of the node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::output::{Output, Trouble};
use crate::support::feeder::impatient;
use tidemill::tools::client::Client;

/// For open transactions of the dead to be ended by their timeouts, and for all to be read.
const AT_REST_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// How often the node was started again.
    restarts: AtomicU64,
    wrong: Mutex<Option<String>>,
    /// Copies read committed, by output.
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

    /// Panics if a rule was broken by now.
    pub fn check(&self) {
        if let Some(wrong) = &*self.shared.wrong.lock().expect("the watch has not panicked") {
            panic!("{wrong}");
        }
        assert!(!self.thread.is_finished(), "the watch has ended");
    }

    /// To be told when the node is up again: everything will be read once more.
    pub fn restarted(&self) {
        self.shared.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn copied(&self) -> Vec<u64> {
        self.shared.copied.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Once nobody writes any more: reads to the end, then everything again.
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
        // Both are read before the sweep, so that what they announce is in what the sweep reads.
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
