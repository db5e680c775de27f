//! Zigzag varints, the encoding of numbers in records: small magnitudes of either sign take one byte.

/// Why bytes are not a varint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VarintError {
    /// The last byte present has its continuation bit set, or there is no byte.
    #[error("the bytes end inside a variable-length number")]
    Ends,
    /// More than 5 bytes for an i32, or 10 for an i64.
    #[error("a variable-length number is longer than its type allows")]
    TooLong,
}

/// Reads an i32 (at most 5 bytes) at the start of `bytes` and steps over it.
#[inline]
pub fn read_i32(bytes: &mut &[u8]) -> Result<i32, VarintError> {
    // Nearly every length and delta of a record fits one byte.
    if let [first @ 0..=0x7f, rest @ ..] = *bytes {
        *bytes = rest;
        let raw = u32::from(*first);
        return Ok((raw >> 1) as i32 ^ -((raw & 1) as i32));
    }
    // The length of a 64-byte value and the offset delta of the 65th record take two.
    if let [first, second @ 0..=0x7f, rest @ ..] = *bytes {
        *bytes = rest;
        let raw = u32::from(*first & 0x7f) | u32::from(*second) << 7;
        return Ok((raw >> 1) as i32 ^ -((raw & 1) as i32));
    }
    let raw = read_raw(bytes, 5)? as u32;
    Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Reads an i64 (at most 10 bytes) at the start of `bytes` and steps over it.
#[inline]
pub fn read_i64(bytes: &mut &[u8]) -> Result<i64, VarintError> {
    if let [first @ 0..=0x7f, rest @ ..] = *bytes {
        *bytes = rest;
        let raw = u64::from(*first);
        return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
    }
    if let [first, second @ 0..=0x7f, rest @ ..] = *bytes {
        *bytes = rest;
        let raw = u64::from(*first & 0x7f) | u64::from(*second) << 7;
        return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
    }
    let raw = read_raw(bytes, 10)?;
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// The raw number. Excess bits are dropped, as by Java's shifts.
fn read_raw(bytes: &mut &[u8], bytes_max: usize) -> Result<u64, VarintError> {
    let mut raw = 0u64;
    for (i, byte) in bytes.iter().take(bytes_max).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Ok(raw);
        }
    }
    Err(if bytes.len() < bytes_max { VarintError::Ends } else { VarintError::TooLong })
}

/// Appends an i32 to `out`.
pub fn write_i32(value: i32, out: &mut Vec<u8>) {
    write_i64(i64::from(value), out);
}

/// Appends an i64 to `out`.
pub fn write_i64(value: i64, out: &mut Vec<u8>) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// The encoded size of `value`. It is the same for an i32 and an i64.
pub fn bytes_of(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_in_the_computed_size() {
        let mut values = vec![0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN];
        values.extend((0..63).flat_map(|bit| [1i64 << bit, -(1i64 << bit), (1i64 << bit) - 1]));
        for value in values {
            let mut bytes = Vec::new();
            write_i64(value, &mut bytes);
            assert_eq!(bytes.len(), bytes_of(value), "{value}");
            let mut rest = &bytes[..];
            assert_eq!(read_i64(&mut rest), Ok(value));
            assert!(rest.is_empty());
            for cut in 0..bytes.len() {
                assert_eq!(read_i64(&mut &bytes[..cut]), Err(VarintError::Ends), "{value} cut at {cut}");
            }
            if let Ok(small) = i32::try_from(value) {
                assert_eq!(read_i32(&mut &bytes[..]), Ok(small));
            }
        }
    }

    #[test]
    fn the_encoding_is_kafkas_zigzag() {
        for (value, bytes) in
            [(0, &[0u8][..]), (-1, &[1]), (1, &[2]), (63, &[0x7e]), (64, &[0x80, 1]), (-65, &[0x81, 1])]
        {
            let mut written = Vec::new();
            write_i32(value, &mut written);
            assert_eq!(written, bytes, "{value}");
        }
    }

    #[test]
    fn an_endless_number_is_rejected() {
        assert_eq!(read_i32(&mut &[0xff; 6][..]), Err(VarintError::TooLong));
        assert_eq!(read_i64(&mut &[0xff; 11][..]), Err(VarintError::TooLong));
    }
}
