//! Measures whether a change helps.

use std::path::PathBuf;
use std::time::Duration;

use super::conditions::Effect;
use crate::runtime::cpu;
use crate::tools::Failure;
use crate::tools::tune::{cores, disk};

/// Rounds before and after a change.
pub const ROUNDS: usize = 3;
/// The least gain: smaller ones are noise.
const GAIN_MIN: f64 = 0.03;
/// The length of one round.
const ROUND: Duration = Duration::from_millis(700);

/// A latency that a change should lower, in microseconds.
pub trait Trial {
    /// One round.
    fn round(&mut self, effect: Effect) -> Result<f64, Failure>;
}

/// Rounds of one state of the machine.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    /// Adds the latency of a round.
    pub fn add(&mut self, latency: f64) {
        self.0.push(latency);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle round.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// The share by which `after` is lower. `None` if the rounds overlap, or the gain is below the noise.
    pub fn gain(&self, after: &Rounds) -> Option<f64> {
        let gain = 1.0 - after.median() / self.median().max(1e-9);
        let is_apart = after.0.last() < self.0.first();
        (gain >= GAIN_MIN && is_apart).then_some(gain)
    }
}

/// Measures this machine.
pub struct OnThisMachine {
    pub directory: PathBuf,
}

impl Trial for OnThisMachine {
    fn round(&mut self, effect: Effect) -> Result<f64, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("the measurement failed: {error}"));
        match effect {
            Effect::Disk => disk::measure_journal(&self.directory, ROUND).map_err(failed),
            Effect::Cores => match cpu::cores()[..] {
                [first, second, ..] => cores::measure_wake([first, second], ROUND).map_err(failed),
                _ => cores::measure_loopback(ROUND).map_err(failed),
            },
            Effect::Protection => Ok(0.0),
        }
    }
}
