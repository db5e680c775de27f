//! Compaction, one log at a time: whichever has the largest share of uncompacted bytes goes first.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::{DECODED_BYTES_MAX, Shard};
use crate::disk::StorageError;
use crate::log::clean::filter::{LastRecord, LastRecords};
use crate::log::clean::pace::Pace;
use crate::log::clean::plan::Plan;
use crate::log::clean::{CleaningResources, CleaningStats};
use crate::partition::Partition;
use crate::runtime;
use crate::runtime::clock;

impl Shard {
    pub(super) async fn run_cleaner(self: Rc<Self>) {
        let backoff = Duration::from_millis(self.config.log_cleaner_backoff_ms);
        let config = &self.config;
        let resources = CleaningResources {
            pace: Pace::new(config.log_cleaner_io_max_bytes_per_second),
            buffer_bytes: config.log_cleaner_io_buffer_size as usize,
            keys_bytes_max: (config.log_cleaner_dedupe_buffer_size / u64::from(self.shards)) as usize,
            load_factor: config.log_cleaner_io_buffer_load_factor,
            decoded_bytes_max: DECODED_BYTES_MAX,
            stopping: self.stopping.clone(),
        };
        while !self.stopping.get() && self.failure().is_none() {
            self.cleaning.set(true);
            self.clean_logs(&resources).await;
            self.cleaning.set(false);
            self.cleaning_done.notify_all();
            runtime::sleep(backoff.max(Duration::from_millis(1))).await;
        }
    }

    /// Compacts what is due, each log once.
    async fn clean_logs(self: &Rc<Self>, resources: &CleaningResources) {
        let compacted = |partition: &Rc<Partition>| partition.config().cleanup_policy.compacts;
        let partitions: Vec<_> = self.all_partitions().into_iter().filter(compacted).collect();
        if partitions.iter().any(|partition| partition.log.cleaning_needs_checkpoint())
            && self.try_checkpoint().await != Some(true)
        {
            return;
        }
        let mut due: Vec<(Plan, Rc<Partition>)> = Vec::new();
        for partition in partitions {
            let plan = self.plan(&partition).await;
            due.extend(plan.map(|plan| (plan, partition)));
        }
        due.sort_by(|(a, _), (b, _)| b.ratio.total_cmp(&a.ratio));
        for (_, partition) in due {
            // Others were compacted meanwhile, and this one has grown.
            let Some(plan) = self.plan(&partition).await else { continue };
            if self.stopping.get() || self.failure().is_some() {
                return;
            }
            match self.clean(&partition, &plan, resources).await {
                Ok(Some(told)) => say(&partition, &plan, &told),
                Ok(None) => return,
                Err(error) => self.could_not_clean(&partition, &error),
            }
        }
    }

    /// What is due of a partition.
    async fn plan(&self, partition: &Partition) -> Option<Plan> {
        // Kafka: nothing of a transaction that is not over, and nothing that is not committed.
        let stable = partition.last_stable_offset().min(partition.high_watermark());
        match partition.log.plan_cleaning(stable, clock::wall_ms()).await {
            Ok(plan) => plan.filter(|plan| plan.is_due),
            Err(error) => {
                self.could_not_clean(partition, &error);
                None
            }
        }
    }

    /// `None`: there will be no checkpoint for it.
    async fn clean(
        self: &Rc<Self>,
        partition: &Partition,
        plan: &Plan,
        resources: &CleaningResources,
    ) -> Result<Option<CleaningStats>, StorageError> {
        let log = &partition.log;
        let mut round = log.begin_cleaning(plan, last_records(partition), clock::wall_ms(), resources).await?;
        loop {
            let is_last = log.clean(&mut round, resources).await?;
            // On a full disk the segments wait, and what is behind them; or they make way.
            while log.is_swap_pending() && !partition.is_deleted() {
                match self.try_checkpoint().await {
                    Some(true) => {}
                    Some(false) if !self.stopping.get() => runtime::sleep(Duration::from_millis(500)).await,
                    _ => return Ok(None),
                }
            }
            if log.swap_was_withdrawn() {
                let full = io::Error::from_raw_os_error(libc::ENOSPC);
                return Err(StorageError::io("keep compacted segments in", log.directory())(full));
            }
            if is_last {
                return Ok(Some(round.stats));
            }
        }
    }

    fn could_not_clean(&self, partition: &Partition, error: &StorageError) {
        let what = format!("{}-{}", partition.name, partition.id.partition);
        match error {
            // The topic was deleted, or the shard stops.
            StorageError::Refused(_) => tracing::debug!("{what}: {error}"),
            _ if error.is_disk_full() => tracing::warn!("{what} is not compacted for want of space: {error}"),
            _ => {
                partition.log.disable_cleaning();
                tracing::error!("{what} is as it was, and is not compacted any more until a restart: {error}");
            }
        }
    }
}

fn last_records(partition: &Partition) -> LastRecords {
    let producers = partition.producers.borrow().snapshot();
    let last = producers.into_iter().map(|producer| {
        let offset = producer.batches.last().map(|batch| batch.last_offset());
        (producer.producer_id, LastRecord { offset, epoch: producer.epoch })
    });
    last.collect()
}

fn say(partition: &Partition, plan: &Plan, stats: &CleaningStats) {
    tracing::info!(
        "{}-{}: compacted from offset {} to {}, by {} keys: {} segments of {} bytes are {} of {}",
        partition.name,
        partition.id.partition,
        plan.first_dirty,
        partition.log.cleaned_to(),
        stats.keys,
        stats.segments_before,
        stats.bytes_before,
        stats.segments_after,
        stats.bytes_after
    );
}
