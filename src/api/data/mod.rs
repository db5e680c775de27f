pub(crate) mod answer;
pub(crate) mod delete_records;
pub(crate) mod fetch;
pub(crate) mod fetch_session;
pub(crate) mod leader_hint;
pub(crate) mod list_offsets;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
