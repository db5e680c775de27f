//! The rules of this repository that a script can check, over the tree as it lies on the disk.
//!
//! | module | rule |
//! |---|---|
//! | `ranks` | a file of `src/` imports only from its own directory and from lower ranks of the map in `src/lib.rs` |
//! | `words` | comments and test names name their subject: no stand-ins (`words::WORDS`) |
//! | `lines` | at most 120 columns; a TODO names its issue |
//! | `sizes` | no file above 600 lines, few functions above 70, a median file of at most 125 |
//! | `invariants` | each invariant id has a definition, an assert and a test that name it |
//! | `links` | each file that a document or a comment names exists |
//! | `statements` | the numbers in `tests/statements.md` are complete, and its tests exist |
//!
//! This binary uses the standard library alone. Cargo builds the package first; without that it takes three seconds:
//! `CARGO_MANIFEST_DIR=$PWD rustc --edition 2024 --test tests/tidy/main.rs -o target/tidy && target/tidy`.
//!
//! Each rule is a function from sources to errors, with a test that it fails on bad input and a test of the tree.

mod invariants;
mod lexer;
mod lines;
mod links;
mod ranks;
mod sizes;
mod statements;
mod tree;
mod words;

/// A place that breaks a rule, and the remedy.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    path: String,
    line: usize,
    what: String,
}

impl Violation {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Violation {
        Violation { path: path.to_owned(), line, what: what.into() }
    }
}

/// Fails if there is a violation, and lists all of them.
fn check(rule: &str, violations: &[Violation]) {
    check_few(rule, violations, 0);
}

/// Fails if there are more than `allowed` violations. `cargo test --test tidy -- --nocapture` lists the allowed ones.
fn check_few(rule: &str, violations: &[Violation], allowed: usize) {
    let list: Vec<String> = violations.iter().map(|v| format!("{}:{}: {}", v.path, v.line, v.what)).collect();
    println!("{rule}: {} violations, {allowed} allowed\n{}", list.len(), list.join("\n"));
    assert!(list.len() <= allowed, "{rule}: {} violations, {allowed} allowed\n{}", list.len(), list.join("\n"));
}
