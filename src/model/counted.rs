//! A number with its noun, for log lines, messages and tables.

/// `1 partition`, `2 partitions`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
