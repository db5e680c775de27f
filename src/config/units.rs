//! Values with units, which Kafka's settings do not have: a message names the plain number.

const BYTES: &[(&str, i64)] = &[
    ("b", 1),
    ("k", 1 << 10),
    ("kb", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mb", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gb", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1 << 40),
    ("tb", 1 << 40),
    ("tib", 1 << 40),
];
const MS: &[(&str, i64)] = &[
    ("ms", 1),
    ("s", 1000),
    ("sec", 1000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("hours", 3_600_000),
    ("d", 86_400_000),
    ("days", 86_400_000),
];

/// The number that a text such as `1GiB` or `7d` means for the setting. `None` if it is no number with a unit.
pub fn plain_number(name: &str, text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let units = if name.ends_with("ms") { MS } else { BYTES };
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<i64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_unit_has_a_plain_form() {
        for (name, text, expected) in [
            ("memory.bytes", "1GiB", Some(1 << 30)),
            ("memory.bytes", "512 m", Some(512 << 20)),
            ("log.retention.ms", "7d", Some(604_800_000)),
            ("log.retention.ms", "7m", Some(420_000)),
            ("memory.bytes", "1024", None),
            ("memory.bytes", "lots", None),
            ("memory.bytes", "GiB", None),
            ("memory.bytes", "9999999999999g", None),
            ("log.retention.ms", "7GiB", None),
        ] {
            assert_eq!(plain_number(name, text), expected, "{name} {text}");
        }
    }
}
