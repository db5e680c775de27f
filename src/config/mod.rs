//! Every setting of a broker and of a topic, declared once.
//!
//! Owns: the two tables ([`broker::SETTINGS`], [`topic::SETTINGS`]) with the name, type, range, default and doc of each
//! setting. The help, the documentation, the checks, the typed structs and DescribeConfigs read them, so none
//! disagrees.
//! Inputs: the text of a TOML file and `--set key=value` words ([`load()`]), and a topic's overrides.
//! Outputs: [`BrokerConfig`] and [`TopicConfig`], or a [`LoadError`] with each problem, its place and the legal values.
//!
//! Invariants
//! - CONF-1: a value in a `BrokerConfig` or `TopicConfig` is of its setting's type and in its range.
//! - CONF-2: a topic setting without an override has the value of its broker setting, in the topic setting's unit.
//!
//! Does not know: files (it gets their text), sockets, the metadata image, API versions. Runs on any thread; holds no
//! state.

pub(crate) mod broker;
mod choices;
mod consistency;
pub mod example;
pub(crate) mod listener;
mod load;
mod nearest;
mod setting;
pub(crate) mod topic;

pub use broker::BrokerConfig;
pub use choices::{CleanupPolicy, CompressionType, Migration, Routing};
pub use consistency::Contradiction;
pub use listener::{Listener, ListenerError};
pub use load::{LoadError, Problem, Source, load};
pub use setting::{InvalidValue, Kind, Setting, Value, ValueError};
pub use topic::TopicConfig;
