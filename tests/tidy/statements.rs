//! `tests/statements.md` numbers its rows without gaps, and the tests that it names exist.

use crate::tree::{Source, functions, root, tree};
use crate::{Violation, check};

const FILE: &str = "tests/statements.md";
const LAST: usize = 125;

/// Line, number and last column of each row.
fn rows(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    text.lines().enumerate().filter_map(|(n, line)| {
        let mut columns = line.strip_prefix('|')?.trim_end_matches([' ', '|']).split(" | ");
        let number = columns.next()?.trim().parse().ok()?;
        Some((n + 1, number, columns.last()?))
    })
}

fn violations(text: &str, names: &[String], exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut expected = 1;
    for (line, number, tests) in rows(text) {
        if number != expected {
            found.push(Violation::new(FILE, line, format!("statement {number} stands where {expected} belongs")));
        }
        expected = number + 1;
        let cited: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if cited.is_empty() && !tests.starts_with("none") {
            found.push(Violation::new(
                FILE,
                line,
                format!("statement {number} names no test: name one, or `none: why`"),
            ));
        }
        for test in cited {
            let name = test.rsplit("::").next().unwrap_or(test);
            let is_there = match name.strip_suffix('*') {
                _ if test.contains('/') => exists(test),
                Some(begins) => names.iter().any(|test| test.starts_with(begins)),
                None => names.iter().any(|test| test == name),
            };
            if !is_there {
                found.push(Violation::new(
                    FILE,
                    line,
                    format!("there is no test `{test}`: name the one that covers {number}"),
                ));
            }
        }
    }
    if expected != LAST + 1 {
        found.push(Violation::new(FILE, 1, format!("the last statement is {}, not {LAST}", expected - 1)));
    }
    found
}

#[test]
fn statements_are_complete_and_name_tests_that_exist() {
    let tests = |source: &'static Source| functions(source).into_iter().filter(|f| f.is_test).map(|f| f.name);
    let names: Vec<String> = tree().iter().filter(|source| source.is_rust()).flat_map(tests).collect();
    let file = tree().iter().find(|source| source.path == FILE).expect("tests/statements.md");
    check("statements", &violations(&file.text, &names, |path| root().join(path).exists()));
}

#[test]
fn a_missing_number_or_test_is_a_violation() {
    let text = "| no | statement | tests |\n| 1 | A. | `a::s001_*`, `tests/x.rs` |\n\
        | 3 | B. | `a::gone` |\n| 4 | C. | later |\n";
    let names = ["s001_a".to_owned()];
    let found = violations(text, &names, |path| path == "tests/x.rs");
    assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), [3, 3, 4, 1]);
}
