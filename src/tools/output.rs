//! Output shared by the commands: aligned tables without borders, counts, optional numbers, and deletions.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

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

/// `1 partition`, `2 partitions`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
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
