//! The files of the repository, and the functions in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::lexer::{Lexed, lex};

/// A file of text.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The parts of a Rust file; empty for other files.
    pub lexed: Lexed,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let lexed = if path.ends_with(".rs") { lex(text) } else { Lexed::default() };
        Source { path: path.to_owned(), text: text.to_owned(), lexed }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is compiled for tests only.
    pub fn is_of_tests(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

/// A function with a body, or without one in a trait.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Lines of the signature and of the closing brace.
    pub lines: (usize, usize),
    pub is_test: bool,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All text files below the root, sorted by path.
pub fn tree() -> &'static [Source] {
    static TREE: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let mut paths = Vec::new();
        walk(root(), &mut paths);
        paths.sort();
        let read = |path: &PathBuf| {
            let text = fs::read_to_string(path).ok()?;
            let path = path.strip_prefix(root()).expect("below the root").to_str().expect("a name in UTF-8");
            Some(Source::new(path, &text))
        };
        paths.iter().filter_map(read).collect()
    });
    &TREE
}

/// Directories that hold no source: build output, packages of clients, version control.
const NOT_OURS: [&str; 5] = ["target", "node_modules", "corpus", "__pycache__", "tidemill-data"];
const TEXT: [&str; 9] = ["rs", "md", "toml", "java", "py", "go", "js", "sh", "yml"];

fn walk(dir: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of the repository") {
        let path = entry.expect("a directory entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            let is_ours = !NOT_OURS.contains(&name) && (!name.starts_with('.') || name == ".ci");
            if is_ours {
                walk(&path, paths);
            }
        } else if path.extension().is_some_and(|e| TEXT.iter().any(|text| e == *text)) || name == "run" {
            paths.push(path);
        }
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The positions of `word` in `text`, as a whole word.
pub fn whole_words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !text[..*at].chars().next_back().is_some_and(is_word)
            && !text[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

pub fn line_at(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The functions of a Rust file.
pub fn functions(source: &Source) -> Vec<Function> {
    let code = &source.lexed.code;
    let mut found = Vec::new();
    for at in whole_words(code, "fn") {
        let name: String = code[at + 2..].trim_start().chars().take_while(|c| is_word(*c)).collect();
        // `fn(u8) -> u8` is a type.
        if name.is_empty() {
            continue;
        }
        let end = body_end(code, at);
        let before = &code[..at];
        let attributes = &before[before.rfind(['}', ';', '{']).map_or(0, |at| at + 1)..];
        found.push(Function {
            name,
            lines: (line_at(code, at), line_at(code, end)),
            is_test: attributes.contains("#[test]"),
        });
    }
    found
}

/// The end of the item at `at`: behind its `;`, or behind the brace that closes its body.
pub fn body_end(code: &str, at: usize) -> usize {
    let mut depth = 0usize;
    let mut brackets = 0usize;
    for (offset, c) in code[at..].char_indices() {
        match c {
            '[' | '(' => brackets += 1,
            ']' | ')' => brackets = brackets.saturating_sub(1),
            ';' if depth == 0 && brackets == 0 => return at + offset,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + offset;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// The lines of `#[cfg(test)]` items, first and last.
pub fn test_lines(source: &Source) -> Vec<(usize, usize)> {
    let code = &source.lexed.code;
    let begins = code.match_indices("#[cfg(test)]").map(|(at, _)| at);
    begins.map(|at| (line_at(code, at), line_at(code, body_end(code, at)))).collect()
}

/// Whether a line of the file is compiled for tests only.
pub fn is_test_line(source: &Source, tests: &[(usize, usize)], line: usize) -> bool {
    source.is_of_tests() || tests.iter().any(|(from, to)| (*from..=*to).contains(&line))
}

#[test]
fn functions_are_found_with_their_lines() {
    let text = "fn a() -> [u8; 2] {\n    { }\n}\n#[test]\nfn b() {}\ntype F = fn(u8);\ntrait T { fn c(); }\n";
    let found = functions(&Source::new("src/a.rs", text));
    let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.lines, f.is_test)).collect();
    assert_eq!(found, [("a", (1, 3), false), ("b", (5, 5), true), ("c", (7, 7), false)]);
}

#[test]
fn lines_of_tests_are_known() {
    let source = Source::new("src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
    let tests = test_lines(&source);
    let of_tests: Vec<usize> = (1..=6).filter(|line| is_test_line(&source, &tests, *line)).collect();
    assert_eq!(of_tests, [2, 3, 4, 5]);
}
