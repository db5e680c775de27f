//! Zstandard. Reads frames one after another. A frame's header states its window; the limit on decoded bytes bounds the
//! window too, because a window larger than the data has no use.

use super::{Codec, CodecError, read_bounded};
use zstd::zstd_safe::{CCtx, DCtx, DParameter, ResetDirective, compress_bound, get_error_name};

/// Kafka's default of `compression.zstd.level`, which is also the library's.
const LEVEL_DEFAULT: i32 = 3;
/// The default of zstd itself: windows of 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;
/// The largest window of levels up to 19.
const WINDOW_LOG_MIN: u32 = 23;
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
        let window_log = limit.max(1).next_power_of_two().ilog2().clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX);
        context
            // A context that read all of its input must be reset before it can be used again.
            .reset(ResetDirective::SessionOnly)
            .and_then(|_| context.set_parameter(DParameter::WindowLogMax(window_log)))
            .map_err(|code| CodecError::malformed(Codec::Zstd, get_error_name(code)))?;
        let decoder = zstd::stream::read::Decoder::with_context(stored, &mut context);
        let result = read_bounded(Codec::Zstd, decoder, limit, out);
        // After a failure, the context is in the middle of a frame, so it is dropped.
        if result.is_ok() && context.sizeof() <= RETAINED_BYTES_MAX {
            self.context = Some(context);
        }
        result
    }
}

/// Appends the compressed form of `plain` to `out`, at a level of zstd's scale.
pub fn compress(plain: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
    let level = level.unwrap_or(LEVEL_DEFAULT).clamp(zstd::zstd_safe::min_c_level(), zstd::zstd_safe::max_c_level());
    let start = out.len();
    out.resize(start + compress_bound(plain.len()), 0);
    let written = CCtx::create()
        .compress(&mut out[start..], plain, level)
        .unwrap_or_else(|code| panic!("the output has zstd's own upper bound: {}", get_error_name(code)));
    out.truncate(start + written);
}
