//! Each file that a document or a comment names exists.

use crate::tree::{Source, root, tree};
use crate::{Violation, check};

/// Directories of the repository; a path that begins with one is a claim that it exists.
const OURS: [&str; 4] = ["src/", "tests/", "perf/", "benches/"];

/// Targets of `[text](target)` in a line.
fn targets(line: &str) -> Vec<&str> {
    let begins = line.match_indices("](").map(|(at, _)| at + 2);
    begins.filter_map(|at| line[at..].split_once(')').map(|(target, _)| target)).collect()
}

/// Paths that begin with one of our directories, without the punctuation behind them.
fn paths(line: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_alphanumeric() || "/._-*<>{}".contains(c);
    let mut found = Vec::new();
    for directory in OURS {
        for (at, _) in line.match_indices(directory) {
            let is_start = !line[..at].ends_with(is_part) || line[..at].ends_with("./");
            let length = line[at..].find(|c| !is_part(c)).unwrap_or(line.len() - at);
            let path = line[at..at + length].trim_end_matches(['.', '-', '/']);
            // A pattern names no file.
            if is_start && !path.contains(['*', '<', '{']) {
                found.push(path);
            }
        }
    }
    found
}

fn violations(sources: &[Source], exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.path.starts_with("tests/tidy/")) {
        let directory = source.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let is_markdown = source.path.ends_with(".md");
        let mut check = |line: usize, text: &str| {
            if is_markdown {
                for target in targets(text) {
                    let file = target.split('#').next().unwrap_or_default();
                    let is_local = !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:");
                    if is_local && !exists(&format!("{directory}/{file}")) {
                        let what = format!("`{target}` does not exist: correct the link");
                        found.push(Violation::new(&source.path, line, what));
                    }
                }
            }
            for path in paths(text) {
                let candidates = [path.to_owned(), format!("{path}.rs"), format!("{directory}/{path}")];
                if !candidates.iter().any(|path| exists(path)) {
                    let what = format!("`{path}` does not exist: correct the path");
                    found.push(Violation::new(&source.path, line, what));
                }
            }
        };
        if is_markdown {
            source.text.lines().enumerate().for_each(|(n, line)| check(n + 1, line));
        } else {
            source.lexed.comments.iter().for_each(|comment| check(comment.line, &comment.text));
        }
    }
    found
}

#[test]
fn files_that_are_named_exist() {
    let found = violations(tree(), |path| root().join(path.trim_start_matches('/')).exists());
    check("links", &found);
}

#[test]
fn a_path_to_a_missing_file_is_a_violation() {
    let exists = |path: &str| ["src/a.rs", "/src/a.rs", "perf/README.md", "src/b"].contains(&path);
    let found = |path, text: &str| {
        let found = violations(&[Source::new(path, text)], exists);
        found.into_iter().map(|v| (v.line, v.what.split('`').nth(1).unwrap().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(found("README.md", "[a](src/a.rs#L1) [b](https://x/src/) `src/a.rs`, src/b/.\n"), []);
    let two = vec![(2, "gone.md".to_owned()), (2, "src/gone.rs".to_owned())];
    assert_eq!(found("perf/x.md", "[a](README.md)\n[b](gone.md) in src/gone.rs.\n"), two);
    assert_eq!(
        found("src/a.rs", "let a = \"src/no\"; // tests/gone, `src/*.rs`, http://x/src/y\n"),
        [(1, "tests/gone".to_owned())]
    );
}
