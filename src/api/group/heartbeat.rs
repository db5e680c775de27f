//! Heartbeat (key 12): keeps a member alive, and reports when its generation has ended.

use super::request::{Framed, GroupOwner, GroupRequest, durable};
use crate::model::ErrorCode;
use crate::wire::group::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request: HeartbeatRequest = call.decode(body)?;
    if request.group_id.is_empty() {
        return Ok(call.respond_now(&answer(Err(ErrorCode::InvalidGroupId))));
    }
    let ledger = match call.owner(&request.group_id) {
        GroupOwner::Local(ledger) => ledger,
        GroupOwner::Remote(owner) => return Ok(call.forward(owner)),
        GroupOwner::Unavailable(error) => return Ok(call.respond_now(&answer(Err(error)))),
    };
    let stepped = ledger.step(|groups, now, writes| groups.heartbeat(&request, now, writes)).await;
    Ok(Box::pin(async move { call.respond(&answer(durable(&ledger, stepped).await.and_then(|alive| alive))) }))
}

fn answer(alive: Result<(), ErrorCode>) -> HeartbeatResponse {
    let error_code = match alive {
        // While the group is loading, every member counts as alive.
        Ok(()) | Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        Err(error) => error,
    };
    HeartbeatResponse { error_code, ..HeartbeatResponse::default() }
}
