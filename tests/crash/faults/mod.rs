//! Disk errors, damaged files and power failures: acknowledged records are intact, or their loss is reported.
//!
//! One command makes the report: `cargo test --release --test crash faults -- --nocapture`
//!
//! | file | content |
//! |---|---|
//! | `damage` | files that were damaged, cut, swapped or lost while the shard was down |
//! | `injected` | an error, a full disk or a short write at every point where the shard changes the disk |
//! | `power` | a power failure at a thousand random moments |
//! | `disk` | the disk after a power failure, rebuilt from a recording of the ring |
//! | `load` | a real shard under load, and a ledger of its acknowledgements |
//! | `report` | tables |

mod damage;
mod disk;
mod injected;
mod load;
mod power;
mod report;
