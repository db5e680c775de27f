//! The log on standard error, and the variables `TIDEMILL_LOG` and `TIDEMILL_LOG_FORMAT` that filter and shape it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts the log. Returns complaints about the filter in `TIDEMILL_LOG` and about `TIDEMILL_LOG_FORMAT`; `info` and
/// `text` are used in their place.
pub(super) fn start(filter: Option<&str>, format: Option<&str>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut complain = |complaint| complaints.push(complaint);
    let given = |text: &&str| !text.is_empty();
    let filter = filter.filter(given).map(parse).transpose().map_err(&mut complain).ok().flatten();
    let is_json = format.filter(given).map(is_json).transpose().map_err(&mut complain).ok().flatten();
    // https://no-color.org: any value but an empty one.
    let is_colour_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| "info".into()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !is_colour_refused);
    match is_json {
        Some(true) => log.json().flatten_event(true).init(),
        _ => log.init(),
    }
    complaints
}

/// Whether each line is an object.
fn is_json(format: &str) -> Result<bool, String> {
    match format {
        "json" => Ok(true),
        "text" => Ok(false),
        _ => Err(format!("TIDEMILL_LOG_FORMAT={format}: write json or text")),
    }
}

/// A level, or a list such as `warn,tidemill::shard=debug`. The library takes each other word for the name of a module.
fn parse(text: &str) -> Result<EnvFilter, String> {
    let complain = |part: &str, why: &str| {
        format!(
            "TIDEMILL_LOG={text}: {part} {why}; write a level ({}) or tidemill::<module>=<level>",
            LEVELS.join(", ")
        )
    };
    for part in text.split(',').map(str::trim) {
        let (module, level) = part.split_once('=').map_or((part, None), |(module, level)| (module, Some(level)));
        let is_level = |text: &str| LEVELS.contains(&text.to_ascii_lowercase().as_str());
        if level.is_none() && is_level(module) {
            continue;
        }
        if module.split(['[', ':']).next() != Some("tidemill") {
            return Err(complain(part, "names neither a level nor a module"));
        }
        if level.is_some_and(|level| !is_level(level)) {
            return Err(complain(part, "has no level"));
        }
    }
    EnvFilter::try_new(text).map_err(|error| complain(&error.to_string(), "is no filter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_levels_and_modules() {
        for text in ["debug", "WARN", "off", "warn,tidemill::shard=debug", "tidemill=trace", "tidemill::serve"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in ["nonsense", "nonsense===", "tidemill=loud", "debug,", "hyper=debug"] {
            let complaint = parse(text).expect_err("it is no filter");
            assert!(complaint.starts_with(&format!("TIDEMILL_LOG={text}: ")), "{complaint}");
        }
    }
}
