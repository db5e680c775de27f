//! Every setting of a broker and of a topic, declared once.
//!
//! Owns: the two tables ([`broker::SETTINGS`], [`topic::SETTINGS`]): name, type, range, default and a line of text each. The
//! help, the documentation, the checks, the typed structs and DescribeConfigs all read them, so they cannot disagree.
//! In: the text of a TOML file and `--set key=value` words ([`load`]), and a topic's overrides. Out: [`BrokerConfig`] and
//! [`TopicConfig`], typed and in range, and for what is wrong a [`Fault`] that says what, where, and what would be right.
//!
//! Invariants
//! - CONF-1: a value in a `BrokerConfig` or `TopicConfig` is of its setting's type and in its range.
//! - CONF-2: a topic setting without an override has the value of its broker setting, in the topic setting's unit.
//!
//! Does not know: files (it is given text), sockets, the metadata image, API versions. Runs anywhere; holds no state.

pub mod broker;
pub mod choices;
pub mod example;
pub mod listener;
pub mod load;
pub mod nearest;
pub mod setting;
pub mod topic;

pub use broker::BrokerConfig;
pub use choices::{CleanupPolicy, CompressionType, Migration, Routing};
pub use listener::Listener;
pub use load::{Fault, Source, load};
pub use setting::{Invalid, Kind, Setting, Value};
pub use topic::TopicConfig;
