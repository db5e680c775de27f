//! Tables of the results for the person that runs the tests.

use comfy_table::{Table, presets};

use crate::support::say;

pub fn table(title: &str, columns: &[&str], rows: &[Vec<String>]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns).add_rows(rows);
    say(&format!("\n{title}\n{table}"));
}
