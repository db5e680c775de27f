//! Groups: who coordinates them.

use tidemill::wire::ApiKey;
use tidemill::wire::find_coordinator::{FindCoordinatorRequest, GROUP, TRANSACTION};

use super::super::case::{Case, case, say};

fn find(name: &'static str, key_type: i8, keys: &'static [&'static str]) -> Case {
    case(ApiKey::FindCoordinator, name, move |_, v| {
        let mut request =
            FindCoordinatorRequest { key_type: if v == 0 { GROUP } else { key_type }, ..Default::default() };
        if v < 4 {
            request.key = keys[0].into();
        } else {
            request.coordinator_keys = keys.iter().map(|key| (*key).into()).collect();
        }
        say(&request, v)
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        find("a group", GROUP, &["g"]),
        find("several groups", GROUP, &["g", "h", "g"]),
        find("an empty key", GROUP, &[""]),
        find("no keys", GROUP, &[]).since(4),
        find("a transactional id", TRANSACTION, &["t"]).since(1),
        find("an unknown type", 7, &["g"]).since(1),
        find("a share group below its version", 2, &["g"]).since(1).until(5),
    ]
}
