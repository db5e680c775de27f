//! The outcome of a request: a response to send, no response, or a closed connection.

use crate::api::data::answer::Answer;
use crate::api::server::Server;
use crate::router::message::CloseReason;
use crate::wire::{self, Message};

/// The part of a request's header that its response repeats or depends on.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// The version of the request's API.
    pub version: i16,
    /// The client's number of the request, which the response repeats.
    pub correlation_id: i32,
}

/// The result of a finished request.
pub enum Outcome {
    /// Send this frame.
    Send(Answer),
    /// Send nothing: a Produce request with acks=0.
    Nothing,
    /// Close the connection, because no response can be sent.
    Close(CloseReason),
}

impl Outcome {
    /// Sends a frame that is already encoded.
    pub(in crate::api) fn frame(bytes: Vec<u8>) -> Outcome {
        Outcome::Send(bytes.into())
    }

    /// Encodes a response, and counts its error codes.
    pub(in crate::api) fn of<M: Message>(server: &Server, message: &M, header: &Header) -> Outcome {
        encode(server, message, header).into()
    }
}

impl From<Result<Vec<u8>, CloseReason>> for Outcome {
    fn from(frame: Result<Vec<u8>, CloseReason>) -> Outcome {
        match frame {
            Ok(frame) => Outcome::frame(frame),
            Err(reason) => Outcome::Close(reason),
        }
    }
}

/// Encodes a response as a whole frame, with its length, and counts its error codes. The error is a reason to close the
/// connection. Produce and Fetch have encoders of their own, and count the codes of their partitions themselves.
pub(in crate::api) fn encode<M: Message>(
    server: &Server,
    message: &M,
    header: &Header,
) -> Result<Vec<u8>, CloseReason> {
    let encoded = wire::frame::encode_response_with_errors(message, header.version, header.correlation_id);
    let (frame, errors) = encoded.map_err(CloseReason::UnencodableResponse)?;
    errors.into_iter().for_each(|error| server.requests.failed(M::API, error));
    Ok(frame)
}
