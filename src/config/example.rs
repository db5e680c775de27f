//! The table of broker settings as a TOML file that says everything and changes nothing: a start for one's own, and the
//! reference for readers.

use std::fmt::Write;

use super::broker::SETTINGS;
use super::setting::{Kind, Setting};

/// Each setting with its line of text, its range and its default, commented out.
pub fn example() -> String {
    let mut text =
        String::from("# Every setting of a Tidemill broker, at its default. Remove the # of those you change.\n");
    for setting in SETTINGS {
        let default = assignment(setting);
        write!(text, "\n# {}\n# {}\n# {default}\n", setting.doc, setting.range()).expect("writing to memory");
    }
    text
}

/// `name = value`, or for a setting whose default is that it is not set, `name =`.
fn assignment(setting: &Setting) -> String {
    // In quotes, because TOML does not let max.connections be both a number and the start of max.connections.per.ip.
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
    fn the_example_changes_nothing_also_when_its_lines_count() {
        let read = |text: &str| {
            load(Some(Source { name: "example.toml", text }), &[]).unwrap_or_else(|fault| panic!("{fault}"))
        };
        let text = example();
        assert_eq!(read(&text), BrokerConfig::default());
        // With every default written out, each setting is given, and is what it was.
        let assignments = text.lines().filter_map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")));
        let written: String = assignments.filter(|line| !line.ends_with('=')).map(|line| format!("{line}\n")).collect();
        let config = read(&written);
        for setting in SETTINGS {
            assert_eq!(config.value(setting.name), BrokerConfig::default().value(setting.name), "{}", setting.name);
            assert_eq!(config.is_given(setting.name), setting.default.is_some(), "{}", setting.name);
        }
    }
}
