//! Checks the codec against an outside referee (the `kafka-protocol` crate), against damaged bytes, and against the
//! protocol rules that clients depend on.

mod by_hand;
mod declared;
mod hostile;
mod primitives;
mod statements;

use super::{Bytes, Message, Reader, Writer};
use crate::model::{ErrorCode, TopicId};

/// A seeded random generator (splitmix64), so that a failure repeats.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn text(&mut self) -> String {
        let length = self.pick(&[0, 1, 5, 20, 126, 127, 128, 300]);
        (0..length).map(|_| self.pick(&['a', 'Z', '0', '.', '-', '_'])).collect()
    }

    pub fn bytes(&mut self) -> Vec<u8> {
        let length = self.pick(&[0, 1, 61, 126, 127, 128, 5000]);
        (0..length).map(|_| self.roll() as u8).collect()
    }

    pub fn i64(&mut self) -> i64 {
        let any = self.roll() as i64;
        self.pick(&[0, 1, -1, i64::MIN, i64::MAX, any])
    }

    pub fn i32(&mut self) -> i32 {
        let any = self.roll() as i32;
        self.pick(&[0, 1, -1, i32::MIN, i32::MAX, any])
    }

    pub fn error_code(&mut self) -> ErrorCode {
        let code = self.below(135) as i16 - 1;
        ErrorCode::from_code(code).expect("Kafka's codes have no gap")
    }
}

/// A random value that sets every field of `version`. [`message!`](crate::wire) implements it for every declaration.
pub trait Sample: Sized {
    fn sample(dice: &mut Dice, version: i16) -> Self;
}

macro_rules! sample {
    ($($ty:ty: |$dice:ident| $value:expr;)*) => {$(
        impl Sample for $ty {
            fn sample($dice: &mut Dice, _: i16) -> $ty {
                $value
            }
        }
    )*};
}

sample! {
    bool: |dice| dice.below(2) == 1;
    i8: |dice| dice.i64() as i8;
    i16: |dice| dice.i64() as i16;
    u16: |dice| dice.i64() as u16;
    i32: |dice| dice.i32();
    i64: |dice| dice.i64();
    String: |dice| dice.text();
    Bytes: |dice| Bytes(dice.bytes());
    ErrorCode: |dice| dice.error_code();
    TopicId: |dice| TopicId((u128::from(dice.roll()) << 64 | u128::from(dice.roll())).to_be_bytes());
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(dice: &mut Dice, version: i16) -> Vec<T> {
        (0..dice.below(4)).map(|_| T::sample(dice, version)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(dice: &mut Dice, version: i16) -> Option<T> {
        (dice.below(3) > 0).then(|| T::sample(dice, version))
    }
}

/// Encodes the body of a message at `version`.
fn body<M: Message>(message: &M, version: i16) -> Vec<u8> {
    let mut w = Writer::new(version, M::API.api().is_flexible(version));
    message.encode(&mut w, version);
    w.finish().expect("the version has all fields that are set")
}

fn parse<M: Message>(body: &[u8], version: i16) -> Result<M, super::Malformed> {
    let mut r = Reader::new(body);
    r.set_flexible(M::API.api().is_flexible(version));
    let message = M::decode(&mut r, version)?;
    assert_eq!(r.remaining(), 0, "every byte is read");
    Ok(message)
}
