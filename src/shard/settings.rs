//! From a topic's configuration to what its partitions and logs want to know.

use std::rc::Rc;

use crate::config::{self, TopicConfig};
use crate::record::codec::Codec;
use crate::record::header::TimestampType;
use crate::record::validate::TopicCompression;
use crate::{log, partition, runtime};

fn or_forever(limit: Option<u64>) -> i64 {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

pub fn of_log(config: &TopicConfig) -> Rc<log::Settings> {
    // KIP-354: what may wait for compaction only so long must be in a sealed segment by then.
    let segment_ms = match config.max_compaction_lag_ms {
        lag @ 1.. if config.is_compacted => config.segment_ms.min(lag),
        _ => config.segment_ms,
    };
    let jitter = match config.segment_jitter_ms {
        0 => 0,
        most => runtime::random_u64() % most.min(segment_ms.max(1)),
    };
    Rc::new(log::Settings {
        segment_bytes: config.segment_bytes.into(),
        segment_ms: i64::try_from(segment_ms - jitter).unwrap_or(i64::MAX),
        segment_index_bytes: config.segment_index_bytes as usize,
        index_interval_bytes: config.index_interval_bytes.into(),
        retention_ms: or_forever(config.retention_ms),
        retention_bytes: or_forever(config.retention_bytes),
        deletes: config.is_deleted,
        file_delete_delay_ms: config.file_delete_delay_ms,
        compacts: config.is_compacted,
        delete_retention_ms: or_forever(Some(config.delete_retention_ms)),
        min_compaction_lag_ms: or_forever(Some(config.min_compaction_lag_ms)),
        max_compaction_lag_ms: or_forever(Some(config.max_compaction_lag_ms)),
        min_cleanable_ratio: config.min_cleanable_dirty_ratio,
    })
}

pub fn of_partition(config: &TopicConfig) -> Rc<partition::Settings> {
    let compression = match config.compression.as_deref() {
        None => TopicCompression::Producer,
        Some("gzip") => {
            let level = config.compression_gzip_level;
            TopicCompression::Always(Codec::Gzip, (level >= 0).then_some(level))
        }
        Some("lz4") => TopicCompression::Always(Codec::Lz4, Some(config.compression_lz4_level)),
        Some("zstd") => TopicCompression::Always(Codec::Zstd, Some(config.compression_zstd_level)),
        Some("snappy") => TopicCompression::Always(Codec::Snappy, None),
        Some(_) => TopicCompression::Always(Codec::None, None),
    };
    Rc::new(partition::Settings {
        max_message_bytes: config.max_message_bytes as usize,
        segment_bytes: config.segment_bytes as usize,
        compression,
        timestamp_type: match config.timestamp_type {
            config::TimestampType::CreateTime => TimestampType::CreateTime,
            config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        is_compacted: config.is_compacted,
        is_deletable: config.is_deleted || !config.is_compacted,
        min_insync_replicas: config.min_insync_replicas as usize,
        flushes_before_ack: config.flush_ack,
    })
}
