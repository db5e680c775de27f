//! The error of a command: one sentence about the error, and one about the next step.

use crate::tools::client::ClientError;
use std::fmt;

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
