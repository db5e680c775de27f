//! Input and output shared by the commands: aligned tables without borders, counts, optional numbers, deletions, and
//! questions to the user.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use super::Failure;

/// An empty table without borders.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Aligns these columns to the right. Columns that the table does not have are ignored.
pub fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// An empty table whose columns from `first` on are aligned to the right.
pub fn table_of_numbers(header: &[&str], first: usize) -> Table {
    let mut table = table(header);
    align_right(&mut table, first..header.len());
    table
}

/// The number, or `-` for `None`.
pub fn number_or_dash(number: Option<i64>) -> String {
    number.map_or("-".into(), |number| number.to_string())
}

/// Reports a deleted topic or group, as text or JSON.
pub fn print_deleted(noun: &str, name: &str, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        writeln!(out, "{}", json!({ (noun): name, "deleted": true }))
    } else {
        writeln!(out, "deleted {noun} {name}")
    }
}

/// The number, or `-` for a negative one, which the protocol uses for "none".
pub fn or_dash(number: i64) -> String {
    number_or_dash((number >= 0).then_some(number))
}

/// Asks a question on the terminal and returns whether the answer is yes. Without a terminal the command fails with
/// `statement`, and a hint at `--yes`.
pub fn confirm(question: &str, statement: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::with_hint(statement, "add --yes to delete without a question"));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Parses a number of at least 1.
pub fn count_parser<N: TryFrom<i64>>(text: &str) -> Result<N, String> {
    let count = text.parse::<i64>().ok().filter(|count| *count >= 1).and_then(|count| N::try_from(count).ok());
    count.ok_or_else(|| format!("expected a number of at least 1, got {text:?}"))
}
