//! DescribeAcls, CreateAcls and DeleteAcls (keys 29 to 31): there is no authorizer, so there are no access control lists, and
//! whoever asks is told so and not that there are none (statement 121). MirrorMaker takes it for "nothing to copy".

use crate::api::{Header, Outcome, Pending};
use crate::model::ErrorCode;
use crate::wire::admin::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};
use crate::wire::admin::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse};
use crate::wire::admin::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use crate::wire::{Malformed, Reader};

const NO_AUTHORIZER_TO_ASK: &str = "No Authorizer is configured on the broker";
const NO_AUTHORIZER: &str = "No Authorizer is configured.";
/// Of every enumeration of ACLs. What is asked for has to be known: Kafka takes such a request for malformed.
const UNKNOWN: i8 = 0;

pub(in crate::api) fn describe(reader: &mut Reader<'_>, header: Header) -> Result<Pending, Malformed> {
    let request = DescribeAclsRequest::decode(reader, header.version)?;
    if [request.resource_type_filter, request.pattern_type_filter, request.operation, request.permission_type]
        .contains(&UNKNOWN)
    {
        return Err(reader.malformed("a filter of ACLs by what is unknown"));
    }
    let answer = DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled,
        error_message: Some(NO_AUTHORIZER_TO_ASK.into()),
        ..DescribeAclsResponse::default()
    };
    Ok(Pending::Now(Outcome::of(&answer, &header)))
}

pub(in crate::api) fn create(reader: &mut Reader<'_>, header: Header) -> Result<Pending, Malformed> {
    let request = CreateAclsRequest::decode(reader, header.version)?;
    if request.creations.iter().any(|acl| {
        [acl.resource_type, acl.resource_pattern_type, acl.operation, acl.permission_type].contains(&UNKNOWN)
    }) {
        return Err(reader.malformed("an ACL for what is unknown"));
    }
    let refused =
        || AclCreationResult { error_code: ErrorCode::SecurityDisabled, error_message: Some(NO_AUTHORIZER.into()) };
    let results = request.creations.iter().map(|_| refused()).collect();
    Ok(Pending::Now(Outcome::of(&CreateAclsResponse { results, ..CreateAclsResponse::default() }, &header)))
}

pub(in crate::api) fn delete(reader: &mut Reader<'_>, header: Header) -> Result<Pending, Malformed> {
    let request = DeleteAclsRequest::decode(reader, header.version)?;
    if request.filters.iter().any(|filter| {
        [filter.resource_type_filter, filter.pattern_type_filter, filter.operation, filter.permission_type]
            .contains(&UNKNOWN)
    }) {
        return Err(reader.malformed("a filter of ACLs by what is unknown"));
    }
    let refused = || DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled,
        error_message: Some(NO_AUTHORIZER.into()),
        matching_acls: Vec::new(),
    };
    let filter_results = request.filters.iter().map(|_| refused()).collect();
    Ok(Pending::Now(Outcome::of(&DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() }, &header)))
}
