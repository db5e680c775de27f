//! LeaveGroup (key 13): members go.

use super::coordinate::{Call, Framed, Place, settled};
use crate::model::ErrorCode;
use crate::wire::group::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: Call, reader: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let version = call.header.version;
    let mut request = LeaveGroupRequest::decode(reader, version)?;
    if version < 3 {
        let member_id = std::mem::take(&mut request.member_id);
        request.members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
    }
    if request.group_id.is_empty() {
        return Ok(call.now(&refuse(ErrorCode::InvalidGroupId)));
    }
    let ledger = match call.place(&request.group_id) {
        Place::Here(ledger) => ledger,
        Place::There(owner) => return Ok(call.forward(owner)),
        Place::Nowhere(error) => return Ok(call.now(&refuse(error))),
    };
    let stepped = ledger.step(|groups, now, writes| groups.leave(&request, now, writes)).await;
    Ok(Box::pin(async move {
        let mut response = settled(&ledger, stepped).await.unwrap_or_else(refuse);
        if version < 3 {
            // One member, and one error for it.
            for member in std::mem::take(&mut response.members) {
                response.error_code = member.error_code;
            }
        }
        call.answer(&response)
    }))
}

fn refuse(error_code: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
}
