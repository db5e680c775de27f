//! DescribeGroups (key 15): groups, their members, and what these were assigned.

use super::coordinate::{Call, Framed, Split};
use crate::api::gather::as_asked;
use crate::model::ErrorCode;
use crate::wire::group::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use crate::wire::{Malformed, Reader};

/// What may be done to a group where nobody forbids anything, by numbers of `AclOperation`: READ 3, DELETE 6, DESCRIBE 8,
/// DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11.
pub(in crate::api) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(in crate::api) fn start(call: Call, reader: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request = DescribeGroupsRequest::decode(reader, call.header.version)?;
    Ok(Box::pin(async move {
        let mut groups = Vec::with_capacity(request.groups.len());
        let split = Split::new(&call, request.groups.iter().map(String::as_str));
        for (owner, owned) in &split.there {
            let part =
                DescribeGroupsRequest { groups: owned.iter().map(|id| (*id).into()).collect(), ..request.clone() };
            let response: DescribeGroupsResponse = call.ask(*owner, &part).await?;
            groups.extend(response.groups);
        }
        groups.extend(split.nowhere.iter().map(|(group, error)| refuse(group, *error)));
        for (group, ledger) in &split.here {
            let described = ledger.step(|groups, _, _| groups.describe(group)).await;
            let described = match described {
                Ok(described) => ledger.wait_durable().await.map(|()| described),
                Err(error) => Err(error),
            };
            let mut described = described.unwrap_or_else(|error| refuse(group, error));
            if call.header.version < 6 && described.error_code == ErrorCode::GroupIdNotFound {
                // Before KIP-1043 a group that is not there was one that is dead.
                (described.error_code, described.error_message) = (ErrorCode::None, None);
            }
            if request.include_authorized_operations && !described.error_code.is_error() {
                described.authorized_operations = GROUP_OPERATIONS;
            }
            groups.push(described);
        }
        as_asked(&mut groups, &request.groups, |group| &group.group_id);
        call.answer(&DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() })
    }))
}

fn refuse(group: &str, error_code: ErrorCode) -> DescribedGroup {
    DescribedGroup { group_id: group.into(), error_code, ..DescribedGroup::default() }
}
