//! The statements of `tests/statements.md`, checked against a running node in raw frames.
//!
//! A test's name begins with the number of its statement and states the claim. Some statements are covered by a test
//! beside the code they are about; the table in `tests/statements.md` names the tests of each.
//!
//! Not served yet, and not advertised: 10 and 123 (SASL).

mod connection;
mod deletion;
mod fetch;
mod fetch_sessions;
mod groups;
mod idempotence;
mod listeners;
mod offsets;
mod produce;
mod resent;
mod topics;
