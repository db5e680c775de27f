//! ConsumerGroupDescribe (key 69): consumer groups, their members, and what these have and are to have (KIP-848).

use super::coordinate::{Call, Framed, Split};
use super::describe_groups::GROUP_OPERATIONS;
use crate::api::gather::as_asked;
use crate::coordinator::group::consumer::GroupRefusal;
use crate::model::ErrorCode;
use crate::wire::group::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedConsumerGroup,
};
use crate::wire::{Malformed, Reader};

pub(in crate::api) fn start(call: Call, reader: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request = ConsumerGroupDescribeRequest::decode(reader, call.header.version)?;
    Ok(Box::pin(async move {
        let mut groups: Vec<DescribedConsumerGroup> = Vec::with_capacity(request.group_ids.len());
        let (asked, nameless): (Vec<&str>, Vec<&str>) =
            request.group_ids.iter().map(String::as_str).partition(|id| !id.is_empty());
        groups.extend(nameless.iter().map(|_| DescribedConsumerGroup {
            error_code: ErrorCode::InvalidGroupId,
            ..DescribedConsumerGroup::default()
        }));
        let split = Split::new(&call, asked.into_iter());
        for (owner, owned) in &split.there {
            let part = ConsumerGroupDescribeRequest {
                group_ids: owned.iter().map(|id| (*id).into()).collect(),
                ..request.clone()
            };
            let response: ConsumerGroupDescribeResponse = call.ask(*owner, &part).await?;
            groups.extend(response.groups);
        }
        groups.extend(split.nowhere.iter().map(|(group, error)| refuse(group, (*error).into())));
        for (group, ledger) in &split.here {
            let described = ledger.step(|groups, now, _| groups.describe_consumer_group(group, now)).await;
            let described = match described {
                Ok(described) => ledger.wait_durable().await.map(|()| described),
                Err(error) => Err(error),
            };
            let described = described.map_err(GroupRefusal::from).and_then(|described| described);
            let mut described = described.unwrap_or_else(|refused| refuse(group, refused));
            if request.include_authorized_operations && !described.error_code.is_error() {
                described.authorized_operations = GROUP_OPERATIONS;
            }
            groups.push(described);
        }
        as_asked(&mut groups, &request.group_ids, |group| &group.group_id);
        call.answer(&ConsumerGroupDescribeResponse { groups, ..ConsumerGroupDescribeResponse::default() })
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
