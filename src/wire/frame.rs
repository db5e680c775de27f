//! A frame's outside: the length in front, the header, and which of both an API's version uses.
//!
//! ```text
//! request:  int32 length | int16 api key | int16 version | int32 correlation id | nullable string client id | tags (v2)
//! response: int32 length | int32 correlation id | tags (v1)
//! ```
//! The client id keeps its int16 length in header v2 too.

use std::borrow::Cow;

use super::{Api, ApiKey, Malformed, Message, Reader, Unencodable, Writer};

/// Kafka's default for `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Requests other than Produce are decoded into structs that can take dozens of times the bytes on the wire, so they get a
/// limit of their own. A fetch of 100,000 partitions fits.
pub const OTHER_REQUEST_BYTES_MAX: usize = 4 << 20;

/// A client id is no longer than this, and goes into the ids of members: those, like every name, have to fit what an int16 can
/// count.
pub const CLIENT_ID_BYTES_MAX: usize = 30_000;

/// A length prefix that no peer in its right mind sends. The connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a frame of {length} bytes, where at most {max} are allowed")]
pub struct IllegalLength {
    pub length: i32,
    pub max: usize,
}

/// The length of the frame that follows `prefix`. It is a claim, not a reason to allocate.
pub fn length(prefix: [u8; 4], max: usize) -> Result<usize, IllegalLength> {
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= max => Ok(bytes),
        _ => Err(IllegalLength { length, max }),
    }
}

/// How long the frame may be that begins, behind its length, with `head`: at most `max`, and less for what is decoded at a
/// multiple of its size. With fewer than two bytes it cannot be told, and is `max`.
pub fn request_bytes_max(head: &[u8], max: usize) -> usize {
    match head.first_chunk() {
        Some(key) if i16::from_be_bytes(*key) != ApiKey::Produce.code() => max.min(OTHER_REQUEST_BYTES_MAX),
        _ => max,
    }
}

/// Who asks what, and at which version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHeader<'a> {
    pub api: &'static Api,
    pub version: i16,
    /// Echoed in the answer, whatever its sign.
    pub correlation_id: i32,
    pub client_id: Option<Cow<'a, str>>,
}

/// Why a frame is not served. All but one close the connection: no answer could be encoded (protocol statement 14).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("unknown api key {key}, version {version}")]
    UnknownApi { key: i16, version: i16 },
    #[error("{} version {version} is not served", api.name)]
    UnservedVersion { api: &'static Api, version: i16 },
    /// To be answered with `api_versions::unsupported_version`, without a look at the body.
    #[error("ApiVersions version {version} is not known")]
    UnknownApiVersions { version: i16, correlation_id: i32 },
}

impl<'a> RequestHeader<'a> {
    /// Leaves `r` at the body, flexible if the body is.
    pub fn decode(r: &mut Reader<'a>) -> Result<RequestHeader<'a>, Refused> {
        r.set_flexible(false);
        let (key, version, correlation_id) = (r.i16()?, r.i16()?, r.i32()?);
        let api = ApiKey::from_code(key).ok_or(Refused::UnknownApi { key, version })?.api();
        if !api.serves(version) {
            // A newer client's header may be newer too: nothing behind the correlation id is read.
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

/// Bytes that are no UTF-8 are read as replacement characters, which are longer: the id is cut to its bound after that.
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

/// Begins a request frame: header written, ready for the body.
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

/// Begins an answer's frame: header written, ready for the body.
pub fn response(api: &Api, version: i16, correlation_id: i32) -> Writer {
    let mut w = Writer::frame(version);
    w.i32(correlation_id);
    w.set_flexible(api.response_header_is_flexible(version));
    w.tag_count(0);
    w.set_flexible(api.is_flexible(version));
    w
}

/// Reads an answer's header and leaves `r` at the body. Returns the correlation id.
pub fn decode_response_header(r: &mut Reader<'_>, api: &Api, version: i16) -> Result<i32, Malformed> {
    let correlation_id = r.i32()?;
    r.set_flexible(api.response_header_is_flexible(version));
    r.skip_tags()?;
    r.set_flexible(api.is_flexible(version));
    Ok(correlation_id)
}

/// A whole request frame, with its length.
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

/// A whole answer's frame, with its length.
pub fn encode_response<M: Message>(message: &M, version: i16, correlation_id: i32) -> Result<Vec<u8>, Unencodable> {
    let mut w = response(M::API.api(), version, correlation_id);
    message.encode(&mut w, version);
    w.finish()
}
