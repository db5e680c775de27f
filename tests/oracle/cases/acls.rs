//! DescribeAcls, CreateAcls and DeleteAcls without an authorizer.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::create_acls::{AclCreation, CreateAclsRequest};
use tidemill::wire::admin::delete_acls::{DeleteAclsFilter, DeleteAclsRequest};
use tidemill::wire::admin::describe_acls::DescribeAclsRequest;

use super::super::case::{Case, case, say};

/// Resource type, pattern type, operation, permission.
type Kinds = [i8; 4];

fn describe(name: &'static str, kinds: Kinds) -> Case {
    case(ApiKey::DescribeAcls, name, move |_, v| {
        let [resource_type_filter, pattern_type_filter, operation, permission_type] = kinds;
        say(
            &DescribeAclsRequest {
                resource_type_filter,
                pattern_type_filter,
                operation,
                permission_type,
                ..Default::default()
            },
            v,
        )
    })
}

fn create(name: &'static str, all: &'static [Kinds]) -> Case {
    let creation = |kinds: &Kinds| AclCreation {
        resource_type: kinds[0],
        resource_name: "plain".into(),
        resource_pattern_type: kinds[1],
        principal: "User:somebody".into(),
        host: "*".into(),
        operation: kinds[2],
        permission_type: kinds[3],
    };
    case(ApiKey::CreateAcls, name, move |_, v| {
        say(&CreateAclsRequest { creations: all.iter().map(creation).collect() }, v)
    })
}

fn delete(name: &'static str, all: &'static [Kinds]) -> Case {
    let filter = |kinds: &Kinds| DeleteAclsFilter {
        resource_type_filter: kinds[0],
        pattern_type_filter: kinds[1],
        operation: kinds[2],
        permission_type: kinds[3],
        ..Default::default()
    };
    case(ApiKey::DeleteAcls, name, move |_, v| say(&DeleteAclsRequest { filters: all.iter().map(filter).collect() }, v))
}

pub fn cases() -> Vec<Case> {
    vec![
        describe("all", [1, 1, 1, 1]),
        describe("of topics", [2, 3, 3, 3]),
        describe("of kinds to come", [77, 77, 77, 77]),
        describe("of unknown resources", [0, 3, 3, 3]),
        describe("of unknown patterns", [2, 0, 3, 3]),
        describe("of unknown operations", [2, 3, 0, 3]),
        describe("of unknown permissions", [2, 3, 3, 0]),
        create("none", &[]),
        create("one", &[[2, 3, 3, 3]]),
        create("several, some of kinds that cannot be", &[[2, 3, 3, 3], [1, 1, 1, 1], [77, 77, 77, 77]]),
        create("one for an unknown resource", &[[2, 3, 3, 3], [0, 3, 3, 3]]),
        create("one for an unknown pattern", &[[2, 0, 3, 3]]),
        create("one for an unknown operation", &[[2, 3, 0, 3]]),
        create("one for an unknown permission", &[[2, 3, 3, 0]]),
        delete("none", &[]),
        delete("one", &[[2, 3, 3, 3]]),
        delete("several", &[[2, 3, 3, 3], [1, 1, 1, 1], [77, 77, 77, 77]]),
        delete("one for an unknown resource", &[[2, 3, 3, 3], [0, 3, 3, 3]]),
        delete("one for an unknown pattern", &[[2, 0, 3, 3]]),
        delete("one for an unknown operation", &[[2, 3, 0, 3]]),
        delete("one for an unknown permission", &[[2, 3, 3, 0]]),
    ]
}
