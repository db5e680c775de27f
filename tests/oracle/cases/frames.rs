//! Malformed frames: unknown versions, truncated or overlong bodies, unknown keys.

use tidemill::wire::{API_TABLE, ApiKey};

use super::super::case::{Case, case};
use super::super::pair::{ID, Side};

type Mangle = fn(&[u8], usize, i16) -> Vec<u8>;

/// A change to a frame, given the start of its body and its version.
const MANGLED: &[(&str, Mangle)] = &[
    ("no body", |frame, body, _| frame[..body].to_vec()),
    ("half of the body", |frame, body, _| frame[..body + (frame.len() - body) / 2].to_vec()),
    ("the last byte missing", |frame, _, _| frame[..frame.len() - 1].to_vec()),
    ("a byte too many", |frame, _, _| [frame, &[0]].concat()),
    ("version + 1", |frame, _, version| with_version(frame, version + 1)),
    ("version -1", |frame, _, _| with_version(frame, -1)),
    ("version 99", |frame, _, _| with_version(frame, 99)),
    ("every byte of the body 255", |frame, body, _| [&frame[..body], &vec![255; frame.len() - body]].concat()),
    ("every byte of the body 0", |frame, body, _| [&frame[..body], &vec![0; frame.len() - body]].concat()),
    ("an api of nobody", |frame, _, _| {
        let mut frame = frame.to_vec();
        frame[4..6].copy_from_slice(&999i16.to_be_bytes());
        frame
    }),
];

fn with_version(frame: &[u8], version: i16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[6..8].copy_from_slice(&version.to_be_bytes());
    frame
}

/// The first case of each API, mangled.
fn mangled(api: ApiKey, name: &'static str, mangle: Mangle) -> Option<Case> {
    let well_formed = super::well_formed().into_iter().find(|case| case.api == api)?;
    let step = move |side: &Side, version: i16| {
        let step = well_formed.steps.iter().find(|step| step.api == api).expect("a case of it");
        let frame = step.frame(side, version);
        // Length, key, version, correlation id, client id, and the tags of flexible versions.
        let header = 4 + 2 + 2 + 4 + 2 + "oracle".len() + usize::from(api.api().is_flexible(version));
        let mut frame = mangle(&frame, header, version);
        let length = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        debug_assert_eq!(frame[8..12], ID.to_be_bytes());
        frame
    };
    let (since, until) = if name.starts_with("version") {
        (api.api().max, api.api().max)
    } else {
        (well_formed.since, well_formed.until)
    };
    Some(case(api, name, step).since(since).until(until))
}

pub fn cases() -> Vec<Case> {
    let all =
        MANGLED.iter().flat_map(|(name, mangle)| API_TABLE.iter().map(move |api| mangled(api.key, name, *mangle)));
    all.flatten().collect()
}
