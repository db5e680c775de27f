//! Decompresses a batch in steps.

use super::{Codec, CodecError, Decoder};

/// Decompresses one batch in steps, so that the caller can let other tasks run in between.
pub struct Decoding<'a> {
    limit: usize,
    stored: &'a [u8],
    decoded: Vec<u8>,
    /// `None`: the batch is not compressed.
    decoder: Option<Decoder<'a>>,
}

impl<'a> Decoding<'a> {
    /// `limit` is the most decoded bytes.
    pub fn new(codec: Codec, stored: &'a [u8], limit: usize) -> Result<Decoding<'a>, CodecError> {
        let decoder = match codec {
            Codec::None => None,
            codec => Some(Decoder::new(codec, stored, limit)?),
        };
        Ok(Decoding { limit, stored, decoded: Vec::new(), decoder })
    }

    /// Decodes about [`super::STEP_BYTES`]. Returns whether more may follow.
    pub fn step(&mut self) -> Result<bool, CodecError> {
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        let goes_on = decoder.step(self.limit, &mut self.decoded)?;
        assert!(self.decoded.len() <= self.limit, "REC-1: {} bytes of {} are decoded", self.decoded.len(), self.limit);
        Ok(goes_on)
    }

    /// The bytes that are decoded so far.
    pub fn decoded(&self) -> &[u8] {
        if self.decoder.is_some() { &self.decoded } else { self.stored }
    }
}
