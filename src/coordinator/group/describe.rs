//! ListGroups and DescribeGroups.

use super::classic::{CONSUMER, ClassicGroupState};
use super::{GroupKind, Groups};
use crate::model::ErrorCode;
use crate::wire::Bytes;
use crate::wire::group::describe_groups::{DescribedGroup, DescribedGroupMember};
use crate::wire::group::list_groups::{ListGroupsRequest, ListedGroup};

impl Groups {
    /// Lists the groups that match. An empty filter matches all.
    pub fn list(&self, request: &ListGroupsRequest) -> Vec<ListedGroup> {
        let passes = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|requested| requested.eq_ignore_ascii_case(name))
        };
        let all = self.groups.values().map(|group| {
            let (group_type, state, protocol_type) = match &group.kind {
                GroupKind::Classic(classic) => {
                    ("classic", classic.state.name(), classic.protocol_type.clone().unwrap_or_default())
                }
                GroupKind::Consumer(consumer) => ("consumer", consumer.state().name(), CONSUMER.to_owned()),
            };
            ListedGroup {
                group_id: (*group.id).into(),
                protocol_type,
                group_state: state.into(),
                group_type: group_type.into(),
            }
        });
        all.filter(|group| {
            passes(&request.states_filter, &group.group_state) && passes(&request.types_filter, &group.group_type)
        })
        .collect()
    }

    /// Describes a classic group.
    pub fn describe(&self, group_id: &str) -> DescribedGroup {
        let refuse = |message: String| DescribedGroup {
            error_code: ErrorCode::GroupIdNotFound,
            error_message: Some(message),
            group_id: group_id.into(),
            group_state: "Dead".into(),
            ..DescribedGroup::default()
        };
        let classic = match self.groups.get(group_id).map(|group| &group.kind) {
            None => return refuse(format!("Group {group_id} not found.")),
            Some(GroupKind::Consumer(_)) => return refuse(format!("Group {group_id} is not a classic group.")),
            Some(GroupKind::Classic(classic)) => classic,
        };
        let is_stable = classic.state == ClassicGroupState::Stable;
        let members = classic.members.values().map(|member| DescribedGroupMember {
            member_id: (*member.id).into(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: if is_stable { member.metadata(classic.protocol.as_deref()) } else { Bytes::default() },
            member_assignment: if is_stable { member.assignment.clone() } else { Bytes::default() },
        });
        DescribedGroup {
            group_id: group_id.into(),
            group_state: classic.state.name().into(),
            protocol_type: classic.protocol_type.clone().unwrap_or_default(),
            protocol_data: classic.protocol.clone().filter(|_| is_stable).unwrap_or_default(),
            members: members.collect(),
            ..DescribedGroup::default()
        }
    }
}
