//! What the benches do with the figures of their rounds.

/// The middle one: a machine that others use too spoils means.
pub fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
