//! ListGroups (key 16): the groups that this broker coordinates.

use super::request::{Framed, GroupRequest};
use crate::model::ErrorCode;
use crate::wire::group::list_groups::{ListGroupsRequest, ListGroupsResponse};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request: ListGroupsRequest = call.decode(body)?;
    Ok(Box::pin(async move {
        let mut response = ListGroupsResponse::default();
        for ledger in call.server.groups.all() {
            let listed = ledger.step(|groups, _, _| groups.list(&request)).await;
            let listed = match listed {
                Ok(listed) => ledger.wait_durable().await.map(|()| listed),
                Err(error) => Err(error),
            };
            match listed {
                Ok(listed) => response.groups.extend(listed),
                // A partition that moves away has no groups. A partition that is loading has groups that are not known
                // yet, which is an error.
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => response.error_code = error,
            }
        }
        if call.is_for_node {
            for shard in call.server.other_shards() {
                let more: ListGroupsResponse = call.ask(shard, &request).await?;
                if more.error_code.is_error() {
                    response.error_code = more.error_code;
                }
                response.groups.extend(more.groups);
            }
        }
        if response.error_code.is_error() {
            response.groups.clear();
        }
        response.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        call.respond(&response)
    }))
}
