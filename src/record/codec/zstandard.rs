//! Zstandard. Reads frames one after another. A frame's header states its window; the limit on decoded bytes bounds the
//! window too, because a window larger than the data has no use.

use super::{Codec, CodecError, read_some};
use zstd::zstd_safe::{CCtx, DCtx, DParameter, ResetDirective, compress_bound, get_error_name};

/// Kafka's default of `compression.zstd.level`, which is also the library's.
const LEVEL_DEFAULT: i32 = 3;
/// The default of zstd itself: windows of 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;
/// The largest window of levels up to 19.
const WINDOW_LOG_MIN: u32 = 23;
/// The windows of [`encoder`]: zstd's smallest, and that of the levels up to 16.
const WRITTEN_WINDOW_LOG_MIN: u32 = 10;
const WRITTEN_WINDOW_LOG_MAX: u32 = 22;
/// The largest tables and windows that are kept for the next batch. Common levels need less.
const RETAINED_BYTES_MAX: usize = 4 << 20;

/// The tables of a zstd decoder, created at the first use and kept.
#[derive(Default)]
pub struct Decoder {
    context: Option<DCtx<'static>>,
}

impl Decoder {
    /// Appends the decompressed form of `stored` to `out`, up to `limit` bytes in all.
    pub fn decompress(&mut self, stored: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut context = self.context.take().unwrap_or_else(DCtx::create);
        context
            // A context that read all of its input must be reset before it can be used again.
            .reset(ResetDirective::SessionOnly)
            .and_then(|_| context.set_parameter(DParameter::WindowLogMax(window_log_max(limit))))
            .map_err(|code| CodecError::malformed(Codec::Zstd, get_error_name(code)))?;
        let mut decoder = zstd::stream::read::Decoder::with_context(stored, &mut context);
        let result = loop {
            match read_some(Codec::Zstd, &mut decoder, limit, out) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(decoder);
        // After a failure, the context is in the middle of a frame, so it is dropped.
        if result.is_ok() && context.sizeof() <= RETAINED_BYTES_MAX {
            self.context = Some(context);
        }
        result
    }
}

/// Decompresses a stream in steps, with tables of its own.
pub struct Steps<'a>(zstd::stream::read::Decoder<'a, &'a [u8]>);

impl<'a> Steps<'a> {
    /// `limit` bounds the window. Every step gets the same limit.
    pub fn new(stored: &'a [u8], limit: usize) -> Result<Steps<'a>, CodecError> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(malformed)?;
        decoder.window_log_max(window_log_max(limit)).map_err(malformed)?;
        Ok(Steps(decoder))
    }

    /// Appends the next bytes to `out`, which may grow to `limit` bytes. Returns whether more may follow.
    pub fn step(&mut self, limit: usize, out: &mut Vec<u8>) -> Result<bool, CodecError> {
        read_some(Codec::Zstd, &mut self.0, limit, out)
    }
}

fn window_log_max(limit: usize) -> u32 {
    limit.max(1).next_power_of_two().ilog2().clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX)
}

fn malformed(error: std::io::Error) -> CodecError {
    CodecError::malformed(Codec::Zstd, error)
}

/// Compresses in pieces. `plain_bytes_max` bounds the window and the tables: the encoder does not know the size.
pub fn encoder(level: Option<i32>, plain_bytes_max: usize) -> zstd::stream::write::Encoder<'static, Vec<u8>> {
    let window_log =
        plain_bytes_max.max(1).next_power_of_two().ilog2().clamp(WRITTEN_WINDOW_LOG_MIN, WRITTEN_WINDOW_LOG_MAX);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), scaled(level)).expect("the level is on the scale");
    encoder.window_log(window_log).expect("the window is in zstd's range");
    encoder
}

/// Appends the compressed form of `plain` to `out`, at a level of zstd's scale.
pub fn compress(plain: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + compress_bound(plain.len()), 0);
    let written = CCtx::create()
        .compress(&mut out[start..], plain, scaled(level))
        .unwrap_or_else(|code| panic!("the output has zstd's own upper bound: {}", get_error_name(code)));
    out.truncate(start + written);
}

fn scaled(level: Option<i32>) -> i32 {
    level.unwrap_or(LEVEL_DEFAULT).clamp(zstd::zstd_safe::min_c_level(), zstd::zstd_safe::max_c_level())
}
