//! The table of cases. They run in this order on the same two brokers, so a case may read the data of earlier ones.

mod acls;
mod alter_configs;
mod broker_configs;
mod cluster;
mod configs;
mod consumer_groups;
mod create_topics;
mod delete_records;
mod delete_topics;
mod fetch;
mod fetch_sessions;
mod frames;
mod groups;
mod in_transactions;
mod metadata;
mod offsets;
mod partitions;
pub mod produce;
mod producers;
mod quorum;
mod reassignments;
mod resources;
mod transactions;

use super::case::Case;

pub fn all() -> Vec<Case> {
    well_formed().into_iter().chain(frames::cases()).collect()
}

fn well_formed() -> Vec<Case> {
    let files = [
        create_topics::cases(),
        metadata::cases(),
        cluster::cases(),
        configs::cases(),
        alter_configs::cases(),
        broker_configs::cases(),
        partitions::cases(),
        produce::cases(),
        producers::cases(),
        offsets::cases(),
        fetch::cases(),
        fetch_sessions::cases(),
        groups::cases(),
        transactions::cases(),
        in_transactions::cases(),
        consumer_groups::cases(),
        delete_records::cases(),
        acls::cases(),
        resources::cases(),
        reassignments::cases(),
        quorum::cases(),
        delete_topics::cases(),
    ];
    files.into_iter().flatten().collect()
}
