//! Tests that `owners` reports each broken rule: each case is a few steps, one of them wrong.

use super::owners::follow;
use super::step::Step;

/// Steps of one partition of 10 records, with semicolons between them.
fn followed(steps: &str) -> Result<(i64, usize), String> {
    let line =
        |(n, step): (usize, &str)| Step::parse(&format!("{n} {}", step.trim())).unwrap_or_else(|| panic!("{step}"));
    let steps: Vec<Step> = steps.split(';').enumerate().map(line).collect();
    follow(&steps, &[10]).map(|followed| (followed.repeated, followed.changes()))
}

#[test]
fn steps_that_keep_the_rules_are_counted() {
    let handed_over = "a JOINS; a ASSIGNED 1 0; a READ 0 0 4; a COMMITTED 1 0:5; b JOINS; a REVOKED 1 0; \
                       b ASSIGNED 2 0; \
                       b READ 0 5 9; b COMMITTED 2 0:10; b REVOKED 2 0; b LEFT";
    assert_eq!(followed(handed_over), Ok((0, 3)));
    let closed_while_it_revokes =
        "a ASSIGNED 1 0; a READ 0 0 9; a COMMITTED 1 0:10; a REVOKED 1 0; a REVOKED 1 0; a LEFT";
    assert_eq!(followed(closed_while_it_revokes), Ok((0, 1)));
    let after_a_crash = "a JOINS; a ASSIGNED 1 0; a READ 0 0 4; a COMMITTED 1 0:5; a READ 0 5 7; a CRASHES; b JOINS; \
                         b ASSIGNED 2 0; b READ 0 5 9; b COMMITTED 2 0:10";
    assert_eq!(followed(after_a_crash), Ok((3, 3)));
    let unanswered = "a ASSIGNED 1 0; a READ 0 0 6; a CRASHES; b ASSIGNED 2 0; b READ 0 7 9; b COMMITTED 2 0:10";
    assert_eq!(followed(unanswered), Ok((0, 1)), "a crashed member's commit was taken, and its answer lost");
}

#[test]
fn a_broken_rule_is_reported() {
    for (what, steps, rule) in [
        ("two owners", "a ASSIGNED 1 0; b ASSIGNED 1 0", "OWN-1"),
        ("a read of what another has", "a ASSIGNED 1 0; b READ 0 0 9", "OWN-2"),
        ("a gap", "a ASSIGNED 1 0; a READ 0 0 4; a READ 0 6 9", "OWN-2"),
        (
            "a gap after a hand-over",
            "a ASSIGNED 1 0; a READ 0 0 4; a COMMITTED 1 0:5; a REVOKED 1 0; b ASSIGNED 2 0; b READ 0 6 9",
            "OWN-2",
        ),
        (
            "a repetition after a hand-over",
            "a ASSIGNED 1 0; a READ 0 0 4; a COMMITTED 1 0:5; a REVOKED 1 0; b ASSIGNED 2 0; b READ 0 4 9",
            "OWN-2",
        ),
        ("a loss in a crash", "a ASSIGNED 1 0; a READ 0 0 4; a CRASHES; b ASSIGNED 2 0; b READ 0 6 9", "OWN-2"),
        ("a commit of another's", "a ASSIGNED 1 0; a READ 0 0 4; b COMMITTED 1 0:5", "OWN-2"),
        ("given back by another", "a ASSIGNED 1 0; a REVOKED 1 0; b REVOKED 1 0", "OWN-1"),
        ("given back uncommitted", "a ASSIGNED 1 0; a READ 0 0 4; a REVOKED 1 0", "OWN-3"),
        ("left with a partition", "a ASSIGNED 1 0; a LEFT", "OWN-3"),
        ("an end that nobody reached", "a ASSIGNED 1 0; a READ 0 0 4; a COMMITTED 1 0:5", "OWN-4"),
        ("put out alive", "a ASSIGNED 1 0; a LOST 1 0", "OWN-5"),
        ("a commit refused", "a ASSIGNED 1 0; a READ 0 0 9; a FAILED 1 0:10 ILLEGAL_GENERATION", "OWN-5"),
    ] {
        let broken = followed(steps).expect_err(what);
        assert!(broken.starts_with(rule), "{what}: {rule} expected, not {broken}");
    }
}
