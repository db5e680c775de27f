//! Tables for whoever runs the tests to see what they saw.

use comfy_table::{Table, presets};

use crate::support::say;

pub fn table(title: &str, columns: &[&str], rows: &[Vec<String>]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns).add_rows(rows);
    say(&format!("\n{title}\n{table}"));
}
