//! The envelope of a frame: the length prefix, and the request and response headers of each API version.
//!
//! ```text
//! request:  int32 length | int16 api key | int16 version | int32 correlation id | string? client id | tags (v2)
//! response: int32 length | int32 correlation id | tags (v1)
//! ```
//! The client id keeps its int16 length in header v2 too.

use std::borrow::Cow;

use super::{Api, ApiKey, Malformed, Message, Reader, Unencodable, Writer};
use crate::model::ErrorCode;

/// Kafka's default for `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;

/// The limit for requests other than Produce, because a decoded struct can take dozens of times its bytes on the wire.
/// A fetch of 100,000 partitions fits.
pub const OTHER_REQUEST_BYTES_MAX: usize = 4 << 20;

/// A longer client id is cut to this length. A member id is a client id and a UUID, and must fit an int16 length.
pub const CLIENT_ID_BYTES_MAX: usize = 30_000;

/// A length prefix out of bounds. It closes the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a frame length of {length} bytes is outside of 0..={max}")]
pub struct IllegalLength {
    /// The length that the prefix claims, in bytes; it may be negative.
    pub length: i32,
    /// The limit, in bytes.
    pub max: usize,
}

/// The length of the frame that follows `prefix`. The peer claims it; do not allocate for it.
pub fn length(prefix: [u8; 4], max: usize) -> Result<usize, IllegalLength> {
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= max => Ok(bytes),
        _ => Err(IllegalLength { length, max }),
    }
}

/// The length limit of a frame whose bytes after the length prefix begin with `head`: `max` for Produce, else at most
/// [`OTHER_REQUEST_BYTES_MAX`]. It is `max` while `head` has fewer than the two bytes of the API key.
pub fn request_bytes_max(head: &[u8], max: usize) -> usize {
    match head.first_chunk() {
        Some(key) if i16::from_be_bytes(*key) != ApiKey::Produce.code() => max.min(OTHER_REQUEST_BYTES_MAX),
        _ => max,
    }
}

/// The decoded header of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHeader<'a> {
    /// The API of the request.
    pub api: &'static Api,
    /// The version of the request; the API serves it.
    pub version: i16,
    /// Echoed in the response. It may be negative.
    pub correlation_id: i32,
    /// `None` if null. At most [`CLIENT_ID_BYTES_MAX`] bytes.
    pub client_id: Option<Cow<'a, str>>,
}

/// The reason why a frame is rejected. All but `UnknownApiVersions` close the connection, because no response could be
/// encoded (protocol statement 14).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The header is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No row of [`API_TABLE`](super::API_TABLE) has this key.
    #[error("unknown api key {key}, version {version}")]
    UnknownApi {
        /// The key as sent.
        key: i16,
        /// The version as sent.
        version: i16,
    },
    /// The API is known, and its version is outside the served range.
    #[error("{} version {version} is not served", api.name)]
    UnservedVersion {
        /// The API.
        api: &'static Api,
        /// The version as sent.
        version: i16,
    },
    /// Answered with `api_versions::unsupported_version`; the body is not read.
    #[error("ApiVersions version {version} is unknown")]
    UnknownApiVersions {
        /// The version as sent.
        version: i16,
        /// Echoed in the response.
        correlation_id: i32,
    },
}

impl<'a> RequestHeader<'a> {
    /// Decodes the header, and leaves `r` at the body, set to the flexibility of the body.
    pub fn decode(r: &mut Reader<'a>) -> Result<RequestHeader<'a>, Refused> {
        r.set_flexible(false);
        let (key, version, correlation_id) = (r.i16()?, r.i16()?, r.i32()?);
        let api = ApiKey::from_code(key).ok_or(Refused::UnknownApi { key, version })?.api();
        if !api.serves(version) {
            // A newer client may send a newer header, so nothing after the correlation id is read.
            return Err(match api.key {
                ApiKey::ApiVersions => Refused::UnknownApiVersions { version, correlation_id },
                _ => Refused::UnservedVersion { api, version },
            });
        }
        let client_id = r.short_nullable_bytes()?.map(client_id);
        r.set_flexible(api.is_flexible(version));
        r.skip_tags()?;
        Ok(RequestHeader { api, version, correlation_id, client_id })
    }
}

/// Replaces invalid UTF-8 first and cuts the id to its bound afterwards, because a replacement character is longer.
fn client_id(bytes: &[u8]) -> Cow<'_, str> {
    let id = String::from_utf8_lossy(bytes);
    let mut end = id.len().min(CLIENT_ID_BYTES_MAX);
    while !id.is_char_boundary(end) {
        end -= 1;
    }
    match id {
        Cow::Borrowed(id) => Cow::Borrowed(&id[..end]),
        Cow::Owned(mut id) => {
            id.truncate(end);
            Cow::Owned(id)
        }
    }
}

/// Begins a request frame: writes the header; the caller writes the body.
pub fn request(api: &Api, version: i16, correlation_id: i32, client_id: Option<&str>) -> Writer {
    let mut w = Writer::frame(version);
    w.i16(api.key.code());
    w.i16(version);
    w.i32(correlation_id);
    w.short_nullable_string(client_id);
    w.set_flexible(api.is_flexible(version));
    w.tag_count(0);
    w
}

/// Begins a response frame: writes the header; the caller writes the body.
pub fn response(api: &Api, version: i16, correlation_id: i32) -> Writer {
    let mut w = Writer::frame(version);
    w.i32(correlation_id);
    w.set_flexible(api.response_header_is_flexible(version));
    w.tag_count(0);
    w.set_flexible(api.is_flexible(version));
    w
}

/// Reads a response header and leaves `r` at the body. Returns the correlation id.
pub fn decode_response_header(r: &mut Reader<'_>, api: &Api, version: i16) -> Result<i32, Malformed> {
    let correlation_id = r.i32()?;
    r.set_flexible(api.response_header_is_flexible(version));
    r.skip_tags()?;
    r.set_flexible(api.is_flexible(version));
    Ok(correlation_id)
}

/// Encodes a whole request frame, including the length prefix.
pub fn encode_request<M: Message>(
    message: &M,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Vec<u8>, Unencodable> {
    let mut w = request(M::API.api(), version, correlation_id, client_id);
    message.encode(&mut w, version);
    w.finish()
}

/// Encodes a whole response frame, including the length prefix.
pub fn encode_response<M: Message>(message: &M, version: i16, correlation_id: i32) -> Result<Vec<u8>, Unencodable> {
    encode_response_with_errors(message, version, correlation_id).map(|(frame, _)| frame)
}

/// As [`encode_response`], with the error codes in the response: one for each field that has another code than `None`.
pub fn encode_response_with_errors<M: Message>(
    message: &M,
    version: i16,
    correlation_id: i32,
) -> Result<(Vec<u8>, Vec<ErrorCode>), Unencodable> {
    let mut w = response(M::API.api(), version, correlation_id);
    message.encode(&mut w, version);
    let errors = w.take_errors();
    Ok((w.finish()?, errors))
}
