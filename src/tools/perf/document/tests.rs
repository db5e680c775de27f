use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::tools::perf::environment::Section;
use crate::tools::perf::report::{Consumed, latencies};
use crate::tools::perf::sweep::Step;
use crate::tools::perf::timeline::Timeline;
use crate::tools::perf::window::Usage;

fn report(p99_ms: u64) -> Report {
    let mut end_to_end = latencies();
    let mut timeline = Timeline::new();
    for nth in 0..1000u64 {
        let latency = Duration::from_millis(if nth % 50 == 0 { p99_ms } else { 1 });
        end_to_end.record(latency.as_nanos() as u64).expect("within the bounds");
        timeline.record(Duration::from_millis(nth), latency);
    }
    Report {
        verb: "mixed",
        setting: "topic <a> & \"b\"".into(),
        seconds: 1.0,
        bytes: 1_000_000,
        requests: 1000,
        records: 1000,
        latencies: vec![("produce", end_to_end.clone()), ("end_to_end", end_to_end)],
        timeline,
        consumed: Some(Consumed { bytes: 2_000_000, records: 10 }),
        errors: BTreeMap::from([("A_<CODE>".to_owned(), 2)]),
        usage: Usage { own_seconds: 0.95, steal_share: Some(0.5), ..Usage::default() },
        spins: false,
    }
}

fn environment() -> Environment {
    let facts = |facts: &[(&str, &str)]| facts.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    let section = |name, all: &[(&str, &str)]| Section { name, facts: facts(all) };
    Environment {
        sections: vec![
            section("broker", &[("software", "<Broker> & Co")]),
            section("durability", &[("class", "flushed: yes")]),
            section("disk of the broker", &[("write cache", "write back")]),
        ],
    }
}

/// Fails unless every element is closed in the order of nesting, and every `<` and `&` of the text is escaped.
fn check_well_formed(html: &str) {
    let (_, mut rest) = html.split_once("<!DOCTYPE html>\n").expect("a document type");
    let mut open: Vec<&str> = Vec::new();
    while let Some((text, tag)) = rest.split_once('<') {
        let entities = ["amp;", "lt;", "gt;", "quot;"];
        assert!(text.split('&').skip(1).all(|after| entities.iter().any(|one| after.starts_with(one))), "{text}");
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()), "a tag: <{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes: <{tag}>");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed in order");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = after;
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_run_has_all_its_figures_and_charts_on_one_page() {
    let outcome = Outcome::Run(report(30).into());
    let document =
        Document { command: "tidemill perf mixed --topic '<a>'", environment: &environment(), outcome: &outcome };
    let html = document.to_html();
    check_well_formed(&html);
    assert_eq!(html.matches("<svg").count(), 4);
    for text in [
        "tidemill perf mixed: &lt;Broker&gt; &amp; Co",
        "topic &lt;a&gt; &amp; &quot;b&quot;",
        "Durability: flushed: yes.",
        "its thread used 95 % of a core",
        "took 50.0 % of the time",
        "A_&lt;CODE&gt;",
        "--topic '&lt;a&gt;'",
        "write back",
        ">p99.9<",
        "prefers-color-scheme: dark",
    ] {
        assert!(html.contains(text), "{text}: {html}");
    }
    for from_elsewhere in ["<script", "<link", "@import", "url(", " src="] {
        assert!(!html.contains(from_elsewhere), "{from_elsewhere}");
    }
    let json = document.to_json();
    assert_eq!(json["command"], "tidemill perf mixed --topic '<a>'");
    assert_eq!(json["environment"]["disk of the broker"]["write cache"], "write back");
    let result = &json["result"];
    assert_eq!(result["end_to_end_us"]["count"], 1000);
    assert!(result["end_to_end_us"]["histogram"].as_array().is_some_and(|buckets| !buckets.is_empty()));
    assert_eq!(result["timeline"]["points"].as_array().map(Vec::len), Some(10));
    assert_eq!(result["consumed_mb_per_second"], 2.0);
}

#[test]
fn a_sweep_shows_each_step_and_marks_the_knee() {
    let step = |offered: f64, p99_ms: u64| {
        let step = Step { offered, achieved: offered, p99_us: p99_ms as f64 * 1e3, has_errors: false };
        (step, report(p99_ms))
    };
    let sweep = Sweep { multiple: 3.0, steps: vec![step(100.0, 10), step(200.0, 20), step(400.0, 900)], knee: Some(1) };
    let outcome = Outcome::Sweep(sweep);
    let document = Document { command: "tidemill perf sweep", environment: &environment(), outcome: &outcome };
    let html = document.to_html();
    check_well_formed(&html);
    assert_eq!(html.matches("<svg").count(), 5);
    assert!(html.contains("The knee is at 200 requests/s") && html.contains("<td>knee</td>"), "{html}");
    assert!(html.contains("class=\"mark\"") && html.contains("at the knee"), "{html}");
    let json = document.to_json();
    assert_eq!(json["result"]["knee_requests_per_second"], 200.0);
    let knees: Vec<_> = json["result"]["steps"].as_array().expect("steps").iter().map(|step| &step["knee"]).collect();
    assert_eq!(knees, [false, true, false]);
}

#[test]
fn a_sweep_without_a_knee_is_a_page_too() {
    let step = Step { offered: 100.0, achieved: 1.0, p99_us: 1.0, has_errors: true };
    let empty = Report { latencies: Vec::new(), timeline: Timeline::new(), ..report(1) };
    let outcome = Outcome::Sweep(Sweep { multiple: 3.0, steps: vec![(step, empty)], knee: None });
    let environment = Environment { sections: Vec::new() };
    let html = Document { command: "", environment: &environment, outcome: &outcome }.to_html();
    check_well_formed(&html);
    assert!(html.contains("No knee") && !html.contains("NaN"), "{html}");
}

#[test]
fn the_command_is_quoted_for_a_shell() {
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>().into_iter();
    let repeated = command(words(&["/usr/bin/tidemill", "perf", "produce", "--topic", "it's $x"]), "h:1");
    assert_eq!(repeated, r"tidemill perf produce --topic 'it'\''s $x' --bootstrap h:1");
    let repeated = command(words(&["tidemill", "perf", "sweep", "--bootstrap=h:2"]), "h:2");
    assert_eq!(repeated, "tidemill perf sweep --bootstrap=h:2");
}

#[test]
fn a_directory_that_cannot_be_written_fails_before_the_run() {
    let tests = std::env::current_exe().expect("a path");
    let directory = tests.parent().expect("a directory").join(format!("perf-report-{}", std::process::id()));
    prepare(&directory.join("deep")).expect("created");
    assert_eq!(fs::read_dir(directory.join("deep")).expect("a directory").count(), 0, "the check leaves no file");
    fs::write(directory.join("file"), b"").expect("written");
    let failure = prepare(&directory.join("file")).expect_err("a file is no directory");
    assert!(failure.to_string().contains("--report"), "{failure}");
    fs::remove_dir_all(&directory).expect("removed");
}

#[test]
fn latencies_and_percentiles_are_short() {
    let cases = [(0.0, "0 us"), (4.678, "4.68 us"), (385.2, "385 us"), (1000.0, "1 ms"), (35_120.0, "35.1 ms")];
    for (us, text) in cases.into_iter().chain([(132_121.0, "132 ms"), (2_963_276.0, "2.96 s")]) {
        assert_eq!(latency(us), text);
    }
    assert_eq!([1.0, 10.0, 1000.0, 100_000.0].map(percentile), ["p0", "p90", "p99.9", "p99.999"]);
    assert_eq!([0.0, 0.25, 9_999.0, 20_000.0, 1.5e6].map(short), ["0", "0.25", "9999", "20 k", "1.5 M"]);
}
