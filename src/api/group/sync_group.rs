//! SyncGroup (key 14): the leader sends the assignment, and each member receives its part.

use super::request::{Framed, GroupOwner, GroupRequest};
use crate::model::ErrorCode;
use crate::runtime::sync::oneshot;
use crate::wire::group::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request: SyncGroupRequest = call.decode(body)?;
    // From version 5 on a member sends the protocol that it expects.
    if call.header.version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Ok(call.respond_now(&refuse(ErrorCode::InconsistentGroupProtocol)));
    }
    if request.group_id.is_empty() {
        return Ok(call.respond_now(&refuse(ErrorCode::InvalidGroupId)));
    }
    let ledger = match call.owner(&request.group_id) {
        GroupOwner::Local(ledger) => ledger,
        GroupOwner::Remote(owner) => return Ok(call.forward(owner)),
        GroupOwner::Unavailable(error) => return Ok(call.respond_now(&refuse(error))),
    };
    let (sender, receiver) = oneshot();
    // If the append fails, the state machine itself answers all waiting members.
    let stepped = ledger.step(|groups, now, writes| groups.sync(request, sender, now, writes)).await;
    Ok(Box::pin(async move {
        let response = match receiver.await {
            Ok(response) => response,
            Err(_) => refuse(stepped.err().unwrap_or(ErrorCode::UnknownMemberId)),
        };
        let response = match ledger.wait_durable().await {
            Ok(()) => response,
            Err(error) => refuse(error),
        };
        call.respond(&response)
    }))
}

/// While the group is loading, the member joins again.
fn refuse(error_code: ErrorCode) -> SyncGroupResponse {
    let error_code = match error_code {
        ErrorCode::CoordinatorLoadInProgress => ErrorCode::RebalanceInProgress,
        other => other,
    };
    SyncGroupResponse { error_code, ..SyncGroupResponse::default() }
}
