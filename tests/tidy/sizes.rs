//! Files and functions stay small enough to read in one go.

use crate::tree::{Source, functions, tree};
use crate::{Violation, check, check_few};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
/// The median of the files of `src/` without those of tests. Below this, a split separates code that changes together.
const MEDIAN_LINES: usize = 125;

fn long_files(sources: &[Source]) -> Vec<Violation> {
    let lines = |source: &Source| source.text.lines().count();
    let long = sources.iter().filter(|source| source.is_rust() && lines(source) > FILE_LINES);
    let what = |source| format!("{} lines: at most {FILE_LINES}; move a part into a file of its own", lines(source));
    long.map(|source| Violation::new(&source.path, 1, what(source))).collect()
}

/// Functions that are too long, and how many there are of any length.
fn long_functions(sources: &[Source]) -> (Vec<Violation>, usize) {
    let (mut found, mut all) = (Vec::new(), 0);
    for source in sources.iter().filter(|source| source.is_rust()) {
        for function in functions(source) {
            all += 1;
            let lines = function.lines.1 - function.lines.0 + 1;
            if lines > FUNCTION_LINES {
                let what = format!("`{}` has {lines} lines: at most {FUNCTION_LINES}", function.name);
                found.push(Violation::new(&source.path, function.lines.0, what));
            }
        }
    }
    (found, all)
}

fn median_lines(sources: &[Source]) -> usize {
    let of_code = sources.iter().filter(|source| source.is_rust() && !source.is_of_tests());
    let mut lines: Vec<usize> = of_code.map(|source| source.text.lines().count()).collect();
    lines.sort_unstable();
    lines.get(lines.len() / 2).copied().unwrap_or(0)
}

fn below(directory: &str) -> Vec<Source> {
    let below = tree().iter().filter(|source| source.path.starts_with(directory));
    below.map(|source| Source::new(&source.path, &source.text)).collect()
}

#[test]
fn files_have_at_most_600_lines() {
    check("file sizes", &long_files(tree()));
}

#[test]
fn fewer_than_one_function_in_a_hundred_has_more_than_70_lines() {
    let (found, all) = long_functions(&below("src/"));
    check_few("function sizes", &found, all / 100);
}

#[test]
fn the_median_file_has_at_most_125_lines() {
    let median = median_lines(&below("src/"));
    println!("median file: {median} lines");
    assert!(median <= MEDIAN_LINES, "the median file of src/ has {median} lines, {MEDIAN_LINES} at most: split files");
}

#[test]
fn a_long_file_and_a_long_function_are_violations() {
    let text = format!("fn a() {{\n{}}}\nfn b() {{}}\n", "    b();\n".repeat(599));
    let sources = [Source::new("src/a.rs", &text), Source::new("src/b.rs", "fn c() {}\n"), Source::new("a.md", &text)];
    assert_eq!(long_files(&sources).len(), 1);
    let (long, all) = long_functions(&sources);
    assert_eq!((long.len(), all), (1, 3));
    assert_eq!(median_lines(&sources), 602);
}
