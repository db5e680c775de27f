//! JoinGroup (key 11): a member joins its group or the next generation. The response follows when all members have
//! joined.

use super::request::{Framed, GroupOwner, GroupRequest, host_of};
use crate::coordinator::group::Joiner;
use crate::model::ErrorCode;
use crate::runtime::sync::oneshot;
use crate::wire::group::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::{Malformed, Reader};

/// The longest `group.instance.id` that Kafka's clients allow. It is part of the member id, whose length is an int16.
const INSTANCE_ID_CHARACTERS_MAX: usize = 249;

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let version = call.header.version;
    let mut request: JoinGroupRequest = call.decode(body)?;
    if version == 0 {
        request.rebalance_timeout_ms = request.session_timeout_ms;
    }
    let member_id = request.member_id.clone();
    if request.group_id.is_empty() {
        return Ok(call.respond_now(&refuse(ErrorCode::InvalidGroupId, member_id, version)));
    }
    if request.group_instance_id.as_ref().is_some_and(|id| id.chars().count() > INSTANCE_ID_CHARACTERS_MAX) {
        return Ok(call.respond_now(&refuse(ErrorCode::InvalidRequest, member_id, version)));
    }
    let config = call.server.shard.config();
    let session = config.group_min_session_timeout_ms..=config.group_max_session_timeout_ms;
    if !session.contains(&request.session_timeout_ms) {
        return Ok(call.respond_now(&refuse(ErrorCode::InvalidSessionTimeout, member_id, version)));
    }
    let ledger = match call.owner(&request.group_id) {
        GroupOwner::Local(ledger) => ledger,
        GroupOwner::Remote(owner) => return Ok(call.forward(owner)),
        GroupOwner::Unavailable(error) => return Ok(call.respond_now(&refuse(error, member_id, version))),
    };
    let joiner = Joiner {
        client_id: (*call.client_id).into(),
        client_host: host_of(call.peer),
        needs_member_id: version >= 4,
        can_skip_assignment: version >= 9,
    };
    let (sender, receiver) = oneshot();
    let stepped = ledger.step(|groups, now, writes| groups.join(request, joiner, sender, now, writes)).await;
    Ok(Box::pin(async move {
        let answered = match stepped {
            // A dropped sender means that this shard no longer coordinates the group.
            Ok(()) => receiver.await.map_err(|_| ErrorCode::NotCoordinator),
            Err(error) => Err(error),
        };
        let response = match (answered, ledger.wait_durable().await) {
            (Ok(response), Ok(())) => for_version(response, version),
            (Err(error), _) | (_, Err(error)) => refuse(error, member_id, version),
        };
        call.respond(&response)
    }))
}

fn refuse(error_code: ErrorCode, member_id: String, version: i16) -> JoinGroupResponse {
    for_version(JoinGroupResponse { error_code, member_id, ..JoinGroupResponse::default() }, version)
}

/// Before version 7 the protocol name cannot be null.
fn for_version(mut response: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    if version < 7 {
        response.protocol_name.get_or_insert_default();
    }
    response
}
