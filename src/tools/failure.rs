//! How a command fails: a sentence about what went wrong, and one about what to do next.

use crate::tools::client::ClientError;
use std::fmt;

/// What a command could not do. `Display` is the whole text for a terminal.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    /// The next step, where there is a likely one.
    pub hint: Option<String>,
    /// The reader of the output has gone, as `| head` does: an end, not an error.
    pub is_pipe_closed: bool,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), hint: None, is_pipe_closed: false }
    }

    pub fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..Failure::new(message) }
    }

    /// The same, with the next step.
    pub fn hinted(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
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

/// Writing the output failed.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        let is_pipe_closed = error.kind() == std::io::ErrorKind::BrokenPipe;
        Failure { is_pipe_closed, ..Failure::new(format!("cannot write the output: {error}")) }
    }
}
