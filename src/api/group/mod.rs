//! Requests to group coordinators: both protocols' membership, offsets, and the admin requests about groups.
//!
//! Input: a decoded body and a `request::GroupRequest`. Output: a response's frame. `request` finds the group's owner.
//! Does not know: how a group's state changes (`coordinator::group`), or where it is stored.

pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod delete_groups;
pub(crate) mod describe_groups;
pub(crate) mod heartbeat;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_groups;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod request;
pub(crate) mod sync_group;
#[cfg(test)]
mod tests;
pub(crate) mod txn_offset_commit;
