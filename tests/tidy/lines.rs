//! A line has at most 120 columns, and a TODO names its issue.

use crate::tree::{Source, tree, whole_words};
use crate::{Violation, check};

const COLUMNS: usize = 120;

fn long_lines(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        let is_markdown = source.path.ends_with(".md");
        let mut is_block = false;
        for (n, line) in source.text.lines().enumerate() {
            is_block ^= is_markdown && line.trim_start().starts_with("```");
            let columns = line.chars().count();
            // Markdown has no way to break a row of a table, an output or a link.
            let is_exempt = is_markdown && (is_block || line.starts_with('|') || line.contains("]("));
            if columns > COLUMNS && !is_exempt {
                found.push(Violation::new(&source.path, n + 1, format!("{columns} columns: at most {COLUMNS}")));
            }
        }
    }
    found
}

/// Marks of unfinished work in comments without `#` and the number of an issue on the same line.
fn loose_ends(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.path.starts_with("tests/tidy/")) {
        for comment in &source.lexed.comments {
            let has_issue = comment
                .text
                .match_indices('#')
                .any(|(at, _)| comment.text[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
            for mark in ["TODO", "FIXME", "XXX", "HACK"] {
                if !has_issue && whole_words(&comment.text, mark).next().is_some() {
                    let what = format!("{mark} without an issue: write {mark}(#12), or do it now");
                    found.push(Violation::new(&source.path, comment.line, what));
                }
            }
        }
    }
    found
}

fn ours() -> impl Iterator<Item = &'static Source> {
    let formatted = |path: &str| [".rs", ".toml", ".md", "run"].iter().any(|end| path.ends_with(end));
    tree().iter().filter(move |source| formatted(&source.path))
}

#[test]
fn lines_have_at_most_120_columns() {
    let found: Vec<Violation> = ours().flat_map(|source| long_lines(std::slice::from_ref(source))).collect();
    check("columns", &found);
}

#[test]
fn unfinished_work_names_its_issue() {
    check("loose ends", &loose_ends(tree()));
}

#[test]
fn a_long_line_is_a_violation() {
    let long = "x".repeat(121);
    let found = |path, text: &str| long_lines(&[Source::new(path, text)]).iter().map(|v| v.line).collect::<Vec<_>>();
    assert_eq!(found("src/a.rs", &format!("{}\n{long}\n", "é".repeat(120))), [2]);
    assert_eq!(found("a.md", &format!("| {long} |\n```\n{long}\n```\n{long}\n")), [5]);
}

#[test]
fn a_loose_end_is_a_violation() {
    let text = "// TODO: later\n// TODO(#12): later\nlet todo = \"FIXME\"; // FIXME\n";
    let found = loose_ends(&[Source::new("src/a.rs", text)]);
    assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), [1, 3]);
}
