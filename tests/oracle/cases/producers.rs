//! InitProducerId, and the sequences of idempotent producers.

use tidemill::record::builder::BatchOptions;
use tidemill::wire::ApiKey;
use tidemill::wire::txn::init_producer_id::InitProducerIdRequest;

use super::super::case::{Case, case, fetch, in_fetch, part, say};
use super::produce::{base, build, to_one};

fn init(name: &'static str, request: InitProducerIdRequest) -> Case {
    case(ApiKey::InitProducerId, name, move |_, v| say(&request, v))
}

/// Batches of one producer per version: epoch, first sequence, record count.
fn sequences(name: &'static str, producer: i64, batches: &'static [(i16, i32, usize)]) -> Case {
    let mut steps = batches.iter().map(move |&(producer_epoch, base_sequence, count)| {
        move |side: &super::super::pair::Side, v: i16| {
            let producer_id = producer * 100 + i64::from(v);
            let options = BatchOptions { producer_id, producer_epoch, base_sequence, ..Default::default() };
            to_one(side, v, "idempotent", &build(options, &vec![(base(), None, "v"); count]))
        }
    });
    let first = case(ApiKey::Produce, name, steps.next().expect("one at least"));
    steps.fold(first, Case::then)
}

pub fn cases() -> Vec<Case> {
    let fresh = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..Default::default() };
    let known = |producer_id, producer_epoch| InitProducerIdRequest { producer_id, producer_epoch, ..fresh.clone() };
    vec![
        init("a fresh producer", fresh.clone()),
        init("a negative timeout", InitProducerIdRequest { transaction_timeout_ms: -1, ..fresh.clone() }),
        init("an empty transactional id", InitProducerIdRequest { transactional_id: Some("".into()), ..fresh.clone() }),
        init("an id and no epoch", known(5, -1)).since(3),
        init("an epoch and no id", known(-1, 5)).since(3),
        init("an id and its epoch", known(5, 5)).since(3),
        init("a negative id", known(-7, 5)).since(3),
        sequences("in order", 1, &[(0, 0, 1), (0, 1, 3), (0, 4, 1), (0, 5, 1)]),
        sequences("again", 2, &[(0, 0, 2), (0, 0, 2), (0, 2, 1), (0, 0, 2), (0, 2, 1)]),
        sequences("again but shorter", 3, &[(0, 0, 3), (0, 0, 2)]),
        sequences("again but longer", 4, &[(0, 0, 2), (0, 0, 3)]),
        sequences("a gap", 5, &[(0, 0, 1), (0, 2, 1), (0, 1, 1)]),
        sequences("not from 0", 6, &[(0, 7, 1), (0, 8, 1)]),
        sequences("a new epoch", 7, &[(0, 0, 1), (1, 0, 1), (1, 1, 1)]),
        sequences("a new epoch not from 0", 8, &[(0, 0, 1), (1, 1, 1)]),
        sequences("an old epoch", 9, &[(3, 0, 1), (2, 1, 1), (2, 0, 1), (3, 1, 1)]),
        sequences(
            "the fifth last and the sixth last",
            10,
            &[(0, 0, 1), (0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1), (0, 5, 1), (0, 1, 1), (0, 0, 1)],
        ),
        sequences("the sequence wraps", 11, &[(0, i32::MAX - 1, 1), (0, i32::MAX, 1), (0, 0, 1), (0, i32::MAX, 1)]),
        sequences("the sequence wraps within a batch", 12, &[(0, i32::MAX - 1, 4), (0, 2, 1), (0, i32::MAX - 1, 4)]),
        sequences("a negative epoch", 13, &[(-1, 0, 1)]),
        sequences("a negative sequence", 14, &[(0, -1, 1)]),
        sequences("a negative sequence later", 15, &[(0, 0, 1), (0, -1, 1)]),
        case(ApiKey::Fetch, "what the idempotent wrote", |side, v| {
            let partitions = vec![part(in_fetch(side, v, "idempotent"), 0, 0)];
            fetch(&tidemill::wire::data::fetch::FetchRequest { partitions, ..Default::default() }, v)
        }),
    ]
}
