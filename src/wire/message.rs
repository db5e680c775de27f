//! The declaration of a message: a list of fields with their versions, as in Kafka's schemas.
//!
//! ```ignore
//! message! {
//!     request DeleteTopicsRequest of DeleteTopics {
//!         topics: Vec<DeleteTopicState>, 6+;
//!         topic_names: Vec<String>, 1-5, ignorable = true;
//!         timeout_ms: i32, 1+, default = 60_000;
//!     }
//!     part DeleteTopicState {
//!         name: Option<String>, 6+;
//!         topic_id: TopicId, 6+;
//!     }
//! }
//! ```
//!
//! generates two structs that encode and decode at every version. An `Option` may be null at every version that has the
//! field, or from `nullable = n+` on. `tag = n` makes a tagged field, which is written only if it differs from its
//! default. A field that the version lacks decodes as its default. When encoded, it must have its default or be
//! `ignorable`; otherwise the message is [`Unencodable`](super::Unencodable), as in Kafka. A string in a field
//! `error_message` is cut to the longest that can be encoded.
//!
//! The documentation of each field ends with its declaration: versions, null, default and tag. A comment above a field
//! adds units and special values. A name that ends in `_ms` counts milliseconds, and one in `_bytes` counts bytes.

use super::{ApiKey, Malformed, Reader, Writer};
use crate::model::{ErrorCode, TopicId};

/// A value that can be encoded and decoded.
pub trait Wire: Sized {
    /// The fewest bytes of an encoded value; array counts are checked against it (WIRE-2).
    fn bytes_min(version: i16, flexible: bool) -> usize;
    /// The default of a field that declares none: zero, empty or null.
    fn unset() -> Self;
    /// Reads a value as `version` encodes it. Never panics (WIRE-1).
    fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, Malformed>;
    /// Writes the value as `version` encodes it. The writer records a value that the version cannot represent.
    fn encode(&self, w: &mut Writer, version: i16);
    /// Whether the value is `None`.
    fn is_null(&self) -> bool {
        false
    }
}

/// A whole request or response, as opposed to a part of one.
pub trait Message: Wire {
    /// The API that the message belongs to.
    const API: ApiKey;
}

/// A type that has a null encoding.
pub trait Nullable: Wire {
    /// Reads a value or null, which is `None`.
    fn decode_nullable(r: &mut Reader<'_>, version: i16) -> Result<Option<Self>, Malformed>;
    /// Writes null, or the marker before a non-null value, if the type has one.
    fn encode_null(value: Option<&Self>, w: &mut Writer);
}

impl<T: Nullable> Wire for Option<T> {
    fn bytes_min(_: i16, _: bool) -> usize {
        1
    }

    fn unset() -> Self {
        None
    }

    fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, Malformed> {
        T::decode_nullable(r, version)
    }

    fn encode(&self, w: &mut Writer, version: i16) {
        T::encode_null(self.as_ref(), w);
        if let Some(value) = self {
            value.encode(w, version);
        }
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

macro_rules! fixed_width {
    ($($ty:ty: $method:ident $bytes:literal $unset:expr;)*) => {$(
        impl Wire for $ty {
            fn bytes_min(_: i16, _: bool) -> usize {
                $bytes
            }

            fn unset() -> Self {
                $unset
            }

            fn decode(r: &mut Reader<'_>, _: i16) -> Result<Self, Malformed> {
                r.$method()
            }

            fn encode(&self, w: &mut Writer, _: i16) {
                w.$method(*self);
            }
        }
    )*};
}

fixed_width! {
    bool: bool 1 false;
    i8: i8 1 0;
    i16: i16 2 0;
    u16: u16 2 0;
    i32: i32 4 0;
    i64: i64 8 0;
    TopicId: uuid 16 TopicId::ZERO;
}

impl Wire for ErrorCode {
    fn bytes_min(_: i16, _: bool) -> usize {
        2
    }

    fn unset() -> Self {
        ErrorCode::None
    }

    /// An unknown code of a newer broker becomes UNKNOWN_SERVER_ERROR, as in the Java client.
    fn decode(r: &mut Reader<'_>, _: i16) -> Result<Self, Malformed> {
        Ok(ErrorCode::from_code(r.i16()?).unwrap_or(ErrorCode::UnknownServerError))
    }

    fn encode(&self, w: &mut Writer, _: i16) {
        w.error_code(*self);
    }
}

impl Wire for String {
    fn bytes_min(_: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 2 }
    }

    fn unset() -> Self {
        String::new()
    }

    fn decode(r: &mut Reader<'_>, _: i16) -> Result<Self, Malformed> {
        Ok(r.string()?.to_owned())
    }

    fn encode(&self, w: &mut Writer, _: i16) {
        w.string(self);
    }
}

impl Nullable for String {
    fn decode_nullable(r: &mut Reader<'_>, _: i16) -> Result<Option<Self>, Malformed> {
        Ok(r.nullable_string()?.map(str::to_owned))
    }

    fn encode_null(value: Option<&Self>, w: &mut Writer) {
        if value.is_none() {
            w.nullable_string(None);
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn bytes_min(_: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }

    fn unset() -> Self {
        Vec::new()
    }

    fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, Malformed> {
        Self::decode_nullable(r, version)?.ok_or_else(|| r.malformed("null for an array that cannot be null"))
    }

    fn encode(&self, w: &mut Writer, version: i16) {
        w.array_len(self.len());
        for element in self {
            element.encode(w, version);
        }
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn decode_nullable(r: &mut Reader<'_>, version: i16) -> Result<Option<Self>, Malformed> {
        let Some(count) = r.nullable_array_len(T::bytes_min(version, r.is_flexible()))? else { return Ok(None) };
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::decode(r, version)?);
        }
        Ok(Some(elements))
    }

    fn encode_null(value: Option<&Self>, w: &mut Writer) {
        if value.is_none() {
            w.nullable_length(None);
        }
    }
}

/// Opaque bytes: the metadata and assignments that the members of a group exchange.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Bytes(pub Vec<u8>);

impl Wire for Bytes {
    fn bytes_min(_: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }

    fn unset() -> Self {
        Bytes::default()
    }

    fn decode(r: &mut Reader<'_>, _: i16) -> Result<Self, Malformed> {
        Ok(Bytes(r.bytes()?.to_vec()))
    }

    fn encode(&self, w: &mut Writer, _: i16) {
        w.nullable_bytes(Some(&self.0));
    }
}

/// Whether a field of this name is a text for people. The writer shortens it rather than refusing the whole message.
pub(crate) const fn is_error_message(field: &str) -> bool {
    let (field, name) = (field.as_bytes(), b"error_message");
    let mut at = 0;
    while at < name.len() && at < field.len() && field[at] == name[at] {
        at += 1;
    }
    at == name.len() && at == field.len()
}

/// `message_or!(a ; b)` is `a` if it is present, else `b`.
macro_rules! message_or {
    (; $otherwise:expr) => {
        $otherwise
    };
    ($given:expr ; $otherwise:expr) => {
        $given
    };
}

/// Whether `$version` is at least the first literal and, with a second one, at most that.
macro_rules! in_versions {
    ($version:ident, $from:literal) => {
        $version >= $from
    };
    ($version:ident, $from:literal $to:literal) => {
        ($from..=$to).contains(&$version)
    };
}

/// Declares messages and their parts; the module's documentation describes the fields.
macro_rules! message {
    ($(
        $(#[$attribute:meta])*
        $kind:ident $name:ident $(of $api:ident)? {$(
            $(#[$field_attribute:meta])*
            $field:ident: $ty:ty, $from:literal $(+)? $(- $to:literal)?
            $(, nullable = $nullable_from:literal +)?
            $(, tag = $tag:literal)?
            $(, default = $default:expr)?
            $(, ignorable = $ignorable:literal)?;
        )*}
    )*) => {$(
        $(#[$attribute])*
        #[doc = ""]
        #[doc = $crate::wire::message!(@ doc $kind $($api)?)]
        #[derive(Clone, PartialEq, Debug)]
        pub struct $name {
            $(
                $(#[$field_attribute])*
                #[doc = ""]
                #[doc = concat!(
                    "Versions ", $from, $crate::wire::message_or!($(concat!("-", $to))? ; "+"),
                    $("; null from ", $nullable_from, "+",)?
                    $("; default `", stringify!($default), "`",)?
                    $("; tag ", $tag,)?
                    "."
                )]
                pub $field: $ty,
            )*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $crate::wire::message_or!($($default)? ; $crate::wire::Wire::unset()),)* }
            }
        }

        impl $crate::wire::Wire for $name {
            fn bytes_min(version: i16, flexible: bool) -> usize {
                let mut bytes = usize::from(flexible);
                $(if $crate::wire::in_versions!(version, $from $($to)?)
                    && $crate::wire::message_or!($(Some($tag))? ; None::<u32>).is_none()
                {
                    bytes += <$ty as $crate::wire::Wire>::bytes_min(version, flexible);
                })*
                bytes
            }

            fn unset() -> $name {
                $name::default()
            }

            fn decode(
                r: &mut $crate::wire::Reader<'_>,
                version: i16,
            ) -> Result<$name, $crate::wire::Malformed> {
                let mut message = $name::default();
                $(if $crate::wire::in_versions!(version, $from $($to)?)
                    && $crate::wire::message_or!($(Some($tag))? ; None::<u32>).is_none()
                {
                    message.$field = <$ty as $crate::wire::Wire>::decode(r, version)?;
                    if version < $crate::wire::message_or!($($nullable_from)? ; 0)
                        && $crate::wire::Wire::is_null(&message.$field)
                    {
                        return Err(r.malformed(concat!("null ", stringify!($field), " at a version without it")));
                    }
                })*
                for _ in 0..r.tag_count()? {
                    #[allow(unused_mut, unused_variables)] // Most messages have no tagged field of their own.
                    let (tag, mut field) = r.tag()?;
                    $(if $crate::wire::message_or!($(Some($tag))? ; None) == Some(tag)
                        && $crate::wire::in_versions!(version, $from $($to)?)
                    {
                        message.$field = <$ty as $crate::wire::Wire>::decode(&mut field, version)?;
                        field.end()?;
                    })*
                }
                Ok(message)
            }

            fn encode(&self, w: &mut $crate::wire::Writer, version: i16) {
                let default = $name::default();
                let mut tags = 0;
                $(if !$crate::wire::in_versions!(version, $from $($to)?) {
                    if !$crate::wire::message_or!($($ignorable)? ; false) && self.$field != default.$field {
                        w.refuse(concat!(stringify!($name), ".", stringify!($field)));
                    }
                } else if $crate::wire::message_or!($(Some($tag))? ; None::<u32>).is_some() {
                    tags += usize::from(self.$field != default.$field);
                } else {
                    if version < $crate::wire::message_or!($($nullable_from)? ; 0)
                        && $crate::wire::Wire::is_null(&self.$field)
                    {
                        w.refuse(concat!("null ", stringify!($name), ".", stringify!($field)));
                    }
                    w.set_shortens(const { $crate::wire::message::is_error_message(stringify!($field)) });
                    $crate::wire::Wire::encode(&self.$field, w, version);
                })*
                w.tag_count(tags);
                $(if let Some(tag) = $crate::wire::message_or!($(Some($tag))? ; None)
                    && $crate::wire::in_versions!(version, $from $($to)?)
                    && self.$field != default.$field
                {
                    w.set_shortens(const { $crate::wire::message::is_error_message(stringify!($field)) });
                    w.tag(tag, |w| $crate::wire::Wire::encode(&self.$field, w, version));
                })*
            }
        }

        #[cfg(test)]
        impl $crate::wire::tests::Sample for $name {
            fn sample(dice: &mut $crate::wire::tests::Dice, version: i16) -> $name {
                #[allow(unused_mut)]
                let mut message = $name::default();
                $(if $crate::wire::in_versions!(version, $from $($to)?) {
                    message.$field = loop {
                        let value = <$ty as $crate::wire::tests::Sample>::sample(dice, version);
                        let nullable_from = $crate::wire::message_or!($($nullable_from)? ; 0);
                        if !$crate::wire::Wire::is_null(&value) || version >= nullable_from {
                            break value;
                        }
                    };
                })*
                message
            }
        }

        $crate::wire::message!(@ $kind $name $($api)?);
    )*};

    (@ doc part) => {
        "A structure of Kafka's schemas."
    };
    (@ doc $kind:ident $api:ident) => {
        concat!(
            "The ", stringify!($kind), " of [`", stringify!($api), "`](crate::wire::ApiKey::", stringify!($api), ")."
        )
    };

    (@ part $name:ident) => {
        impl $crate::wire::message::Nullable for $name {
            // A nullable struct begins with one byte: -1 for null, else 1.
            fn decode_nullable(
                r: &mut $crate::wire::Reader<'_>,
                version: i16,
            ) -> Result<Option<$name>, $crate::wire::Malformed> {
                if r.i8()? < 0 { Ok(None) } else { <$name as $crate::wire::Wire>::decode(r, version).map(Some) }
            }

            fn encode_null(value: Option<&$name>, w: &mut $crate::wire::Writer) {
                w.i8(if value.is_none() { -1 } else { 1 });
            }
        }
    };
    (@ request $name:ident $api:ident) => { $crate::wire::message!(@ whole $name $api); };
    (@ response $name:ident $api:ident) => { $crate::wire::message!(@ whole $name $api); };
    (@ whole $name:ident $api:ident) => {
        impl $crate::wire::Message for $name {
            const API: $crate::wire::ApiKey = $crate::wire::ApiKey::$api;
        }

        impl $name {
            /// Decodes from a reader at the body.
            pub fn decode(
                r: &mut $crate::wire::Reader<'_>,
                version: i16,
            ) -> Result<$name, $crate::wire::Malformed> {
                r.set_flexible($crate::wire::ApiKey::$api.api().is_flexible(version));
                <$name as $crate::wire::Wire>::decode(r, version)
            }

            /// Encodes to a writer at the body.
            pub fn encode(&self, w: &mut $crate::wire::Writer, version: i16) {
                w.set_flexible($crate::wire::ApiKey::$api.api().is_flexible(version));
                $crate::wire::Wire::encode(self, w, version);
            }
        }
    };
}

pub(crate) use {in_versions, message, message_or};
