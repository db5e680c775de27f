//! ConsumerGroupDescribe (key 69): consumer groups, their members, and the current and target assignment of each
//! (KIP-848).

use super::request::{Framed, GroupRequest, GroupsByOwner};
use crate::api::gather::as_asked;
use crate::api::operation::Resource;
use crate::coordinator::group::consumer::GroupRefusal;
use crate::model::ErrorCode;
use crate::wire::group::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedConsumerGroup,
};
use crate::wire::{Malformed, Reader};

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request: ConsumerGroupDescribeRequest = call.decode(body)?;
    Ok(Box::pin(async move {
        let mut groups: Vec<DescribedConsumerGroup> = Vec::with_capacity(request.group_ids.len());
        let (asked, nameless): (Vec<&str>, Vec<&str>) =
            request.group_ids.iter().map(String::as_str).partition(|id| !id.is_empty());
        groups.extend(nameless.iter().map(|_| DescribedConsumerGroup {
            error_code: ErrorCode::InvalidGroupId,
            ..DescribedConsumerGroup::default()
        }));
        let by_owner = GroupsByOwner::new(&call, asked.into_iter());
        for (owner, owned) in &by_owner.remote {
            let part = ConsumerGroupDescribeRequest {
                group_ids: owned.iter().map(|id| (*id).into()).collect(),
                ..request.clone()
            };
            let response: ConsumerGroupDescribeResponse = call.ask(*owner, &part).await?;
            groups.extend(response.groups);
        }
        groups.extend(by_owner.unavailable.iter().map(|(group, error)| refuse(group, (*error).into())));
        for (group, ledger) in &by_owner.local {
            let described = ledger.step(|groups, now, _| groups.describe_consumer_group(group, now)).await;
            let described = match described {
                Ok(described) => ledger.wait_durable().await.map(|()| described),
                Err(error) => Err(error),
            };
            let described = described.map_err(GroupRefusal::from).and_then(|described| described);
            let mut described = described.unwrap_or_else(|refused| refuse(group, refused));
            if request.include_authorized_operations && !described.error_code.is_error() {
                described.authorized_operations = Resource::Group.all_authorized();
            }
            groups.push(described);
        }
        as_asked(&mut groups, &request.group_ids, |group| &group.group_id);
        call.respond(&ConsumerGroupDescribeResponse { groups, ..ConsumerGroupDescribeResponse::default() })
    }))
}

fn refuse(group: &str, refused: GroupRefusal) -> DescribedConsumerGroup {
    DescribedConsumerGroup {
        group_id: group.into(),
        error_code: refused.error,
        error_message: Some(refused.message),
        ..DescribedConsumerGroup::default()
    }
}
