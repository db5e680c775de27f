//! The choices that a batch's attributes and a topic's settings share: codec and timestamp type.

/// The compression of a batch's records. The numbers are the attribute bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// Not compressed.
    None = 0,
    /// gzip (RFC 1952).
    Gzip = 1,
    /// Snappy, framed as xerial's snappy-java does.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// Zstandard (RFC 8878); clients may use it since KIP-110.
    Zstd = 4,
}

impl Codec {
    /// All codecs, in order of their ids.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with this id, if there is one.
    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.get(usize::from(id)).copied()
    }

    /// The attribute bits.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name in a producer's `compression.type`. A topic's setting uses `uncompressed` in place of `none`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// The codec with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// The topic's `compression.type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicCompression {
    /// `producer`: with the producer's codec.
    Producer,
    /// With this codec and level (`None`: the codec's default). `uncompressed` is [`Codec::None`].
    Always(Codec, Option<i32>),
}

/// The meaning of a batch's timestamps: `message.timestamp.type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// Each record has the timestamp that its producer set.
    CreateTime,
    /// All records have `max_timestamp`, the time of the append.
    LogAppendTime,
}
