//! The health checks of the node. Each has a name, and a reason if it failed.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::Edge;
use super::gather::ShardLink;
use super::shard::Beat;
use crate::shard::open::OpenStep;

/// One check and its result.
pub(super) struct Check {
    name: String,
    /// The reason why it failed.
    fault: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, fault: Option<String>) -> Check {
        Check { name: name.into(), fault }
    }

    pub fn is_passed(&self) -> bool {
        self.fault.is_none()
    }
}

/// The result in the form that Kubernetes gives it: a line for each check, then the outcome. Without `is_verbose` the
/// checks that passed are left out.
pub(super) fn to_text(name: &str, checks: &[Check], is_verbose: bool) -> String {
    let mut text = String::new();
    for Check { name, fault } in checks {
        let _ = match fault {
            None if is_verbose => writeln!(text, "[+]{name} ok"),
            None => Ok(()),
            Some(fault) => writeln!(text, "[-]{name} failed: {fault}"),
        };
    }
    let is_passed = checks.iter().all(Check::is_passed);
    text + name + " check " + if is_passed { "passed\n" } else { "failed\n" }
}

/// A shard that serves answers. A shard that still opens is alive as long as this thread is.
pub(super) async fn live(edge: &Edge) -> Vec<Check> {
    let beats = edge.shards.beats().await;
    let is_stopping = edge.is_stopping.load(Ordering::Relaxed);
    each_shard(edge, |shard, link| {
        let hangs = link.progress().step() == OpenStep::Serving && beats[shard].is_none() && !is_stopping;
        hangs.then(|| NO_ANSWER.to_owned())
    })
}

const NO_ANSWER: &str = "the shard has not answered for 2 s; the node's log names the task that blocks it";

/// Every shard has recovered and accepts connections, and the node is not stopping.
pub(super) async fn ready(edge: &Edge) -> Vec<Check> {
    let mut checks = started(edge);
    if checks.iter().all(Check::is_passed) {
        let beats = edge.shards.beats().await;
        checks = each_shard(edge, |shard, _| beats[shard].is_none().then(|| NO_ANSWER.to_owned()));
    }
    let is_stopping = edge.is_stopping.load(Ordering::Relaxed);
    checks.push(Check::new("serving", is_stopping.then(|| "the node is stopping".to_owned())));
    checks
}

/// Every shard has recovered, and accepts connections.
pub(super) fn started(edge: &Edge) -> Vec<Check> {
    each_shard(edge, |_, link| {
        let progress = link.progress();
        let ((opened, logs), (groups, bytes)) = (progress.logs(), progress.replayed());
        match progress.step() {
            OpenStep::Serving => None,
            OpenStep::Waiting => Some("waits for the metadata".to_owned()),
            OpenStep::Journal => Some("opens its journal".to_owned()),
            OpenStep::Logs => Some(format!("opens its logs: {opened} of {logs}")),
            OpenStep::Replay => Some(format!("replays its journal: {groups} groups, {bytes} bytes so far")),
            OpenStep::Opened => Some("begins to listen".to_owned()),
        }
    })
}

/// Everything that an operator has to act on.
pub(super) async fn healthy(edge: &Edge) -> Vec<Check> {
    let mut checks = ready(edge).await;
    let beats = edge.shards.beats().await;
    let beats = || beats.iter().enumerate().filter_map(|(shard, beat)| Some((shard, beat.as_ref()?)));
    let first = |fault: &dyn Fn(&Beat) -> Option<String>| {
        beats().find_map(|(shard, beat)| Some(format!("shard {shard}: {}", fault(beat)?)))
    };
    checks.push(Check::new("storage", first(&|beat| beat.failure.clone())));
    checks.push(Check::new("disk-space", first(&|beat| beat.is_disk_full.then(|| "the disk is full".to_owned()))));
    let offline = |beat: &Beat| match beat.offline_partitions {
        0 => None,
        count => Some(format!("partitions that could not be opened: {count}")),
    };
    checks.push(Check::new("partitions", first(&offline)));
    checks
}

fn each_shard(edge: &Edge, fault: impl Fn(usize, &ShardLink) -> Option<String>) -> Vec<Check> {
    let links = edge.shards.links().iter().enumerate();
    links.map(|(shard, link)| Check::new(format!("shard-{shard}"), fault(shard, link))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_is_named_with_its_reason() {
        let checks = [Check::new("a", None), Check::new("b", Some("it is broken".into()))];
        assert_eq!(to_text("readyz", &checks, false), "[-]b failed: it is broken\nreadyz check failed\n");
        assert_eq!(to_text("readyz", &checks, true), "[+]a ok\n[-]b failed: it is broken\nreadyz check failed\n");
        assert_eq!(to_text("livez", &checks[..1], false), "livez check passed\n");
    }
}
