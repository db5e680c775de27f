//! Tidemill: a Kafka-wire-compatible streaming platform in one binary.
//!
//! Three promises. They decide between competing designs:
//!
//! 1. **Acknowledged means on stable storage.** One flush per core makes the batches of all its partitions durable.
//! 2. **The client talks to the core that owns the partition.** In direct routing each core is a Kafka broker.
//! 3. **Nothing on the data path is shared between cores.** Each core has one pinned thread, one ring, and its own
//!    partitions, journal, memory and connections. Cores exchange messages.
//!
//! # The data paths
//!
//! ```text
//! produce   net::connection       receives a frame into a provided buffer, a large one into a buffer of its own
//!           api::table            finds the handler
//!           api::data::produce    first stage, in the connection's order: decodes in place, finds partitions' shards
//!             shard::produce      looks up the partition; checks the memory and the journal; pauses in large batches
//!             partition::append   record::validate (CRC, records, timestamps), producers (sequence), assigns offsets
//!               log::segment      + copies the batch into the tail, at its position in the segment's image
//!               disk::journal     + copies it into the open group, or refers to the tail's blocks if it is large:
//!                                   one step, no await in between (PART-3)
//!           disk::journal         one direct write with RWF_DSYNC per group; later batches form the next one
//!           shard::commit         the durable sequence advances -> high watermarks advance -> waiting fetches wake
//!           api::data::produced   second stage: the response, in the connection's order
//!           ... later             full chunks -> segment file (shard::write_back), direct, without a copy
//!           ... later still       some partitions' segments flushed -> checkpoint stored -> journal files free
//!                                   (shard::checkpoint, partition::flushed)
//!
//! delete    shard::log_start      retention and DeleteRecords append the new log start to the journal, like a batch
//!             log::retain         once it is durable: readers see it; whole segments below it are removed (LOG-3)
//!
//! compact   shard::clean          picks the log with the largest share of bytes that were never compacted
//!             log::clean          finds the latest offset of each key; reads old segments, writes new ones
//!             log::clean::swap    the next checkpoint that names the new segments makes them the log
//!
//! fetch     net::connection -> api::table -> api::data::fetch
//!             partition::fetch    bounds the read by high watermark or last stable offset; checks the epoch
//!               log::read         segment -> sparse index -> batch headers: finds the positions, not the bytes
//!             purgatory           too few bytes: registers one waiter with all partitions of the request, and counts
//!                                 only new batches at each wake (api::data::fetch::wait)
//! api::data::answer the bytes that fit the socket now: chunks in memory, or pages read direct with read-ahead
//!           net::connection       header pieces and record bytes leave as one iovec from the buffers they are in
//! ```
//!
//! The state of a group or a transaction lives in a partition of an internal topic, on the shard that owns it
//! ([`coordinator`]). A step of its state machine writes records, and is answered when they are durable. A restart
//! reads them back.
//!
//! ```text
//! group        api::group::consumer_group_heartbeat  a member sends its subscription and its partitions (KIP-848)
//!                coordinator::group::consumer          subscription -> group epoch -> target (group::assign)
//!                                                      one step of this member: revoke, acknowledge, or assign
//!              api::group::join_group, sync_group    classic members: their leader assigns; in a consumer group the
//!                                                      coordinator does. A live group can migrate (migrate)
//!
//! transaction  api::txn::init_producer_id    coordinator::txn: next epoch; aborts the predecessor's transaction
//!              api::data::produce            first batch in a partition: the coordinator adds the partition, then the
//!                                              append; a marker written in between fences it (partition::transactions)
//!              api::txn::end_txn             the decision is durable, and the client gets its response
//!              api::txn::transactions        then writes a marker into each partition, on any shard; retries
//!              partition                     marker durable -> last stable offset advances -> waiting readers wake
//! ```
//!
//! A request for another shard's partition crosses as a message ([`router`]). Its bytes are copied once; nothing is
//! shared. In forward and steer routing a connection whose requests keep crossing moves to the owner, with its socket.
//! In steer routing it moves before the first request that needs one shard ([`api::shard_addressed`]).
//!
//! Metrics and health ([`edge`]) have one thread of their own. No other thread uses tokio. It asks the shards by
//! message. A shard answers with a copy of plain numbers, in a task of the background class; the data path only adds
//! to them.
//!
//! # A shard's memory
//!
//! `memory.bytes` is the size of the arena, which holds every buffer of more than a few KiB. Its shares keep one kind
//! of work from starving another. A task that waits for one share holds no other. Above 2 GiB all more is log data:
//!
//! ```text
//! 5/8  log data (log::tail::Memory): chunks take at most three quarters of it (all but 512 MiB of much), pages read
//!      back and the indexes of sealed segments take the rest
//! 5/64 pages that are being read (Memory::loads)
//! 5/64 the keys of a log that is being compacted (Memory::lend); part of the 5/8, taken from the pages
//! 1/4  large requests, from their first 4 KiB to their append (net::frames::Budget); closes a stalled one
//! 1/16 records of other shards in responses (Server::copies)
//! rest journal groups, and the second buffer of a request that grows
//! ```
//!
//! Large compressed batches of producers, and those that ListOffsets searches, are decoded beside the arena, in 128 MiB
//! of a shard: several, or one of the largest.
//!
//! Without `memory.bytes` a node plans with most of the memory that is free at its start, and each shard returns some
//! when the machine runs short ([`shard::memory`]).
//!
//! A task that finds no memory is woken when memory is freed (`runtime::buf::wait`); it does not poll.
//!
//! A client that does not read costs only its connection: an answer keeps positions in segments ([`api::Answer`]).
//!
//! # On disk
//!
//! ```text
//! <data>/meta.properties                   cluster, node, current layout       disk::layout
//! <data>/metadata/*.tml                    the metadata log                    controller::{entry, store}
//! <data>/<topic>-<partition>/              Kafka's own files                   log::{segment, index, aborted, epochs}
//!     *.cleaned, *.swap                    compacted segments, before the swap log::clean::swap
//! <data>/<topic>-<partition>.<id>-delete    being removed; `-stray`: put aside shard::directories
//! <data>/layouts/<n>/shard-<s>/checkpoint  flushed ends; start of the replay   disk::checkpoint
//! <journal.dir>/layouts/<n>/shard-<s>/journal/*.journal   groups, round-robin  disk::journal::{files, group}
//! ```
//!
//! Recovery reads the checkpoint, cuts each active segment to the length that the checkpoint vouches for, and replays
//! the journal from the checkpoint's start into the logs. Its work is bounded by `journal.bytes`, not by the size of
//! the data: also if a power failure has taken the index of an active segment, which recovery seals then. The journal
//! ends at the first group that is not whole, unless a later group proves that it was flushed: then the node refuses
//! to open. An idle journal ends with such a proof.
//!
//! A start first checks that the files belong together ([`serve`], `examine`), and changes nothing if they do not. The
//! metadata log must reach the index that each checkpoint records, so that a lost end of the log is no surprise later.
//! A partition's directory is removed only if the log has deleted its topic; one of an unknown topic is put aside.
//!
//! # The map
//!
//! A file imports from its own directory and from lower ranks. A request goes down; a response comes back up as a value
//! or a woken waiter. No layer below `api` sees an API version. `tests/tidy` checks the ranks.
//!
//! ```text
//!  1 model        ids, offsets, names, error codes, codecs
//!  2 runtime      one thread, one ring; all unsafe code; the only access to clocks, randomness, files and sockets
//!  3 config record wire        settings; batches as bytes; frames and messages
//!  4 metadata disk             the image, read side; directory, journal, checkpoint
//!  5 log          one partition's log: segments, indexes, tail, reads, retention, compaction
//!  6 partition    append, fetch, watermarks, producers, transactions, purgatory
//!  7 shard        one core: its partitions and their background tasks
//!  8 router       topic-partition -> shard -> broker; messages between shards
//!  9 controller   commands, the metadata log
//!    coordinator  state machines over internal topics: groups, transactions
//! 10 api          the table of APIs; one file per API in data, group, txn and admin
//! 11 net          listeners, connections, frames
//! 12 tools        the command line: config, topic, group, txn, cluster, produce, consume, inspect, perf, tune,
//!              doctor; their client
//!    edge         metrics and health over HTTP, on a thread of its own
//! 13 serve        wires a node together
//! ```
//!
//! # Words
//!
//! Kafka's words keep Kafka's meaning. Ours: a *node* is one process; a *shard* is one pinned thread with one ring; a
//! *broker* is a server that Kafka clients see (direct and steer routing: node id x 1000 + shard); the *journal* is a
//! shard's write-ahead log; a *group* of the journal is the content of one write; a *chunk* is a piece of a segment's
//! image in memory; the *image* is the immutable metadata that every shard reads. *Statement n* is behaviour n of
//! `tests/statements.md`.
//!
//! # Decisions that differ from our first design, and why
//!
//! - **A journal group has no CRC of its own over record bytes.** Each batch has a CRC, the journal entry repeats it,
//!   and replay checks it. This saves one pass over every byte.
//! - **The tail is the segment's image**, per partition and at the positions of the file, not the journal's buffers.
//!   Write-back copies nothing, and a fetch gets contiguous ranges. The append copies a small batch twice, while its
//!   bytes are hot. It copies a batch of 32 KiB or more once: the group's write takes the blocks of the tail that hold
//!   the batch (`disk::journal::image`). These blocks are one more than the batch's own, on average, which is an
//!   eighth of 32 KiB. Batches that follow each other in a partition share their blocks, so any batch behind a large
//!   one joins it. The bytes beside a batch in its blocks are ignored at replay. The group copies the last block if the
//!   tail still fills it: a file system or a device that adds checksums must not see bytes that change.
//! - **Each batch is written twice**: to the journal with a flush, and later to the segment. Bulk that went straight
//!   to the segment, with only a reference in the journal, would save a write. But a segment's blocks are new, and
//!   each flushed write into new blocks commits an extent conversion. Flushed writes of 256 KiB at depth 8 took 3.0
//!   GB/s in blocks that were written before and 1.4 GB/s in new ones; unflushed writes into new blocks, with a flush
//!   every 16 MiB, took 1.7 GB/s (`fio` on an idle machine). At depth 2 it was 2.0, 1.1 and 1.7 GB/s. The median
//!   latency doubled in new blocks. So each acknowledgement of bulk would wait twice as long, and new space takes at
//!   most 1.7 GB/s in either design. Segment files that are recycled, as those of the journal are, would change this
//!   decision: their blocks were written before. `cargo bench --bench fresh_space` repeats the comparison.
//! - **The shard of a partition is derived** from the topic's id and the number of shards, not stored. Spreading
//!   partitions anew at a restart takes a new layout directory and one rename.
//! - **A send takes the bytes that the socket has room for and waits without holding the rest**: `MSG_DONTWAIT`, then
//!   a poll. The kernel's own retry of a large send would pin log memory for as long as the client does not read.
//!   Fifty idle readers took 1.1 GiB that way, and take 0.16 GiB now.
//! - **Shard threads request a time slice of 5 ms** (`runtime::cpu`). A kernel worker on the same core completes
//!   flushes, and a busy thread of equal priority would delay it until the next tick.
//! - **A shard creates 32 partitions at a time.** A directory and its `partition.metadata` take two flushes, and
//!   flushes that run together share a commit of the file system. On ext4 with its journal, 5,000 partitions took 3.3
//!   to 5.3 s in place of 16 to 24 s; on ext4 without one, 100,000 took 17 s in place of 32 s. These 100,000 open in 4
//!   to 6 s, take 2.1 to 3.2 kB of memory each, and 0.1% of a core while nothing happens.
//! - **The default of `routing` follows the advertised hosts**: steer for names, direct for IP addresses. Steer needs
//!   one port, and every client takes it where each shard can have a name; an address has one spelling. Medians of six
//!   alternating rounds of 4 s on two cores shared with the client, for direct, steer and forward routing: batches of
//!   16 at 762, 773 and 746 MB/s; requests of one record at 210,000, 212,000 and 211,000/s; batches of 16 at 2,000/s to
//!   a waiting consumer p50 257, 256 and 296 us, with 93, 89 and 177 us of the broker's CPU. Forward routing hands
//!   connections over, so it costs extra only for requests that keep crossing.
//! - **Steer routing gives each shard a host name of its own** (`router::broker`), because its brokers share a port.
//!   Clients keep brokers by id, and some by address too. With one address for three brokers, kcat (librdkafka 2.0;
//!   2.10 mended it) produced with stalls of seconds and never read to the end, and kafkajs did not read to the end
//!   either. Java, librdkafka 2.16, franz-go and kafka-python worked. Names that differ in case resolve alike and work
//!   with all of them. For 127.0.0.1 the other name is `localhost`: 127.0.0.2 would not pass an SSH tunnel. An IP
//!   address has no second spelling that all clients read, so the start prints a warning.
//! - **A connection in steer routing moves before its first request for a shard is served.** Its client may be wrong
//!   about the shard, so every connection still serves every request. A connection that no request has assigned to a
//!   shard yet answers ListGroups, ListTransactions and DescribeLogDirs for the whole node: a client that lists all
//!   brokers then gets an entry twice rather than never.
//! - **One node accepts a replication factor up to the number of its brokers**, because clients derive it from the list
//!   of brokers, and creates one replica. The partition's shard stays derived, so a manual assignment selects the
//!   topic's id: round-robin assignments hold, and the response names the brokers of the other partitions. Metadata
//!   shows the replica that exists. A client that waits for all replicas needs a node with one broker: one shard, or
//!   forward routing. librdkafka's own test of CreatePartitions is such a client.
//! - **An idle core spins for 20 us** (`spin.us`). On two cores shared with the client, 10 to 20 us served as many
//!   requests as 50 us at three quarters of the CPU (0.8 against 1.06 s/GB). Without spinning, small requests took
//!   10% less CPU still, and a single record 5% more time.
//! - **A profile holds measurements, and each start derives the settings** (`config::profile`). A newer release
//!   derives better ones from an old file. So far two settings follow. `spin.us` lasts as long as the wake-up that it
//!   saves, and no longer than the 20 us above; `journal.depth` grows while the bandwidth of durable writes grows by
//!   15%, up to 4: bare writes gain from 8, and a node does not (`tuning/README.md`). A profile of another machine or
//!   of a busy one has no effect: beside builds of others, durable writes of 4 KiB took 1.1 ms in place of 0.1 ms.
//! - **`tune apply` keeps a setting only if all its rounds are faster than all rounds of the old value**, by 3% or
//!   more. Rounds of both values alternate: beside other load, three rounds before and three after made `rq_affinity`
//!   look 63% faster. It restores the others: a setting that buys nothing is one more difference between two hosts.
//!   `queue/write_cache` is never written, because `write through` ends the flushes, and with them the promise of each
//!   acknowledgement.
//! - **A start waits for the direct writes of the process before it** (`disk::earlier`). The kernel releases the lock
//!   of the data directory when a process is killed, and finishes its direct writes later: on a slow device, seconds
//!   later. They could land on bytes that the successor has acknowledged. A file has no write in flight when the kernel
//!   grants a read lease on it. A new file in each session would protect the journal only, not a segment's tail.
//! - **The checkpoint swaps compacted segments in**, not renames. It vouches for every sealed segment's bytes, so it
//!   has to change in one step. It also records how far a log is compacted, in place of Kafka's
//!   `cleaner-offset-checkpoint`.
//! - **The states in a checkpoint are of different moments.** Each partition names the journal groups that it needs
//!   besides its state, and the replay starts at the first of them. A checkpoint of one moment would free no journal
//!   space before the last of 10,000 dirty partitions is flushed, and appends would wait for it. Each partition keeps
//!   its latest state as the bytes of the file, so that a checkpoint archives only changed partitions.
//! - **Memory is touched ahead of use, and kept** (`runtime::buf::pages`). The first touch of a huge page stalled a
//!   shard for up to 3.5 ms on a virtual machine. With eight pages touched ahead, 10 MB/s in batches of 16 has p99
//!   0.79 ms and p99.9 2.8 ms in place of 1.9 and 20 ms (medians of three alternating rounds), and saturation has 6
//!   to 20% more MB/s. `perf/README.md` compares these tails with bare durable writes at the same rate.
//! - **Without `memory.bytes`, memory grows by at most 32 MiB per shard and second** (`shard::memory`). A first touch
//!   of 1 GiB took 0.75 to 2 s of CPU here. When appends or the helper thread touched as much as a producer wrote,
//!   batches of 16 fell from 790 to 530 MB/s, with 3.1 in place of 0.93 CPU s/GB. So records that are read soon after a
//!   long burst come from the disk, until the memory has grown.
//! - **Write-back writes whole chunks of up to 1 MiB.** In pieces of 128 KiB with pauses, p99 at 10 MB/s fell from
//!   0.79 to 0.49 ms and p99.9 rose from 2.8 to 4.1 ms. So the pieces were left out.
//! - **The assignment interval of a consumer group is 0.1 ms per member and partition**, and at most
//!   `group.consumer.assignment.interval.ms` (Kafka's default of one second). The interval bounds the cost of a group
//!   that changes often, and a small group costs little.
//! - **A member that waits for partitions or for an assignment sends its next heartbeat after half a second**, by the
//!   heartbeat interval in its response, not after the usual five seconds. The whole rebalance may wait for this
//!   member.
//! - **A consumer that rejoins with nothing but its topics is fenced** (epoch 0, no timeout, null partitions), where
//!   Kafka answers INVALID_REQUEST. librdkafka sends it after an unsubscription in the middle of a revocation. It takes
//!   INVALID_REQUEST as fatal, and after FENCED_MEMBER_EPOCH it rejoins with its timeout, rack and instance id.
//! - **The subscription hash of a consumer group is SipHash**, over ids, names and sizes of its topics; Kafka uses
//!   XXH3. A data directory that moves between the two raises each group's epoch once.
//! - **Deadlines of coordinators wait while the journal stalls** (`coordinator::ledger`). A commit waits for the
//!   journal, and the heartbeat behind it on the same connection waits too. When a device stalled for 7 s, members with
//!   sessions of 6 s were put out of their groups although they lived. A stall counts for no session now.
//! - **In direct routing each broker reports an equal share of the volume** in DescribeLogDirs. Consoles add up the
//!   brokers' volumes and logs, and alert on the ratio of free bytes: both are right. If one broker reported the whole
//!   volume, the logs of the others would lie on a volume without a size.
//! - **Auto-created topics are in the first Metadata response**, so a client needs no second request.
//! - **A setting of Kafka that Tidemill lacks gives a warning, or a refusal where it is unsafe to ignore**
//!   (`config::kafka`). Kafka ignores unknown names. A node with an `ssl.` setting must not serve in plain
//!   text.
//! - **A shard's settings are one value that a change replaces** (`shard::config`, KIP-226). The metadata image stores
//!   the changes; each shard resolves them for its own broker, when it opens and when an image changes them. A reader
//!   takes the value once per request or task: one pointer, without a lock. Topics keep resolved settings, so the data
//!   path is unchanged. A stored value that contradicts a changed file has no effect, and the start prints a warning,
//!   because a node must start for its settings to be mended.
//! - **Settings of Kafka's brokers without a part here change at run time without effect** (`config::dynamic`), so that
//!   tools which set them work. Security settings are refused. Names that Kafka does not know are stored and hidden, as
//!   in Kafka, up to a limit.
//! - **API versions are in one table in `wire`, everything else about an API in one table in `api`.** Headers are
//!   decoded below `api`, so `wire` has to know which versions are flexible. Both tables are exhaustive matches over
//!   the API keys.
//! - **The rows of `api::table` expand to matches, not to function pointers.** A pointer to an async handler needs a
//!   boxed future for each request; a match needs none.
//! - **A large batch is validated in steps** (`record::validate`): other tasks run after 0.5 ms of decompressing,
//!   checking or recompressing. A batch is large above 2 MiB, or above 256 KiB if it is rebuilt for `compression.type`.
//!   Its decoded size is unknown before it is decoded. So validation begins again if 16 MiB are too few. A search by
//!   timestamp decodes in the same steps. C clients send one raw Snappy block for a whole batch, which the `snap` crate
//!   decodes in one call: 128 MiB took 94 ms of one core. So `record::codec::snappy::block` decodes it in steps of at
//!   most 1 ms, at the same speed.
//! - **Counters are plain numbers of a shard, and the edge asks for copies** ([`edge`]). A scrape that reads
//!   an atomic counter moves its cache line between two cores, and a lock could stop a shard. A request costs one more
//!   reading of the clock for its stages, and no allocation. The edge takes at most 20 snapshots a second, however many
//!   clients ask. Its thread has a tenth of a shard's weight and does not preempt one: otherwise the edge, woken by a
//!   shard's answer, ran at once on that shard's core (up to 44 ms on a machine with other load).
//! - **`perf` has one thread, and takes cores only where the broker leaves some.** Requests are encoded once, so one
//!   thread loads a broker on the cores that it leaves; a note states when it does not. A broker with a thread for each
//!   core leaves none: a client pinned to one of them would delay that shard alone, so it floats. The step of a sweep
//!   keeps the rate, not the requests in flight: with those fixed, a slow broker receives less load and looks better.
//! - **Error codes are counted where a response is encoded** (`api::outcome::encode`): the writer notes each code that
//!   it writes. So no handler counts, and a new API needs nothing. A code becomes a time series when it first occurs.
//! - **The lag of a group in time comes from earlier scrapes** (`edge::lag`): when a high watermark was seen below the
//!   committed offset. The record's timestamp would need a read of the log for each partition and scrape, and may be
//!   any number that a producer chose.
//! - **Waits that are rare are boxed**: for memory, and for the coordinator of a transaction's first batch. The task of
//!   each connection has room for the largest first stage of a request. Boxing took an idle connection from 17.3 to
//!   12.1 KB; a test bounds it.

// Unit tests prepare files and read clocks.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
// Like missing_docs, for items that other modules see (missing-docs-in-crate-items in .clippy.toml).
#![warn(clippy::missing_docs_in_private_items)]

pub mod api;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod disk;
pub mod edge;
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
