//! Compacts one log at a time. The log with the largest share of uncompacted bytes is first.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::checkpoint::{CheckpointOutcome, DISK_FULL_RETRY};
use super::{DECODED_BYTES_MAX, Shard};
use crate::disk::StorageError;
use crate::log::clean::pace::Pace;
use crate::log::clean::plan::Plan;
use crate::log::clean::{CleaningResources, CleaningStats};
use crate::partition::Partition;
use crate::runtime;
use crate::runtime::clock;

impl Shard {
    pub(super) async fn run_cleaner(self: Rc<Self>) {
        while !self.stopping.get() && self.failure().is_none() {
            let was_cleaning = self.cleaning.replace(true);
            assert!(!was_cleaning, "one compaction at a time");
            self.clean_logs(&self.cleaning_resources()).await;
            self.cleaning.set(false);
            self.cleaning_done.notify_all();
            let backoff = Duration::from_millis(self.config().log_cleaner_backoff_ms.max(1));
            // A changed setting may make a log due, or shorten the wait.
            let _ = runtime::timeout(backoff, self.config_changed.notified()).await;
        }
    }

    fn cleaning_resources(&self) -> CleaningResources {
        let config = self.config();
        CleaningResources {
            pace: Pace::new(config.log_cleaner_io_max_bytes_per_second),
            buffer_bytes: config.log_cleaner_io_buffer_size as usize,
            keys_bytes_max: (config.log_cleaner_dedupe_buffer_size / u64::from(self.shards)) as usize,
            load_factor: config.log_cleaner_io_buffer_load_factor,
            decoded_bytes_max: DECODED_BYTES_MAX,
            stopping: self.stopping.clone(),
        }
    }

    /// Compacts every log that is due, once.
    async fn clean_logs(self: &Rc<Self>, resources: &CleaningResources) {
        let compacted = |partition: &Rc<Partition>| partition.is_compacted();
        let partitions: Vec<_> = self.all_partitions().into_iter().filter(compacted).collect();
        if partitions.iter().any(|partition| partition.cleaning_needs_checkpoint())
            && self.try_checkpoint().await != CheckpointOutcome::Stored
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
            // The log has grown while others were compacted.
            let Some(plan) = self.plan(&partition).await else { continue };
            if self.stopping.get() || self.failure().is_some() {
                return;
            }
            match self.clean(&partition, &plan, resources).await {
                Ok(Some(stats)) => log_stats(&partition, &plan, &stats),
                Ok(None) => return,
                Err(error) => self.report_cleaning_failure(&partition, &error),
            }
        }
    }

    /// The plan for a partition's compaction, if it is due.
    async fn plan(&self, partition: &Partition) -> Option<Plan> {
        match partition.plan_cleaning(clock::wall_ms()).await {
            Ok(plan) => plan.filter(|plan| plan.is_due),
            Err(error) => {
                self.report_cleaning_failure(partition, &error);
                None
            }
        }
    }

    /// Compacts a partition's log. `None`: no checkpoint will include the compacted segments.
    async fn clean(
        self: &Rc<Self>,
        partition: &Partition,
        plan: &Plan,
        resources: &CleaningResources,
    ) -> Result<Option<CleaningStats>, StorageError> {
        let mut round = partition.begin_cleaning(plan, clock::wall_ms(), resources).await?;
        loop {
            let is_last = partition.clean(&mut round, resources).await?;
            // On a full disk the compacted segments wait, and later ones too, unless they are withdrawn to free their
            // space.
            while partition.is_swap_pending() && !partition.is_deleted() {
                match self.try_checkpoint().await {
                    CheckpointOutcome::Stored => {}
                    CheckpointOutcome::DiskFull if !self.stopping.get() => runtime::sleep(DISK_FULL_RETRY).await,
                    _ => return Ok(None),
                }
            }
            if partition.swap_was_withdrawn() {
                let full = io::Error::from_raw_os_error(libc::ENOSPC);
                return Err(StorageError::io("keep compacted segments in", self.directory_of(partition))(full));
            }
            if is_last {
                return Ok(Some(round.stats));
            }
        }
    }

    fn report_cleaning_failure(&self, partition: &Partition, error: &StorageError) {
        let name = format!("{}-{}", partition.name, partition.id.partition);
        match error {
            // The topic was deleted, or the shard stops.
            StorageError::Refused(_) => tracing::debug!("{name}: {error}"),
            _ if error.is_disk_full() => tracing::warn!("{name}: not compacted, because the disk is full: {error}"),
            _ => {
                partition.disable_cleaning();
                tracing::error!(
                    "{name}: compaction failed and is disabled until a restart, the log is unchanged: {error}"
                );
            }
        }
    }
}

fn log_stats(partition: &Partition, plan: &Plan, stats: &CleaningStats) {
    tracing::info!(
        "{}-{}: compacted offsets {} to {} with {} keys: {} segments of {} bytes became {} of {} bytes",
        partition.name,
        partition.id.partition,
        plan.first_dirty,
        partition.cleaned_to(),
        stats.keys,
        stats.segments_before,
        stats.bytes_before,
        stats.segments_after,
        stats.bytes_after
    );
}
