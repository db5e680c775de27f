//! DescribeAcls, CreateAcls and DeleteAcls (keys 29 to 31). Without an authorizer they fail with SECURITY_DISABLED, not
//! with an empty list (statement 121). MirrorMaker 2 then copies no ACLs.

use crate::api::outcome::Outcome;
use crate::api::pending::Pending;
use crate::api::request::ClientRequest;
use crate::model::ErrorCode;
use crate::wire::Malformed;
use crate::wire::admin::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};
use crate::wire::admin::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse};
use crate::wire::admin::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};

const NO_AUTHORIZER_TO_ASK: &str = "No Authorizer is configured on the broker";
const NO_AUTHORIZER: &str = "No Authorizer is configured.";
/// The value UNKNOWN of every ACL enumeration. Kafka treats a request that has it as malformed.
const UNKNOWN: i8 = 0;

pub(in crate::api) fn describe(mut request: ClientRequest<'_>) -> Result<Pending, Malformed> {
    let message: DescribeAclsRequest = request.decode()?;
    if [message.resource_type_filter, message.pattern_type_filter, message.operation, message.permission_type]
        .contains(&UNKNOWN)
    {
        return Err(request.body.malformed("an ACL filter has a field of value UNKNOWN"));
    }
    let answer = DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled,
        error_message: Some(NO_AUTHORIZER_TO_ASK.into()),
        ..DescribeAclsResponse::default()
    };
    Ok(Pending::Now(Outcome::of(request.server, &answer, &request.header)))
}

pub(in crate::api) fn create(mut request: ClientRequest<'_>) -> Result<Pending, Malformed> {
    let message: CreateAclsRequest = request.decode()?;
    if message.creations.iter().any(|acl| {
        [acl.resource_type, acl.resource_pattern_type, acl.operation, acl.permission_type].contains(&UNKNOWN)
    }) {
        return Err(request.body.malformed("an ACL has a field of value UNKNOWN"));
    }
    let refused =
        || AclCreationResult { error_code: ErrorCode::SecurityDisabled, error_message: Some(NO_AUTHORIZER.into()) };
    let results = message.creations.iter().map(|_| refused()).collect();
    Ok(Pending::Now(Outcome::of(
        request.server,
        &CreateAclsResponse { results, ..CreateAclsResponse::default() },
        &request.header,
    )))
}

pub(in crate::api) fn delete(mut request: ClientRequest<'_>) -> Result<Pending, Malformed> {
    let message: DeleteAclsRequest = request.decode()?;
    if message.filters.iter().any(|filter| {
        [filter.resource_type_filter, filter.pattern_type_filter, filter.operation, filter.permission_type]
            .contains(&UNKNOWN)
    }) {
        return Err(request.body.malformed("an ACL filter has a field of value UNKNOWN"));
    }
    let refused = || DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled,
        error_message: Some(NO_AUTHORIZER.into()),
        matching_acls: Vec::new(),
    };
    let filter_results = message.filters.iter().map(|_| refused()).collect();
    Ok(Pending::Now(Outcome::of(
        request.server,
        &DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() },
        &request.header,
    )))
}
