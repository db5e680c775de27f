//! LeaveGroup (key 13): members leave their group.

use super::request::{Framed, GroupOwner, GroupRequest, durable};
use crate::model::ErrorCode;
use crate::wire::group::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let version = call.header.version;
    let mut request: LeaveGroupRequest = call.decode(body)?;
    if version < 3 {
        let member_id = std::mem::take(&mut request.member_id);
        request.members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
    }
    if request.group_id.is_empty() {
        return Ok(call.respond_now(&refuse(ErrorCode::InvalidGroupId)));
    }
    let ledger = match call.owner(&request.group_id) {
        GroupOwner::Local(ledger) => ledger,
        GroupOwner::Remote(owner) => return Ok(call.forward(owner)),
        GroupOwner::Unavailable(error) => return Ok(call.respond_now(&refuse(error))),
    };
    let stepped = ledger.step(|groups, now, writes| groups.leave(&request, now, writes)).await;
    Ok(Box::pin(async move {
        let mut response = durable(&ledger, stepped).await.unwrap_or_else(refuse);
        if version < 3 {
            // Before version 3 the request has one member, and the response one error.
            for member in std::mem::take(&mut response.members) {
                response.error_code = member.error_code;
            }
        }
        call.respond(&response)
    }))
}

fn refuse(error_code: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
}
