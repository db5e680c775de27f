//! Requests about partitions' data: produce, fetch, offsets, and record deletion.
//!
//! `produce` is the first stage of a Produce request, `produced` the second. A fetch response is an `answer`: it keeps
//! positions in segments instead of records.

pub(crate) mod answer;
pub(crate) mod delete_records;
pub(crate) mod fetch;
pub(crate) mod fetch_session;
pub(crate) mod leader_hint;
pub(crate) mod list_offsets;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod produced;
