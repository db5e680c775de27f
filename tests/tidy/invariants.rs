//! An invariant `PART-1` has a definition, an assert that names it and a test that names it.
//!
//! - Definition: a comment of `src/` that begins with the id and a colon, also as an item of a list.
//! - Assert: the id in the message of an `assert!`, `assert_eq!`, `debug_assert!` or `panic!` outside of tests.
//! - Test: the id in a test's name (`part_1_...`), or anywhere in code or comments that only tests compile.
//!
//! Rules that test programs check (`OWN-1`, `OUT-1`) are defined in `tests/`; they need a test but no assert.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Source, body_end, functions, is_test_line, line_at, test_lines, tree};
use crate::{Violation, check};

/// Names of the same form that are no invariants: standards, proposals, encodings.
const OTHERS: [&str; 9] = ["KIP", "KAFKA", "CRC", "UTF", "RFC", "ISO", "SHA", "AES", "MD"];
const ASSERTS: [&str; 7] =
    ["assert!", "assert_eq!", "assert_ne!", "debug_assert!", "debug_assert_eq!", "unreachable!", "panic!"];

/// Ids in a text, with their positions.
fn ids(text: &str) -> Vec<(usize, &str)> {
    let bytes = text.as_bytes();
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|b| is_part(b)).count();
        if length == 0 {
            at += 1;
            continue;
        }
        let word = &text[at..at + length];
        if let Some((name, number)) = word.split_once('-') {
            let is_name = name.len() >= 2 && name.bytes().all(|b| b.is_ascii_uppercase());
            let is_number = !number.is_empty() && number.len() <= 2 && number.bytes().all(|b| b.is_ascii_digit());
            if is_name && is_number && !OTHERS.contains(&name) {
                found.push((at, word));
            }
        }
        at += length;
    }
    found
}

#[derive(Default)]
struct Uses {
    /// Path and line of the definition, else of the first place that cites it.
    first: Option<(String, usize)>,
    is_defined: bool,
    is_defined_in_tests: bool,
    is_asserted: bool,
    is_tested: bool,
}

fn uses(sources: &[Source]) -> BTreeMap<String, Uses> {
    let mut all: BTreeMap<String, Uses> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is_rust() && !source.path.starts_with("tests/tidy/")) {
        let tests = test_lines(source);
        let is_src = source.path.starts_with("src/");
        let mut note = |id: &str, line: usize| {
            let uses = all.entry(id.to_owned()).or_default();
            uses.first.get_or_insert_with(|| (source.path.clone(), line));
            uses.is_tested |= is_test_line(source, &tests, line) && !is_rule(source, line, id);
        };
        for comment in &source.lexed.comments {
            ids(&comment.text).into_iter().for_each(|(_, id)| note(id, comment.line));
        }
        let literals = &source.lexed.code_and_literals;
        for (at, id) in ids(literals) {
            note(id, line_at(literals, at));
        }
        for comment in &source.lexed.comments {
            if let Some(id) = defined(&comment.text) {
                let uses = all.entry(id.to_owned()).or_default();
                if !uses.is_defined && !uses.is_defined_in_tests {
                    uses.first = Some((source.path.clone(), comment.line));
                }
                uses.is_defined |= is_src;
                uses.is_defined_in_tests |= !is_src;
            }
        }
        for id in asserted(source, &tests) {
            all.entry(id).or_default().is_asserted = true;
        }
    }
    let names: BTreeSet<String> = sources
        .iter()
        .flat_map(functions)
        .filter(|function| function.is_test)
        .map(|test| format!("_{}_", test.name))
        .collect();
    for (id, uses) in &mut all {
        let as_name = format!("_{}_", id.to_lowercase().replace('-', "_"));
        uses.is_tested |= names.iter().any(|name| name.contains(&as_name));
    }
    all
}

/// Whether the line is where a rule of a test program is defined, which tests nothing.
fn is_rule(source: &Source, line: usize, id: &str) -> bool {
    source.lexed.comments.iter().any(|comment| comment.line == line && defined(&comment.text) == Some(id))
}

/// The id that a comment defines.
fn defined(comment: &str) -> Option<&str> {
    let text = comment.trim().trim_start_matches(['-', '*', '`', ' ']);
    let (at, id) = *ids(text).first()?;
    (at == 0 && text[id.len()..].trim_start_matches('`').starts_with(':')).then_some(id)
}

fn asserted(source: &Source, tests: &[(usize, usize)]) -> Vec<String> {
    let (code, literals) = (&source.lexed.code, &source.lexed.code_and_literals);
    // Blanks in one text may be wider characters in the other, so positions are counted in characters.
    let literals: Vec<char> = literals.chars().collect();
    let mut found = Vec::new();
    for name in ASSERTS {
        for (at, _) in code.match_indices(name) {
            if is_test_line(source, tests, line_at(code, at)) {
                continue;
            }
            let end = call_end(code, at + name.len());
            let (from, to) = (code[..at].chars().count(), code[..end].chars().count());
            let text: String = literals[from..to].iter().collect();
            found.extend(ids(&text).into_iter().map(|(_, id)| id.to_owned()));
        }
    }
    found
}

/// Behind the parenthesis that closes a call.
fn call_end(code: &str, at: usize) -> usize {
    let mut depth = 0;
    for (offset, c) in code[at..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return at + offset + 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    body_end(code, at)
}

fn violations(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (id, uses) in uses(sources) {
        let Some((path, line)) = &uses.first else { continue };
        let mut lacks = |what: &str| found.push(Violation::new(path, *line, format!("{id} {what}")));
        if !uses.is_defined && !uses.is_defined_in_tests {
            lacks("has no definition: write `ID: one sentence` in the module's documentation");
        }
        if !uses.is_asserted && !uses.is_defined_in_tests {
            lacks("has no assert: name it in the message of one");
        }
        if !uses.is_tested {
            lacks("has no test: name it in a test's name or body");
        }
    }
    found
}

#[test]
fn invariants_are_defined_asserted_and_tested() {
    check("invariants", &violations(tree()));
}

#[test]
fn an_invariant_without_definition_assert_or_test_is_a_violation() {
    let found = |text: &str| {
        let found = violations(&[Source::new("src/a.rs", text)]);
        found.into_iter().map(|v| v.what.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let whole = "//! - PART-1: a <= b (KIP-101, CRC-32C, UTF-8).\nfn a() {\n    assert!(a <= b, \"PART-1: {a}\");\n}\n";
    let test = "#[cfg(test)]\nmod tests {\n    #[test]\n    fn part_1_holds() {}\n}\n";
    assert_eq!(found(&format!("{whole}{test}")), [""; 0]);
    assert_eq!(found(whole), ["PART-1 has no test"]);
    assert_eq!(found(&format!("// PART-1: a <= b\n{test}")), ["PART-1 has no assert"]);
    assert_eq!(found("// see PART-2\n").len(), 3);
    // part_1 is not part_10.
    let ten = whole.replace("PART-1", "PART-10");
    assert_eq!(found(&format!("{ten}{test}")), ["PART-10 has no test"]);
}
