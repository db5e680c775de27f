//! ApiVersions (key 18): what this broker speaks.

use std::rc::Rc;

use super::{Broker, Header, Outcome, Pending};
use crate::model::ErrorCode;
use crate::wire::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{Malformed, Reader};

pub(super) fn start(broker: &Rc<Broker>, reader: &mut Reader<'_>, header: Header) -> Result<Pending, Malformed> {
    let request = ApiVersionsRequest::decode(reader, header.version)?;
    let mut response = match request.is_valid(header.version) {
        // No feature is finalized yet: groups and transactions are not served.
        true => {
            ApiVersionsResponse::advertise(header.version, Vec::new(), broker.shard.image().index as i64, Vec::new())
        }
        false => ApiVersionsResponse { error_code: ErrorCode::InvalidRequest, ..ApiVersionsResponse::default() },
    };
    if response.finalized_features.is_empty() {
        response.finalized_features_epoch = -1;
    }
    Ok(Pending::Now(Outcome::of(&response, &header)))
}
