//! Heartbeat (key 12): a member is alive, and hears whether its generation still is.

use super::coordinate::{Call, Framed, Place, settled};
use crate::model::ErrorCode;
use crate::wire::group::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: Call, reader: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request = HeartbeatRequest::decode(reader, call.header.version)?;
    if request.group_id.is_empty() {
        return Ok(call.now(&answer(Err(ErrorCode::InvalidGroupId))));
    }
    let ledger = match call.place(&request.group_id) {
        Place::Here(ledger) => ledger,
        Place::There(owner) => return Ok(call.forward(owner)),
        Place::Nowhere(error) => return Ok(call.now(&answer(Err(error)))),
    };
    let stepped = ledger.step(|groups, now, writes| groups.heartbeat(&request, now, writes)).await;
    Ok(Box::pin(async move { call.answer(&answer(settled(&ledger, stepped).await.and_then(|told| told))) }))
}

fn answer(told: Result<(), ErrorCode>) -> HeartbeatResponse {
    let error_code = match told {
        // While the group is being loaded every member counts as one.
        Ok(()) | Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        Err(error) => error,
    };
    HeartbeatResponse { error_code, ..HeartbeatResponse::default() }
}
