//! The table of broker settings as a TOML file with every line commented out: a template and a reference.

use std::fmt::Write;

use super::broker::SETTINGS;
use super::setting::{Kind, Setting};

/// Each setting with its doc, its range and its default, commented out.
pub fn example() -> String {
    let mut text =
        String::from("# Every setting of a Tidemill broker, at its default. Remove the # of those you change.\n");
    for setting in SETTINGS {
        let default = assignment(setting);
        write!(text, "\n# {}\n# {}\n# {default}\n", setting.doc, setting.range()).expect("writing to memory");
    }
    text
}

/// `name = value`, or `name =` for a setting that is not set by default.
fn assignment(setting: &Setting) -> String {
    // Quoted, because in TOML max.connections cannot be both a number and the table of max.connections.per.ip.
    let name = format!("\"{}\"", setting.name);
    match (setting.kind, setting.default) {
        (_, None) => format!("{name} ="),
        (
            Kind::Boolean | Kind::Int { .. } | Kind::Short { .. } | Kind::Long { .. } | Kind::Double { .. },
            Some(value),
        ) => {
            format!("{name} = {value}")
        }
        (_, Some(value)) => format!("{name} = \"{value}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerConfig, Source, load};

    #[test]
    fn the_example_changes_nothing_with_or_without_its_comment_marks() {
        let read = |text: &str| {
            load(Some(Source { name: "example.toml", text }), &[]).unwrap_or_else(|error| panic!("{error}"))
        };
        let text = example();
        assert_eq!(read(&text), BrokerConfig::default());
        // Uncommented, each setting is given and has the same value.
        let assignments = text.lines().filter_map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")));
        let written: String = assignments.filter(|line| !line.ends_with('=')).map(|line| format!("{line}\n")).collect();
        let config = read(&written);
        for setting in SETTINGS {
            assert_eq!(config.value(setting.name), BrokerConfig::default().value(setting.name), "{}", setting.name);
            assert_eq!(config.is_given(setting.name), setting.default.is_some(), "{}", setting.name);
        }
    }
}
