//! Changes of the settings of a broker, or of the defaults of all brokers (KIP-226), for AlterConfigs and
//! IncrementalAlterConfigs.

use super::context::Context;
use super::describe_configs::broker_here;
use super::refusal::AdminRefusal;
use crate::config::dynamic::{self, InvalidChange};
use crate::config::topic::Overrides;
use crate::metadata::Command;
use crate::model::{BrokerId, ErrorCode};
use crate::router::broker::brokers_of;

/// The broker that a resource's name means; `None` is all brokers.
pub fn broker_of(name: &str, context: &Context<'_>) -> Result<Option<BrokerId>, AdminRefusal> {
    if name.is_empty() { Ok(None) } else { broker_here(name, context, ("Node", "")).map(Some) }
}

/// The command for these changes, which make `overrides` of the settings of a broker, or of all brokers.
pub fn change(
    broker: Option<BrokerId>,
    overrides: &Overrides,
    changes: Vec<(String, Option<String>)>,
    context: &Context<'_>,
) -> Result<Option<Command>, AdminRefusal> {
    check(broker, overrides, context)
        .map_err(|error| AdminRefusal::new(ErrorCode::InvalidRequest, error.to_string()))?;
    Ok((!changes.is_empty()).then_some(Command::SetBrokerConfig { broker, changes }))
}

/// Checks the settings alone, and the resulting settings of each broker of this node that they concern.
fn check(broker: Option<BrokerId>, overrides: &Overrides, context: &Context<'_>) -> Result<(), InvalidChange> {
    dynamic::check_each(overrides, broker.is_some())?;
    let image = context.image;
    let node = image.node(context.node).into_iter();
    let brokers = node.flat_map(|node| brokers_of(node, context.listener)).map(|known| known.id);
    for id in brokers.filter(|id| broker.is_none_or(|broker| broker == *id)) {
        let (of_one, of_all) = (image.broker_overrides(Some(id)), image.broker_overrides(None));
        let (one_after, all_after) = match broker {
            Some(_) => (Some(overrides), of_all),
            None => (of_one, Some(overrides)),
        };
        dynamic::check_effect(context.config, all_after, one_after)?;
        dynamic::check_threads([of_one, of_all], [one_after, all_after])?;
    }
    Ok(())
}

/// The words of a list, to which a change adds some or from which it takes some. `verb` is append or subtract.
pub fn words(name: &str, verb: &str, overrides: &Overrides) -> Result<Vec<String>, AdminRefusal> {
    dynamic::words(name, overrides).ok_or_else(|| {
        let message = match dynamic::is_known(name) {
            true => format!("Config value {verb} is not allowed for config key: {name}"),
            false => format!("Unknown config name: {name}"),
        };
        AdminRefusal::new(ErrorCode::InvalidConfig, message)
    })
}

#[cfg(test)]
mod tests;
