//! Statistics over the rounds of a benchmark.

/// The median. Unlike the mean, it does not change much when other work on the machine disturbs a round.
pub fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
