//! What is done once in a while: retention, expiry of producers, handles given back.

use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use crate::runtime;
use crate::runtime::clock;

impl Shard {
    pub(super) async fn run_housekeeping(self: Rc<Self>) {
        let interval = Duration::from_millis(self.config.log_retention_check_interval_ms);
        while !self.stopping.get() {
            runtime::sleep(interval).await;
            self.keep_house().await;
        }
    }

    async fn keep_house(self: &Rc<Self>) {
        let now_ms = clock::wall_ms();
        let mut changed = false;
        for partition in self.all_partitions() {
            if self.stopping.get() {
                return;
            }
            let before = partition.segment_count();
            if let Err(error) = self.retain(&partition, now_ms).await {
                tracing::warn!("{}-{}: retention: {error}", partition.name, partition.id.partition);
            }
            changed |= partition.segment_count() > before;
            changed |= self.drop_segments(&partition).await > 0 || partition.waits_for_checkpoint();
            partition.evict_idle();
            let expiration_ms = self.config.producer_id_expiration_ms as i64;
            partition.expire_producers(now_ms, expiration_ms);
            runtime::yield_now().await;
        }
        // LOG-3: what retention wants to remove must have left the checkpoint first. And what it has removed should not be
        // looked for by a restart.
        if changed {
            self.request_checkpoint();
        }
    }
}
