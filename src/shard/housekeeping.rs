//! Periodic work: retention, the expiry of producers, and the eviction of idle files and indexes.

use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use crate::runtime;
use crate::runtime::clock;

impl Shard {
    pub(super) async fn run_housekeeping(self: Rc<Self>) {
        let interval = Duration::from_millis(self.config().log_retention_check_interval_ms);
        while !self.stopping.get() {
            runtime::sleep(interval).await;
            self.check_partitions().await;
        }
    }

    async fn check_partitions(self: &Rc<Self>) {
        let now_ms = clock::wall_ms();
        let mut needs_checkpoint = false;
        for partition in self.all_partitions() {
            if self.stopping.get() {
                return;
            }
            let before = partition.segment_count();
            if let Err(error) = self.retain(&partition, now_ms).await {
                tracing::warn!("{}-{}: retention: {error}", partition.name, partition.id.partition);
            }
            needs_checkpoint |= partition.segment_count() > before;
            needs_checkpoint |= self.drop_segments(&partition).await > 0 || partition.waits_for_checkpoint();
            partition.evict_idle();
            let expiration_ms = self.config().producer_id_expiration_ms as i64;
            partition.expire_producers(now_ms, expiration_ms);
            runtime::yield_now().await;
        }
        // LOG-3: a segment is removed only when the stored checkpoint does not need it. And a restart should not look
        // for the segments that retention has removed.
        if needs_checkpoint {
            self.request_checkpoint();
        }
    }
}
