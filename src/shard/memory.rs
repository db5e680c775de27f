//! The memory of a shard on a machine that other processes use too.
//!
//! With `memory.bytes` a shard keeps to it. Otherwise the node takes most of the memory that is free at its start
//! ([`machine_share`]), as it needs it, so that recent records are read from memory. The kernel can take a page cache
//! back, but not this memory. So each shard checks once per second whether the machine runs short, and then returns its
//! share of the missing bytes. Otherwise its limit grows as it is used, but slowly: the first touch of memory is
//! expensive, and a producer at full speed would pay it for each new byte.

use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use crate::config::{MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN};
use crate::runtime;
use crate::runtime::buf;
use crate::runtime::probe;

const INTERVAL: Duration = Duration::from_secs(1);
/// A share of time, in percent, in which tasks of the machine wait for memory. Above it the machine is short.
const PRESSURE_MAX: f64 = 5.0;

/// The memory of a shard that has no `memory.bytes`: the shards divide three quarters of the available memory. On a
/// busy machine [`MEMORY_BYTES_DEFAULT`] each, unless that is more than half of the machine.
pub fn machine_share(available: u64, machine: u64, shards: u16) -> u64 {
    let shards = u64::from(shards);
    let least = MEMORY_BYTES_DEFAULT.min(machine / 2 / shards);
    (available / 4 * 3 / shards).max(least).max(MEMORY_BYTES_MIN)
}

/// The most bytes by which a shard's memory grows in an [`INTERVAL`]. A first touch of 1 GiB took 0.75 to 2 s of CPU on
/// a virtual machine, so this takes at most 6% of a core.
const GROWTH_MAX: u64 = 32 << 20;

/// The state of the machine when a shard decides on its limit.
#[derive(Clone, Copy, Debug)]
struct Machine {
    /// Bytes that processes can still get.
    available: u64,
    /// Bytes that should stay available.
    reserve: u64,
    /// Tasks of the machine wait for memory.
    is_short: bool,
    shards: u64,
}

/// The limit of a shard's log data in bytes, of which it uses `used` and may use `least` to `most`. `touched`: the
/// bytes that it has used before.
fn next_limit(machine: Machine, limit: u64, used: u64, touched: u64, least: u64, most: u64) -> u64 {
    let Machine { available, reserve, is_short, shards } = machine;
    if available < reserve || is_short {
        let missing = reserve.saturating_sub(available) / shards;
        let returned = if is_short { missing.max(used / 16) } else { missing };
        // An unused part of the limit returns nothing.
        return limit.min(used.saturating_sub(returned)).max(least);
    }
    let room = available.saturating_sub(2 * reserve) / shards / 2;
    limit.max((touched + room.min(GROWTH_MAX)).min(most))
}

impl Shard {
    /// Adjusts the limit of log data to the machine until the shard stops. For a node without `memory.bytes`.
    pub async fn run_memory(self: Rc<Self>) {
        let config = self.config();
        let most = config.log_memory();
        // Room for the largest batch, which must be in memory as a whole.
        let least = (MEMORY_BYTES_DEFAULT / 8 * 5).max(2 * config.request_bytes_max() as u64).min(most);
        let others = config.shard_memory() - most;
        let memory = probe::Memory::of_process();
        let Some(machine) = memory.bytes() else { return };
        let reserve = (machine / 16).min(2 << 30);
        let set_limit = |limit: u64| {
            self.memory.set_budget(limit as usize);
            buf::set_arena_budget((limit + others) as usize);
        };
        set_limit(least);
        while !self.stopping.get() {
            runtime::sleep(INTERVAL).await;
            let Some(available) = memory.available() else { return };
            let is_short = probe::memory_pressure().is_some_and(|percent| percent > PRESSURE_MAX);
            let machine = Machine { available, reserve, is_short, shards: self.shards.into() };
            let limit = self.memory.budget() as u64;
            let touched = (buf::arena_bytes_mapped() as u64).saturating_sub(others);
            let next = next_limit(machine, limit, self.memory.used() as u64, touched, least, most);
            if next < limit {
                tracing::debug!("the machine has {available} bytes of memory left: the limit is {next}, not {limit}");
            }
            // A new limit wakes the tasks that wait for memory.
            if next != limit {
                set_limit(next);
            }
            while buf::unmap_free_chunk() {
                runtime::yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    #[test]
    fn a_node_takes_most_of_the_free_memory_and_never_fills_a_small_machine() {
        assert_eq!(machine_share(20 * GIB, 24 * GIB, 2), 20 * GIB / 4 * 3 / 2);
        // A busy machine, and a small one.
        assert_eq!(machine_share(GIB, 24 * GIB, 2), 512 * MIB);
        assert_eq!(machine_share(100 * MIB, GIB, 2), 256 * MIB);
        assert_eq!(machine_share(100 * MIB, GIB, 64), MEMORY_BYTES_MIN);
    }

    #[test]
    fn a_limit_shrinks_when_the_machine_is_short_and_grows_when_there_is_room() {
        let (least, most) = (GIB / 4, 8 * GIB);
        let machine = |available, is_short| Machine { available, reserve: GIB, is_short, shards: 2 };
        let next = |machine, limit, used, touched| next_limit(machine, limit, used, touched, least, most);
        // Half of the missing bytes is this shard's part, taken from its used bytes.
        assert_eq!(next(machine(GIB / 2, false), most, 2 * GIB, 3 * GIB), 2 * GIB - GIB / 4);
        assert_eq!(next(machine(0, false), most, GIB / 2, GIB / 2), least);
        assert_eq!(next(machine(0, false), most, 0, GIB), least);
        // If tasks wait for memory, the limit shrinks also above the reserve.
        assert_eq!(next(machine(4 * GIB, true), most, 4 * GIB, 4 * GIB), 4 * GIB - GIB / 4);
        // Between one and two reserves nothing changes; a returned gibibyte is not taken back at once.
        assert_eq!(next(machine(GIB, false), 2 * GIB, 2 * GIB, 2 * GIB), 2 * GIB);
        assert_eq!(next(machine(2 * GIB, false), 2 * GIB, 2 * GIB, 2 * GIB), 2 * GIB);
        // The limit follows the touched memory: an idle shard cannot touch a gibibyte in its next second.
        let large = machine(40 * GIB, false);
        assert_eq!(next(large, 2 * GIB, 2 * GIB, 2 * GIB), 2 * GIB + GROWTH_MAX);
        assert_eq!(next(large, 2 * GIB, GIB, 2 * GIB - GROWTH_MAX), 2 * GIB);
        assert_eq!(next(large, least, 0, 0), least);
        assert_eq!(next(large, most - 1, most - 1, most - 1), most);
    }
}
