//! Compares the latency of a running node with the prediction of the profiles.

use super::profiles::Profiles;
use crate::config::profile::{Prediction, predict};
use crate::tools::Failure;
use crate::tools::connect::Connect;
use crate::tools::perf::{OneAtATime, one_at_a_time};
use crate::tools::tune::host::{Condition, Severity};

/// The length of the measurement.
const SECONDS: f64 = 2.0;
/// The ratio from which a node is slower than its disk explains.
const RATIO_MAX: f64 = 2.0;

/// Produces to a topic of its own, which it deletes.
pub fn compare(connect: &Connect, profiles: &Profiles) -> Result<Vec<Condition>, Failure> {
    let topic = format!("tidemill-doctor-{}", std::process::id());
    let measured = one_at_a_time(connect, &topic, SECONDS);
    let deleted = connect.client().and_then(|mut client| Ok(client.delete_topic(&topic)?));
    let measured = measured?;
    deleted?;
    let prediction = profiles.disk.as_ref().and_then(|disk| predict(profiles.core.as_ref(), disk));
    let is_doubtful = profiles.disk.as_ref().is_some_and(|disk| disk.provenance.doubt().is_some());
    Ok(judge(&measured, prediction.as_ref(), is_doubtful))
}

/// A condition for each percentile.
fn judge(measured: &OneAtATime, prediction: Option<&Prediction>, is_doubtful: bool) -> Vec<Condition> {
    let severity = if is_doubtful { Severity::Note } else { Severity::Warning };
    let percentiles = [
        ("produce p50", measured.p50_us, prediction.map(|prediction| prediction.p50_us)),
        ("produce p99", measured.p99_us, prediction.map(|prediction| prediction.p99_us)),
    ];
    let condition = |(name, live, predicted): (&str, f64, Option<f64>)| {
        let current = format!("{live:.0} us");
        let Some(predicted) = predicted else {
            let reason = "without a disk profile there is no prediction; measure with `tidemill tune disk`";
            return Condition::new(name, "unknown", current, false).because(reason);
        };
        let reason = prediction.map(|prediction| prediction.reason.clone()).unwrap_or_default();
        let ratio = live / predicted.max(1e-9);
        Condition::new(name, &format!("about {predicted:.0} us"), current, ratio <= RATIO_MAX).or(severity).because(
            format!(
                "{ratio:.1} times the prediction ({reason}): the node or its host is busy, or the device is slower now"
            ),
        )
    };
    percentiles.map(condition).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_may_take_twice_as_long_as_predicted() {
        let measured = OneAtATime { requests: 100, p50_us: 150.0, p99_us: 900.0 };
        let prediction = Prediction { p50_us: 100.0, p99_us: 400.0, reason: "a durable write".into() };
        let found = judge(&measured, Some(&prediction), false);
        let severities: Vec<_> = found.iter().map(|condition| condition.severity).collect();
        assert_eq!(severities, [Severity::Fine, Severity::Warning]);
        assert_eq!((found[1].required.as_str(), found[1].current.as_str()), ("about 400 us", "900 us"));
        assert!(found[1].reason.starts_with("2.2 times the prediction (a durable write)"), "{}", found[1].reason);
        let found = judge(&measured, Some(&prediction), true);
        assert_eq!(found[1].severity, Severity::Note);
        let found = judge(&measured, None, false);
        assert!(found.iter().all(|condition| condition.severity == Severity::Note));
    }
}
