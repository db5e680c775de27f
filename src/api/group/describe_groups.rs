//! DescribeGroups (key 15): groups, their members, and the assignments of the members.

use super::request::{Framed, GroupRequest, GroupsByOwner};
use crate::api::gather::as_asked;
use crate::api::operation::Resource;
use crate::model::ErrorCode;
use crate::wire::group::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request: DescribeGroupsRequest = call.decode(body)?;
    Ok(Box::pin(async move {
        let mut groups = Vec::with_capacity(request.groups.len());
        let by_owner = GroupsByOwner::new(&call, request.groups.iter().map(String::as_str));
        for (owner, owned) in &by_owner.remote {
            let part =
                DescribeGroupsRequest { groups: owned.iter().map(|id| (*id).into()).collect(), ..request.clone() };
            let response: DescribeGroupsResponse = call.ask(*owner, &part).await?;
            groups.extend(response.groups);
        }
        groups.extend(by_owner.unavailable.iter().map(|(group, error)| refuse(group, *error)));
        for (group, ledger) in &by_owner.local {
            let described = ledger.step(|groups, _, _| groups.describe(group)).await;
            let described = match described {
                Ok(described) => ledger.wait_durable().await.map(|()| described),
                Err(error) => Err(error),
            };
            let mut described = described.unwrap_or_else(|error| refuse(group, error));
            if call.header.version < 6 && described.error_code == ErrorCode::GroupIdNotFound {
                // Before KIP-1043 an unknown group had the state Dead and no error.
                (described.error_code, described.error_message) = (ErrorCode::None, None);
            }
            if request.include_authorized_operations && !described.error_code.is_error() {
                described.authorized_operations = Resource::Group.all_authorized();
            }
            groups.push(described);
        }
        as_asked(&mut groups, &request.groups, |group| &group.group_id);
        call.respond(&DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() })
    }))
}

fn refuse(group: &str, error_code: ErrorCode) -> DescribedGroup {
    DescribedGroup { group_id: group.into(), error_code, ..DescribedGroup::default() }
}
