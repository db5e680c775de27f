//! Fetch sessions (KIP-227): open, continue, refuse, close.

use tidemill::record::builder::BatchOptions;
use tidemill::wire::data::fetch::FetchRequest;
use tidemill::wire::{ApiKey, Topic};

use super::super::case::{Case, Produce, UNKNOWN_ID, case, fetch, in_fetch, part};
use super::super::pair::Side;
use super::produce::{base, build};

const API: ApiKey = ApiKey::Fetch;

/// Opens a session with partitions 0 and 1 at offset 0.
fn opened(name: &'static str) -> Case {
    case(API, name, |side, v| ask(side, v, 0, 0, &[(0, 0), (1, 0)], &[])).since(7)
}

fn ask(side: &Side, v: i16, id: i32, epoch: i32, parts: &[(i32, i64)], forgotten: &[i32]) -> Vec<u8> {
    let topic = in_fetch(side, v, "sessions");
    let request = FetchRequest {
        session_id: id,
        session_epoch: epoch,
        partitions: parts.iter().map(|(partition, offset)| part(topic, *partition, *offset)).collect(),
        forgotten: forgotten.iter().map(|partition| (topic, *partition)).collect(),
        ..Default::default()
    };
    fetch(&request, v)
}

/// The next request of the open session.
fn next(epoch: i32, parts: &'static [(i32, i64)], forgotten: &'static [i32]) -> impl Fn(&Side, i16) -> Vec<u8> {
    move |side, v| ask(side, v, side.session_id(), epoch, parts, forgotten)
}

pub fn cases() -> Vec<Case> {
    let elsewhere = |side: &Side, v: i16, epoch: i32| {
        let topic = if v >= 13 { Topic::Id(UNKNOWN_ID) } else { Topic::Name("nope") };
        let partitions = vec![part(topic, 0, 0)];
        let (session_id, session_epoch) = (if epoch == 0 { 0 } else { side.session_id() }, epoch);
        fetch(&FetchRequest { session_id, session_epoch, partitions, ..Default::default() }, v)
    };
    vec![
        case(ApiKey::Produce, "records for sessions", |side, v| {
            let records = build(BatchOptions::default(), &[(base(), None, "a"), (base(), None, "b")]);
            let parts = vec![(0, Some(&records[..])), (1, Some(&records[..])), (2, Some(&records[..]))];
            Produce { acks: -1, transactional_id: None, topics: vec![(Topic::Id(side.id("sessions")), parts)] }.frame(v)
        })
        .since(13),
        opened("nothing new").then(next(1, &[(0, 2), (1, 2)], &[])).then(next(2, &[], &[])).then(next(3, &[], &[])),
        opened("the same offset again").then(next(1, &[], &[])).then(next(2, &[(1, 2)], &[])),
        opened("one more partition").then(next(1, &[(2, 0)], &[])).then(next(2, &[(2, 1), (0, 2), (1, 2)], &[])),
        opened("an empty partition more").then(next(1, &[(0, 2), (1, 2), (3, 0)], &[])).then(next(2, &[], &[])),
        opened("an unknown partition more").then(next(1, &[(0, 2), (1, 2), (9, 0)], &[])).then(next(2, &[], &[])),
        opened("forgotten").then(next(1, &[(1, 2)], &[0])).then(next(2, &[], &[])).then(next(3, &[(0, 0)], &[])),
        opened("forgotten though unknown").then(next(1, &[(0, 2), (1, 2)], &[7])),
        opened("forgotten and asked for").then(next(1, &[(0, 2), (1, 0)], &[1])).then(next(2, &[], &[])),
        opened("all forgotten").then(next(1, &[], &[0, 1])).then(next(2, &[(0, 0)], &[])),
        opened("out of range").then(next(1, &[(0, 2), (1, 99)], &[])).then(next(2, &[], &[])).then(next(
            3,
            &[(1, 2)],
            &[],
        )),
        opened("closed").then(|side, v| ask(side, v, side.session_id(), -1, &[(0, 0)], &[])).then(next(
            1,
            &[(0, 0)],
            &[],
        )),
        opened("opened anew").then(|side, v| ask(side, v, side.session_id(), 0, &[(0, 0)], &[])).then(next(
            1,
            &[(0, 2)],
            &[],
        )),
        opened("an epoch skipped").then(next(2, &[], &[])).then(next(1, &[(0, 2), (1, 2)], &[])),
        opened("an epoch again").then(next(1, &[(0, 2)], &[])).then(next(1, &[], &[])),
        opened("a negative epoch").then(next(-2, &[], &[])),
        case(API, "no such session", |side, v| ask(side, v, 12345, 1, &[(0, 0)], &[])).since(7),
        case(API, "no session and an epoch", |side, v| ask(side, v, 0, 1, &[(0, 0)], &[])).since(7),
        case(API, "a session of nobody closed", |side, v| ask(side, v, 12345, -1, &[(0, 0)], &[])).since(7),
        case(API, "a session of nobody opened anew", |side, v| ask(side, v, 12345, 0, &[(0, 0)], &[])).since(7),
        case(API, "a session for nothing", |side, v| ask(side, v, 0, 0, &[], &[])).since(7),
        case(API, "a session for an unknown topic", move |side, v| elsewhere(side, v, 0))
            .then(move |side, v| {
                let (session_id, session_epoch) = (side.session_id(), 1);
                fetch(&FetchRequest { session_id, session_epoch, ..Default::default() }, v)
            })
            .since(7),
        opened("an unknown topic more").then(move |side, v| elsewhere(side, v, 1)),
        opened("a partition twice").then(next(1, &[(0, 2), (0, 0), (1, 2)], &[])).then(next(2, &[], &[])),
        opened("by id what was by name").then(|side, _| ask(side, 12, side.session_id(), 1, &[(0, 0)], &[])).since(13),
    ]
}
