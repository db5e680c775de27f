//! libFuzzer over all targets: an input's first byte chooses the target, the rest is its bytes.
#![no_main]

#[allow(dead_code, reason = "the smoke run uses the names and the bounds")]
mod targets;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((choice, bytes)) = input.split_first() {
        (targets::TARGETS[usize::from(*choice) % targets::TARGETS.len()].run)(bytes);
    }
});
