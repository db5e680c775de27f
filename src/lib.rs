//! Tidemill: a Kafka-wire-compatible streaming platform in one binary.
//!
//! Three promises. When two designs compete, the one that keeps these wins:
//!
//! 1. **Acknowledged means on stable storage.** One flush per core makes durable what all of its partitions got.
//! 2. **The client talks to the core that owns the partition.** In direct routing each core is a Kafka broker.
//! 3. **Nothing on the data path is shared between cores.** One pinned thread, one ring, its own partitions, journal,
//!    memory and connections; what crosses is a message.
//!
//! # The two paths, as they are
//!
//! ```text
//! produce   net::connection     a frame in a buffer of the kernel's choosing (large ones: in a buffer of their own)
//!           api::produce        decoded in place; each partition's owner found; first stage, in the connection's order
//!             partition::append record::validate (CRC, records, timestamps), producers (sequence), offsets assigned
//!               disk::journal     + copied into the open group          one step, no await in between (PART-3)
//!               log::segment      + copied into the tail, at its place in the segment's image
//!           disk::journal       one direct write with RWF_DSYNC per group; what arrives meanwhile is the next group
//!           shard::commit       the durable sequence moves -> high watermarks move -> waiting fetches are woken
//!           api::produce        second stage: the answer, in the connection's order
//!           ... later           full chunks -> segment file (shard::write_back), direct, from the buffers they are in
//!           ... later still     segments flushed -> checkpoint stored -> journal files free (shard::checkpoint)
//!
//! delete    shard::log_start     retention or api::delete_records: where a log begins goes into the journal like a batch
//!             log::retain         durable: readers see it; whole segments below go as the checkpoint allows (LOG-3)
//!
//! compact   shard::clean        the log with the largest share of bytes that were never compacted, if that is worth it
//!             log::clean        the latest offset of each key; old segments read past the readers' memory, new ones written
//!             log::clean::swap  ... which become the log with the next checkpoint that names them
//!
//! fetch     net::connection -> api::fetch
//!             partition::fetch  bounded by the high watermark or last stable offset, checked against the leader epoch
//!               log::read       segment -> sparse index -> batch headers: where the records are, not the records
//!             purgatory         nothing there yet: one waiter with every partition that is asked for
//!           api::answer         what the socket can take now: from chunks in memory, else pages read direct, ahead
//!           net::connection     header pieces and record bytes leave as one iovec from where they lie
//! ```
//!
//! A group's or a transaction's state lives in a partition of an internal topic, on the shard that owns it ([`coordinator`]): a
//! step of its state machine writes records and is answered when they are durable; a restart reads them back.
//!
//! ```text
//! group        api::consumer_group_heartbeat  a member says who it is and what it has (KIP-848)
//!                coordinator::group::consumer   its subscription -> the group's epoch -> what everybody is to have (group::assign)
//!                                               this member, a step nearer: gives up, says so, is given what is free
//!              api::join_group, sync_group    classic members: a leader among them assigns; in a consumer group the coordinator
//!                                               has done so, and a live group changes its kind either way (consumer::migrate)
//!
//! transaction  api::init_producer_id    coordinator::txn: the id's next epoch; what its last producer left open is aborted
//!              api::produce             first batch in a partition: the coordinator adds it, then the append; a marker that is
//!                                       written meanwhile crosses that (partition::transactions)
//!              api::end_txn             the end is decided, durable, and answered
//!              api::transactions        then markers into each partition, on any shard, for as long as it takes
//!              partition                marker durable -> last stable offset moves -> readers of committed records are woken
//! ```
//!
//! A request for another shard's partition crosses as a message ([`router`]): the bytes are copied once, nothing is
//! shared. In forward routing a connection whose requests keep crossing is moved to the owner, socket and all.
//!
//! # A shard's memory
//!
//! `memory.bytes` is the arena, from which every buffer of more than a few KiB comes. Its shares keep one kind of work
//! from starving another; who waits for one holds no other:
//!
//! ```text
//! 5/8  log data (log::tail::Memory): chunks at most three quarters of it, pages read back what chunks leave
//! 5/64 pages on their way from disk (Memory::loads)
//! 5/64 the keys of a log that is compacted (Memory::lend); of the 5/8, at the cost of pages
//! 1/4  large requests, from their first 4 KiB to their append (net::frames::Budget); when others wait, a stalled one ends
//! 1/16 records of other shards on their way out (Broker::copies)
//! rest journal groups, and the buffer that a growing request is moved out of
//! ```
//!
//! A reader that does not read costs its connection alone: an answer keeps positions in segments ([`api::answer`]).
//!
//! # On disk
//!
//! ```text
//! <data>/meta.properties                   cluster, node, current layout       disk::layout
//! <data>/metadata/*.tml                    the metadata log                    controller::{entry, store}
//! <data>/<topic>-<partition>/              Kafka's own files                   log::{segment, index, aborted, epochs}
//!     *.cleaned, *.swap                    compacted segments on their way     log::clean::swap
//! <data>/layouts/<n>/shard-<s>/checkpoint  what is flushed, where replay starts disk::checkpoint
//! <journal.dir>/layouts/<n>/shard-<s>/journal/*.journal   groups, round and round disk::journal::{files, group}
//! ```
//!
//! Recovery: read the checkpoint, cut each active segment to what it vouches for, replay the journal from its start
//! into the logs. Bounded by the journal's size (`journal.bytes`), not by the data's.
//!
//! # The map
//!
//! A file imports from its own rank and lower ones; a request goes down, an answer comes back up as a value or a woken
//! waiter. Below `api` nobody knows an API version (but for what the record rules ask).
//!
//! ```text
//!  1 model        ids, names, error codes
//!  2 runtime      one thread, one ring; all unsafe; clocks, randomness, files and sockets are reached through it alone
//!  3 config record wire        settings; batches as bytes; frames and messages
//!  4 metadata disk             the image, read side; directory, journal, checkpoint
//!  5 log          one partition's log: segments, indexes, tail, reads, retention, compaction
//!  6 partition    append, fetch, watermark, producers, transactions, purgatory
//!  7 shard        one core: its partitions and the tasks that keep them going
//!  8 router       topic-partition -> shard -> broker; messages between shards
//!  9 controller   commands, the metadata log
//!    coordinator  state machines over internal topics: groups, transactions
//! 10 api          one file per Kafka API: what a request means
//! 11 net          listeners, connections, frames
//! 12 tools        the command line: topic, produce, consume, inspect, perf, and the client they share
//! 13 serve        wires a node together
//! ```
//!
//! # Words
//!
//! Kafka's words keep Kafka's meaning. Ours: a *node* is one process; a *shard* one pinned thread with one ring; a
//! *broker* is what a client sees (direct routing: node id x 1000 + shard); the *journal* is a shard's write-ahead log; a
//! *group* is what one journal write makes durable; a *chunk* is a piece of a segment's image in memory; the *image* is
//! the immutable metadata that every shard reads.
//!
//! # Decisions that differ from where we began, and why
//!
//! - **The journal's group carries no CRC over record bytes of its own**: each batch has one, the entry repeats it, and
//!   replay checks it. One pass over every byte less.
//! - **The tail is the segment's image**, per partition and at the positions of the file, not the journal's buffers: two
//!   copies at the append while the bytes are hot, none at write-back, and a fetch gets contiguous ranges.
//! - **The shard of a partition is derived** from the topic's id and the number of shards, not stored: spreading anew
//!   at a restart is a new layout directory and one rename.
//! - **A send takes what the socket has room for and waits for the rest without its bytes**: `MSG_DONTWAIT`, then a poll.
//!   The kernel's own retry of a large send would pin log memory for as long as the reader pleases; fifty idle readers
//!   took 1.1 GiB that way, and 0.16 GiB now.
//! - **Shard threads ask for a time slice of 5 ms** (`runtime::cpu`): flushes are completed by a kernel worker on the same
//!   core, which a busy thread of equal standing would hold up until the next tick.
//! - **Direct routing is the default.** Against forward routing, medians of three alternating rounds on two cores with the
//!   client beside them (`cargo bench --bench against_kafka -- --routings`): batches of 16 at 1,017 against 972 MB/s, one
//!   record at 2,000/s p50 190 against 219 us, to a waiting consumer 231 against 262 us; requests of one record 251,000
//!   against 263,000/s and reading equal, within what such a machine tells apart. Forward routing hands connections over,
//!   so it pays only for requests that keep crossing; it is there for clients that can reach one port.
//! - **An idle core spins for 20 us** (`spin.us`). On two cores with the client beside it, 10 to 20 us took as many requests
//!   as 50 us at three quarters of the CPU (0.8 against 1.06 s/GB); without spinning, small requests took 10% fewer CPU
//!   still, and a record alone 5% more time.
//! - **The checkpoint swaps compacted segments in**, not renames: it vouches for every sealed segment's bytes, so it is what
//!   has to change in one step. How far a log is compacted is in it too, not in Kafka's `cleaner-offset-checkpoint`.
//! - **Memory is touched ahead, and kept** (`runtime::buf::pages`). The first touch of a huge page stalled a shard for up to
//!   3.5 ms on a virtual machine. With eight of them ready, 10 MB/s in batches of 16 has p99 0.79 ms and p99.9 2.8 ms in
//!   place of 1.9 and 20 ms (medians of three alternating rounds), and saturation 6 to 20% more MB/s. What the disk's own
//!   stalls leave of such tails is in perf/README.md beside it: bare durable writes at the same rate.
//! - **Write-back goes in whole chunks of up to 1 MiB.** In pieces of 128 KiB with pauses, p99 at 10 MB/s fell from 0.79 to
//!   0.49 ms and p99.9 rose from 2.8 to 4.1 ms; nothing to build on.
//! - **A consumer group is assigned anew 0.1 ms per member and partition after the last time**, and
//!   `group.consumer.assignment.interval.ms` (Kafka's default of a second) is the most it may be: the interval is there to
//!   bound what a group that changes often costs, and a small one costs little.
//! - **A member that waits for partitions which others have yet to give up, or for its group to be assigned, looks again after
//!   half a second**, by the heartbeat interval that its answer names, not after the usual five: it may be all that a rebalance
//!   waits for.
//! - **The hash of what a consumer group reads is SipHash's**, over ids, names and sizes of its topics; Kafka's is XXH3. A
//!   directory that moves between the two raises each group's epoch once.
//! - **Auto-created topics are in the first Metadata answer**; a client needs no second one.

pub mod api;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod disk;
pub mod log;
pub mod metadata;
pub mod model;
pub mod net;
pub mod partition;
pub mod record;
pub mod router;
pub mod runtime;
pub mod serve;
pub mod shard;
pub mod tools;
pub mod wire;
