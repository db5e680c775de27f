//! Closing groups: they prove that the groups before them were complete.
//!
//! Recovery cannot distinguish a damaged last group from a torn one. A torn group was never acknowledged and is cut
//! off. A later group that is whole ends this doubt, because it names the groups that were flushed before it. Under
//! load each group does this for the previous one. When the journal is idle, a closing group without entries does it
//! for the last one. Only a closing group itself may be cut off after that, and it holds no records.
//!
//! Records in a group that was acknowledged less than [`IDLE`] before the process ended stay unproven.

use std::rc::Rc;
use std::time::Duration;

use super::group::GroupBuilder;
use super::{Journal, Sequence};
use crate::runtime;

/// How long a journal is idle before it writes a closing group. A busy journal pays one timer in this time. Not a round
/// number, so that a producer with a regular pause does not meet each closing group.
pub const IDLE: Duration = Duration::from_millis(230);

impl Journal {
    /// Writes a closing group whenever the journal is idle and its last flushed group is unproven. Ends on failure.
    pub(super) async fn close_when_idle(self: Rc<Self>) {
        while self.failure().is_none() {
            if !self.is_unproven.get() {
                self.unproven.notified().await;
                continue;
            }
            let next = self.state.borrow().next.sequence;
            runtime::sleep(self.settings.idle).await;
            if self.is_idle_since(next) {
                self.write_closing_group();
            }
        }
    }

    /// Whether no group was written since `next` was the next one, and none is about to be.
    fn is_idle_since(&self, next: Sequence) -> bool {
        let state = self.state.borrow();
        let is_empty = state.open.as_ref().is_none_or(GroupBuilder::is_empty);
        is_empty && state.in_flight.is_empty() && state.next.sequence == next
    }

    /// Starts the write of a closing group, unless memory or space is short: then the next interval tries again.
    fn write_closing_group(self: &Rc<Self>) {
        let (next, needed_from) = {
            let state = self.state.borrow();
            (state.next.sequence, state.needed_from)
        };
        // A replay reads no group before this one.
        if needed_from == next {
            self.is_unproven.set(false);
            return;
        }
        let Ok(group) = GroupBuilder::closing() else { return };
        if self.failure().is_some() || self.closing.get() || !self.find_space(group.total_bytes()) {
            return;
        }
        self.clone().write_group(group);
        assert!(!self.is_unproven.get(), "JRN-4: a closing group proves the groups before it");
    }
}
