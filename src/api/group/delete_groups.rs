//! DeleteGroups (key 42): deletes groups without members, and their committed offsets.

use std::collections::HashSet;

use super::request::{Framed, GroupRequest, GroupsByOwner};
use crate::api::gather::as_asked;
use crate::coordinator::Ledger;
use crate::coordinator::group::Groups;
use crate::model::ErrorCode;
use crate::wire::group::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request: DeleteGroupsRequest = call.decode(body)?;
    Ok(Box::pin(async move {
        let mut results = Vec::with_capacity(request.groups_names.len());
        let mut seen = HashSet::new();
        let asked = request.groups_names.iter().map(String::as_str).filter(|group| seen.insert(*group));
        let by_owner = GroupsByOwner::new(&call, asked);
        for (owner, owned) in &by_owner.remote {
            let part = DeleteGroupsRequest { groups_names: owned.iter().map(|id| (*id).into()).collect() };
            let response: DeleteGroupsResponse = call.ask(*owner, &part).await?;
            results.extend(response.results);
        }
        let result = |group: &str, error_code| DeletableGroupResult {
            group_id: group.into(),
            error_code,
            ..DeletableGroupResult::default()
        };
        results.extend(by_owner.unavailable.iter().map(|(group, error)| result(group, *error)));
        for (group, ledger) in &by_owner.local {
            let deleted = delete(group, ledger).await;
            results.push(result(group, deleted.err().unwrap_or(ErrorCode::None)));
        }
        as_asked(&mut results, &request.groups_names, |result| &result.group_id);
        call.respond(&DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() })
    }))
}

/// Deletes a group in several steps, because its offsets may not fit one batch.
async fn delete(group: &str, ledger: &Ledger<Groups>) -> Result<(), ErrorCode> {
    while !ledger.step(|groups, now, writes| groups.delete(group, now, writes)).await?? {}
    ledger.wait_durable().await
}
