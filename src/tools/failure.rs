//! The error of a command: one sentence about the error, and one about the next step.

use crate::tools::client::ClientError;
use std::fmt;

use serde_json::json;

/// Why a command failed. `Display` gives the text for a terminal: the message, then the hint on its own line.
#[derive(Debug)]
pub struct Failure {
    /// One sentence without a final full stop.
    pub message: String,
    /// The next step, if there is a likely one.
    pub hint: Option<String>,
    /// The reader closed the output pipe, as `| head` does. The command then ends without an error.
    pub is_pipe_closed: bool,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), hint: None, is_pipe_closed: false }
    }

    /// A failure with a hint.
    pub fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::new(message).hinted(hint)
    }

    /// Sets the hint.
    pub fn hinted(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }
}

impl Failure {
    /// Each problem of the message. Indented lines belong to the line above them.
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = Vec::new();
        for line in self.message.lines() {
            match problems.last_mut() {
                Some(last) if line.starts_with(' ') => *last = format!("{last}\n{line}"),
                _ => problems.push(line.to_owned()),
            }
        }
        problems
    }

    /// The text for standard error: `error: ` before each problem, then the hint.
    pub fn to_lines(&self) -> String {
        let problems = self.problems().into_iter().map(|problem| format!("error: {problem}"));
        let hint = self.hint.iter().map(|hint| format!("  {hint}"));
        problems.chain(hint).collect::<Vec<_>>().join("\n")
    }

    /// One JSON object for each problem, with the hint.
    pub fn to_json_lines(&self) -> String {
        let line = |problem| json!({ "event": "error", "message": problem, "hint": self.hint }).to_string();
        self.problems().into_iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure { hint: error.hint(), ..Failure::new(error.to_string()) }
    }
}

/// An error while writing the output.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        let is_pipe_closed = error.kind() == std::io::ErrorKind::BrokenPipe;
        Failure { is_pipe_closed, ..Failure::new(format!("cannot write the output: {error}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_is_marked_as_an_error() {
        let failure = Failure::with_hint("a.toml:1: one\n  why: because\na.toml:2: two", "change them");
        assert_eq!(failure.to_lines(), "error: a.toml:1: one\n  why: because\nerror: a.toml:2: two\n  change them");
        let lines = failure.to_json_lines();
        let objects: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(objects[0]["message"], "a.toml:1: one\n  why: because");
        assert_eq!((&objects[1]["message"], &objects[1]["hint"]), (&json!("a.toml:2: two"), &json!("change them")));
    }
}
