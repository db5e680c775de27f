//! What disks and power do to a shard, and what is left: acknowledged records are intact, or their loss is named.
//!
//! One command makes the report: `cargo test --release --test crash faults -- --nocapture`
//!
//! | file | its one idea |
//! |---|---|
//! | `damage` | files that were damaged, cut, swapped or lost while nobody ran |
//! | `injected` | an error, a full disk or a short write at every point where the shard changes the disk |
//! | `power` | the power fails at a random moment, a thousand times |
//! | `disk` | the disk as a power failure leaves it, rebuilt from a recording of the ring |
//! | `load` | a real shard under load, and a ledger of what it acknowledged when |
//! | `report` | tables |

mod damage;
mod disk;
mod injected;
mod load;
mod power;
mod report;
