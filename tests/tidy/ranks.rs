//! Imports go down: a file of `src/` imports its own directory and lower ranks of "The map" in `src/lib.rs`.

use std::collections::HashMap;

use crate::tree::{Source, is_test_line, is_word, line_at, test_lines, tree, whole_words};
use crate::{Violation, check};

/// Directory to rank, from the table below `# The map`.
fn ranks(lib: &str) -> HashMap<String, u32> {
    let lines = lib.lines().map(|line| line.trim_start_matches("//!"));
    let table = lines.skip_while(|line| line.trim() != "# The map").skip_while(|line| !line.contains("```text"));
    let (mut found, mut rank) = (HashMap::new(), 0);
    for line in table.skip(1).take_while(|line| !line.contains("```")) {
        let row = line.trim();
        let number: String = row.chars().take_while(char::is_ascii_digit).collect();
        rank = number.parse().unwrap_or(rank);
        // Names are one blank apart; two blanks end them.
        let names = row[number.len()..].trim_start().split("  ").next().unwrap_or_default();
        found.extend(names.split(' ').map(|name| (name.to_owned(), rank)));
    }
    found
}

/// The paths behind each `crate::` of the code, with their positions.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in whole_words(code, "crate") {
        let Some(rest) = code[at + 5..].strip_prefix("::") else { continue };
        let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
        if !name.is_empty() {
            found.push((at, name));
        } else if rest.starts_with('{') {
            let mut depth = 0;
            let mut is_first = false;
            for (offset, c) in rest.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                if depth == 1 && is_first && is_word(c) {
                    let name = rest[offset..].chars().take_while(|c| is_word(*c)).collect();
                    found.push((at + 7 + offset, name));
                }
                is_first = matches!(c, '{' | ',') || (is_first && c.is_whitespace());
            }
        }
    }
    found
}

/// `src/log/read.rs` is of `log`, `src/log.rs` too; `src/lib.rs` and `src/main.rs` are of no directory.
fn directory(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    let name = below.split('/').next()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (!matches!(name, "lib" | "main")).then_some(name)
}

fn violations(sources: &[Source]) -> Vec<Violation> {
    let lib = sources.iter().find(|source| source.path == "src/lib.rs").expect("src/lib.rs");
    let ranks = ranks(&lib.text);
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let Some(own) = directory(&source.path) else { continue };
        let Some(rank) = ranks.get(own) else {
            found.push(Violation::new(&source.path, 1, format!("`{own}` is not in the map of src/lib.rs: add a row")));
            continue;
        };
        let tests = test_lines(source);
        for (at, name) in imports(&source.lexed.code) {
            let line = line_at(&source.lexed.code, at);
            let Some(other) = ranks.get(&name) else { continue };
            if name != own && other >= rank && !is_test_line(source, &tests, line) {
                let remedy = "move the item down, or pass it in from above";
                let what = format!("`{own}` (rank {rank}) imports `{name}` (rank {other}): {remedy}");
                found.push(Violation::new(&source.path, line, what));
            }
        }
    }
    found
}

#[test]
fn imports_go_down() {
    check("ranks", &violations(tree()));
}

#[test]
fn an_upward_import_is_a_violation() {
    let lib = "//! # The map\n//!\n//! ```text\n\
        //!  1 model        ids\n//!  3 config wire  settings\n//!    disk         files\n//! ```\n";
    let found = |path, text| {
        let found = violations(&[Source::new("src/lib.rs", lib), Source::new(path, text)]);
        found.into_iter().map(|v| (v.line, v.what.split(':').next().unwrap().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(
        found("src/disk/a.rs", "use crate::model::Id;\nuse crate::{\n    disk::b,\n    model::{wire, c},\n};\n"),
        []
    );
    let up = "`model` (rank 1) imports `disk` (rank 3)".to_owned();
    assert_eq!(found("src/model/a.rs", "// crate::disk\nuse crate::{model::b, disk::c};\n"), [(2, up)]);
    let across = "`wire` (rank 3) imports `config` (rank 3)".to_owned();
    assert_eq!(found("src/wire.rs", "fn a() {\n    crate::config::b();\n}\n"), [(2, across)]);
    assert_eq!(found("src/wire.rs", "#[cfg(test)]\nmod tests {\n    use crate::disk;\n}\n"), []);
    assert_eq!(found("src/log/a.rs", ""), [(1, "`log` is not in the map of src/lib.rs".to_owned())]);
}
