//! Every setting of a broker and of a topic, declared once.
//!
//! Owns: the two tables ([`broker::SETTINGS`], [`topic::SETTINGS`]) with the name, type, range, default and doc of each
//! setting. The help, the documentation, the checks, the typed structs and DescribeConfigs read them, so none
//! disagrees.
//! Inputs: the text of a TOML or properties file, the environment and the arguments ([`load_all()`]), and a topic's
//! overrides.
//! Outputs: [`BrokerConfig`] with warnings, and [`TopicConfig`]; or a [`LoadError`] with each problem, its place and
//! the legal values.
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
pub(crate) mod dynamic;
pub mod environment;
pub mod example;
pub(crate) mod group;
mod host_limits;
pub mod kafka;
pub(crate) mod listener;
mod load;
mod nearest;
mod problem;
pub mod profile;
mod properties;
mod protocol;
mod setting;
pub(crate) mod topic;
mod units;
mod warning;

pub use broker::{BrokerConfig, ChangedBy, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN};
pub use choices::{CleanupPolicy, CompressionType, Migration, Routing};
pub use consistency::Contradiction;
pub use group::GroupConfig;
pub use host_limits::{HostLimit, HostLimitError};
pub use listener::{Listener, ListenerError};
pub use load::{Argument, Inputs, Loaded, Source, load, load_all};
pub use problem::{LoadError, Problem};
pub use setting::{InvalidValue, Kind, Setting, Value, ValueError};
pub use topic::TopicConfig;
pub use warning::{LocatedWarning, Warning};
