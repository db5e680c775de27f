//! `sweep`: raises the rate step by step until the broker does not keep up, and finds the knee.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::Load;
use super::load::{self, Plan};
use super::report::{QUANTILES, Report, at_us};
use super::{Sweep as Args, Target};
use crate::tools::Failure;
use crate::tools::output::table_of_numbers;

/// A step keeps up if it achieves this share of the offered rate.
const KEEPS_UP: f64 = 0.95;
/// The largest number of steps without `--rates`.
const STEPS_MAX: usize = 40;

/// The rates to offer, lowest first.
#[derive(Clone, PartialEq, Debug)]
pub enum Rates {
    /// From this rate, each `factor` times the previous one, up to a limit.
    Growing {
        from: f64,
        to: Option<f64>,
        factor: f64,
    },
    Listed(Vec<f64>),
}

impl Rates {
    /// The rates in order, without duplicates.
    pub fn steps(&self) -> Vec<f64> {
        match self {
            Rates::Growing { from, to, factor } => {
                let rates = (0..STEPS_MAX).map(|step| from * factor.powi(step as i32));
                rates.take_while(|rate| to.is_none_or(|to| *rate <= to * (1.0 + 1e-9))).collect()
            }
            Rates::Listed(rates) => {
                let mut rates = rates.clone();
                rates.sort_by(f64::total_cmp);
                rates.dedup();
                rates
            }
        }
    }
}

/// The part of a step that decides on the knee.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Requests per second.
    pub offered: f64,
    pub achieved: f64,
    pub p99_us: f64,
    pub has_errors: bool,
}

impl Step {
    pub fn keeps_up(&self) -> bool {
        !self.has_errors && self.achieved >= KEEPS_UP * self.offered
    }
}

/// The knee: the index of the highest rate that the broker keeps up with, and whose p99 is at most `multiple` times
/// that of the lowest rate. `None` if it does not keep up with the lowest rate. The steps are in the order of their
/// rates.
pub fn knee(steps: &[Step], multiple: f64) -> Option<usize> {
    let lowest = steps.first().filter(|step| step.keeps_up())?;
    let is_good = |step: &Step| step.keeps_up() && step.p99_us <= multiple * lowest.p99_us;
    steps.iter().rposition(is_good)
}

/// The steps of a sweep, and its knee.
pub struct Sweep {
    pub multiple: f64,
    pub steps: Vec<(Step, Report)>,
    pub knee: Option<usize>,
}

/// Offers each rate in turn, until the broker does not keep up. One line for each step goes to standard error.
pub fn run(args: &Args, target: &Target, load: &Load) -> Result<Sweep, Failure> {
    let mut steps: Vec<(Step, Report)> = Vec::new();
    for offered in args.rates()?.steps() {
        let plan = Plan {
            connections: args.connections.get(),
            in_flight: args.in_flight.get(),
            rate: Some(offered),
            end_to_end: args.end_to_end,
        };
        let report = load::run("sweep", target, load, &plan)?;
        let step = Step {
            offered,
            achieved: report.requests_per_second(),
            p99_us: report.latencies.last().map_or(0.0, |(_, latencies)| at_us(latencies, 0.99)),
            has_errors: !report.errors.is_empty(),
        };
        eprintln!("{}", Line { step: &step, report: &report });
        let is_last = !step.keeps_up();
        steps.push((step, report));
        if is_last {
            break;
        }
    }
    let knee = knee(&steps.iter().map(|(step, _)| *step).collect::<Vec<_>>(), args.multiple);
    Ok(Sweep { multiple: args.multiple, steps, knee })
}

/// The progress of a sweep: one step.
struct Line<'a> {
    step: &'a Step,
    report: &'a Report,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { offered, achieved, .. } = self.step;
        write!(f, "offered {offered:.0}/s, achieved {achieved:.0}/s")?;
        for (name, latencies) in &self.report.latencies {
            write!(f, ", {name} p50 {:.0} us, p99 {:.0} us", at_us(latencies, 0.5), at_us(latencies, 0.99))?;
        }
        for (error, count) in &self.report.errors {
            write!(f, ", {count} x {error}")?;
        }
        if !self.step.keeps_up() {
            write!(f, ": does not keep up")?;
        }
        Ok(())
    }
}

impl Sweep {
    /// The result in one sentence.
    pub fn sentence(&self) -> String {
        let Some(knee) = self.knee else {
            return "No knee: the broker does not keep up with the lowest rate. Begin lower, with --from.".into();
        };
        let (step, report) = &self.steps[knee];
        let (lowest, multiple) = (&self.steps[0].0, self.multiple);
        let megabytes = report.per_second(report.bytes) / 1e6;
        let mut sentence = format!(
            "The knee is at {:.0} requests/s ({megabytes:.1} MB/s): p99 {:.0} us, at most {multiple} times the {:.0} \
             us at {:.0} requests/s.",
            step.offered, step.p99_us, lowest.p99_us, lowest.offered
        );
        if self.steps.iter().all(|(step, _)| step.keeps_up()) {
            sentence.push_str(" The broker kept up with every rate: continue higher, with --to or --rates.");
        }
        sentence
    }

    /// The remark on a step.
    pub fn mark(&self, index: usize) -> &'static str {
        match &self.steps[index].0 {
            _ if self.knee == Some(index) => "knee",
            step if step.has_errors => "errors",
            step if !step.keeps_up() => "saturated",
            _ => "",
        }
    }

    /// Writes the table and the sentence, or one line of JSON.
    pub fn print(&self, json: bool, out: &mut impl Write) -> io::Result<()> {
        if json {
            return writeln!(out, "{}", self.to_json());
        }
        if let Some((_, report)) = self.steps.first() {
            writeln!(out, "{}", report.setting)?;
        }
        let mut header = vec!["offered/s", "achieved/s", "MB/s", "client cores"];
        header.extend(QUANTILES.iter().map(|(name, _)| *name));
        header.push("");
        let mut table = table_of_numbers(&header, 0);
        for (index, (step, report)) in self.steps.iter().enumerate() {
            let mut row = vec![
                format!("{:.0}", step.offered),
                format!("{:.0}", step.achieved),
                format!("{:.1}", report.per_second(report.bytes) / 1e6),
                format!("{:.2}", report.client_cores()),
            ];
            let latencies = report.latencies.last().map(|(_, latencies)| latencies);
            let at = |quantile| latencies.map_or("-".into(), |latencies| format!("{:.0}", at_us(latencies, quantile)));
            row.extend(QUANTILES.iter().map(|&(_, quantile)| at(quantile)));
            row.push(self.mark(index).into());
            table.add_row(row);
        }
        writeln!(out, "{table}\nLatencies are in microseconds. {}", self.sentence())?;
        self.limits().iter().try_for_each(|limit| writeln!(out, "note: {limit}"))
    }

    /// The limits of all steps, each with its rates.
    pub fn limits(&self) -> Vec<String> {
        let mut rates: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (step, report) in &self.steps {
            for limit in report.limits() {
                rates.entry(limit).or_default().push(format!("{:.0}", step.offered));
            }
        }
        rates.into_iter().map(|(limit, rates)| format!("{limit} (at {} requests/s)", rates.join(", "))).collect()
    }

    /// Each offered rate with a percentile in microseconds.
    pub fn points(&self, quantile: f64) -> impl Iterator<Item = (f64, f64)> {
        let point = move |(step, report): &(Step, Report)| {
            let (_, latencies) = report.latencies.last()?;
            Some((step.offered, at_us(latencies, quantile)))
        };
        self.steps.iter().filter_map(point)
    }

    pub fn to_json(&self) -> Value {
        let step = |(index, (step, report)): (usize, &(Step, Report))| {
            let mut all = json!({ "offered_per_second": step.offered, "keeps_up": step.keeps_up() });
            all["knee"] = json!(self.knee == Some(index));
            let of_run = report.to_json();
            all.as_object_mut().expect("an object").extend(of_run.as_object().expect("an object").clone());
            all
        };
        let steps: Vec<Value> = self.steps.iter().enumerate().map(step).collect();
        json!({
            "verb": "sweep",
            "p99_multiple": self.multiple,
            "knee_requests_per_second": self.knee.map(|knee| self.steps[knee].0.offered),
            "steps": steps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps from (offered, achieved, p99).
    fn steps(of: &[(f64, f64, f64)]) -> Vec<Step> {
        of.iter().map(|&(offered, achieved, p99_us)| Step { offered, achieved, p99_us, has_errors: false }).collect()
    }

    #[test]
    fn the_knee_is_the_highest_rate_that_keeps_up_with_a_low_p99() {
        type Case<'a> = (&'a str, &'a [(f64, f64, f64)], Option<usize>);
        let cases: [Case; 6] = [
            ("no step", &[], None),
            ("the lowest rate is too high", &[(100.0, 50.0, 9.0), (200.0, 200.0, 9.0)], None),
            ("every rate is good", &[(1.0, 1.0, 9.0), (2.0, 2.0, 8.0), (3.0, 3.0, 27.0)], Some(2)),
            ("the latency rises", &[(1.0, 1.0, 9.0), (2.0, 2.0, 20.0), (3.0, 3.0, 28.0)], Some(1)),
            ("the rate is not achieved", &[(100.0, 99.0, 9.0), (200.0, 191.0, 9.0), (300.0, 284.0, 9.0)], Some(1)),
            ("one slow step between good ones", &[(1.0, 1.0, 9.0), (2.0, 2.0, 99.0), (3.0, 3.0, 10.0)], Some(2)),
        ];
        for (name, of, expected) in cases {
            assert_eq!(knee(&steps(of), 3.0), expected, "{name}");
        }
        let mut failed = steps(&[(1.0, 1.0, 9.0), (2.0, 2.0, 9.0)]);
        failed[1].has_errors = true;
        assert_eq!(knee(&failed, 3.0), Some(0), "a step with errors is no knee");
    }

    #[test]
    fn rates_grow_by_a_factor_or_are_listed() {
        let growing = Rates::Growing { from: 100.0, to: Some(400.0), factor: 2.0 };
        assert_eq!(growing.steps(), [100.0, 200.0, 400.0]);
        assert_eq!(Rates::Growing { from: 1.0, to: None, factor: 1.5 }.steps().len(), STEPS_MAX);
        assert_eq!(Rates::Listed(vec![5.0, 1.0, 5.0]).steps(), [1.0, 5.0]);
    }
}
