//! Keeps the client away from the cores of a broker on the same machine.

use std::collections::BTreeSet;
use std::net::{TcpListener, ToSocketAddrs};

use super::Target;
use crate::runtime::cpu;
use crate::tools::Failure;
use crate::tools::tune::machine::Roots;

/// The cores for the client: the value of `--cpus`.
#[derive(Clone, PartialEq, Debug)]
pub enum Cores {
    /// Those that the broker leaves.
    Auto,
    /// All that this process may use.
    All,
    Listed(Vec<usize>),
}

/// Parses `auto`, `all`, or a list such as `0,2-3`.
pub fn parse(text: &str) -> Result<Cores, String> {
    match text {
        "auto" => Ok(Cores::Auto),
        "all" => Ok(Cores::All),
        _ => match listed(text) {
            Some(cores) if !cores.is_empty() => Ok(Cores::Listed(cores)),
            _ => Err("expected auto, all, or numbers of cores such as 0,2-3".into()),
        },
    }
}

/// The cores of a list in the format of cpuset(7).
fn listed(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        if last > 4096 || first > last {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// Restricts this thread to the chosen cores, and returns the choice with its reason in one sentence.
pub fn isolate(target: &Target) -> Result<String, Failure> {
    let allowed = cpu::cores();
    let (cores, reason) = match &target.cpus {
        Cores::All => (None, "the client runs on any core (--cpus all)".into()),
        Cores::Listed(cores) => (Some(cores.clone()), format!("the client runs on {} (--cpus)", names(cores))),
        Cores::Auto if !is_local(&target.connect.bootstrap) => {
            (None, "the broker is on another machine, and the client runs on any core of this one".into())
        }
        Cores::Auto => beside(&allowed, broker_cores(&Roots::new(None), &target.pid).as_ref()),
    };
    if let Some(cores) = cores {
        cpu::restrict_to(&cores).map_err(|error| {
            let message = format!("cannot run on {}: {error}", names(&cores));
            Failure::with_hint(message, format!("this process may use {}", names(&allowed)))
        })?;
    }
    Ok(reason)
}

/// The cores for a client beside a broker, which uses `broker`; `None`: unknown.
fn beside(allowed: &[usize], broker: Option<&BTreeSet<usize>>) -> (Option<Vec<usize>>, String) {
    let Some(broker) = broker else {
        let reason = "the client may share cores with the broker: its process is unknown (--pid)";
        return (None, reason.into());
    };
    let free: Vec<usize> = allowed.iter().copied().filter(|core| !broker.contains(core)).collect();
    let used: Vec<usize> = broker.iter().copied().collect();
    if free.is_empty() {
        let reason = format!("the client shares its cores with the broker, which uses {}, all of them", names(&used));
        return (None, reason);
    }
    let reason = format!("the client runs on {}, away from the broker on {}", names(&free), names(&used));
    (Some(free), reason)
}

fn names(cores: &[usize]) -> String {
    let list: Vec<String> = cores.iter().map(ToString::to_string).collect();
    format!("{} {}", if cores.len() == 1 { "core" } else { "cores" }, list.join(", "))
}

/// The cores of the broker's threads. If some threads have one core each, as shards do, the other threads do not count.
fn broker_cores(roots: &Roots, pids: &[u32]) -> Option<BTreeSet<usize>> {
    let mut threads = Vec::new();
    for pid in pids {
        for thread in roots.list(format!("/proc/{pid}/task")) {
            let status = roots.read(format!("/proc/{pid}/task/{thread}/status")).unwrap_or_default();
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            threads.extend(list.and_then(|list| listed(list.trim())));
        }
    }
    let has_pinned = threads.iter().any(|cores| cores.len() == 1);
    let used = threads.into_iter().filter(|cores| !has_pinned || cores.len() == 1);
    let used: BTreeSet<usize> = used.flatten().collect();
    (!used.is_empty()).then_some(used)
}

/// Whether the first bootstrap address is of this machine: only then a socket can be bound to it.
pub fn is_local(bootstrap: &str) -> bool {
    let first = bootstrap.split(',').next().unwrap_or_default().trim();
    let addresses = first.to_socket_addrs().into_iter().flatten();
    addresses.into_iter().any(|address| TcpListener::bind((address.ip(), 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tune::machine::tests::MadeUp;

    #[test]
    fn cores_are_parsed_or_refused() {
        assert_eq!(parse("auto"), Ok(Cores::Auto));
        assert_eq!(parse("all"), Ok(Cores::All));
        assert_eq!(parse("0,2-4"), Ok(Cores::Listed(vec![0, 2, 3, 4])));
        for text in ["", "x", "3-1", "1,", "-1", "0-99999"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_client_takes_the_cores_that_the_broker_leaves() {
        let machine = MadeUp::new("isolation");
        let thread = |thread: u32, cores: &str| {
            let text = format!("Name:\tshard\nCpus_allowed_list:\t{cores}\n");
            machine.file(&format!("/proc/7/task/{thread}/status"), &text);
        };
        thread(1, "0-3");
        assert_eq!(broker_cores(machine.roots(), &[7]), Some(BTreeSet::from([0, 1, 2, 3])));
        thread(2, "0");
        thread(3, "1");
        let used = broker_cores(machine.roots(), &[7]);
        assert_eq!(used, Some(BTreeSet::from([0, 1])), "the threads with one core each");
        assert_eq!(broker_cores(machine.roots(), &[8]), None);

        let (cores, reason) = beside(&[0, 1, 2, 3], used.as_ref());
        assert_eq!(cores, Some(vec![2, 3]));
        assert_eq!(reason, "the client runs on cores 2, 3, away from the broker on cores 0, 1");
        assert_eq!(beside(&[0, 1], used.as_ref()).0, None, "no core is left");
        assert_eq!(beside(&[0, 1], None).0, None);
    }

    #[test]
    fn an_address_of_this_machine_is_local() {
        assert!(is_local("127.0.0.1:9092"));
        assert!(!is_local("192.0.2.1:9092"), "an address for documentation");
        assert!(!is_local("nonsense"));
    }
}
