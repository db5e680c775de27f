//! The states of a segment and their legal transitions (SEG-3).

/// The state of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SegmentState {
    /// Takes appends.
    Active,
    /// Takes no more appends; its file is not cut yet, or its indexes are not stored whole.
    Sealed,
    /// Flushed, cut to its exact length, indexes stored whole.
    Finished,
    /// Removed, or its log is deleted: it is no longer written or kept in memory.
    Removed { was_sealed: bool },
}

impl SegmentState {
    /// Whether the segment takes no more appends.
    pub fn is_sealed(self) -> bool {
        match self {
            SegmentState::Active => false,
            SegmentState::Sealed | SegmentState::Finished => true,
            SegmentState::Removed { was_sealed } => was_sealed,
        }
    }

    /// Moves to the next state.
    ///
    /// # Panics
    /// If SEG-3 does not allow the transition.
    pub fn advance(&mut self, next: SegmentState) {
        use SegmentState::{Active, Finished, Removed, Sealed};
        let is_legal = match (*self, next) {
            (Active, Sealed) | (Sealed, Finished) => true,
            (Active | Sealed | Finished, Removed { was_sealed }) => was_sealed == self.is_sealed(),
            // A producer that waits for memory can roll a log that is deleted meanwhile.
            (Removed { was_sealed: false }, Removed { was_sealed: true }) => true,
            _ => false,
        };
        assert!(is_legal, "SEG-3: a segment does not go from {self:?} to {next:?}");
        *self = next;
    }
}

#[cfg(test)]
mod tests {
    use super::SegmentState::{self, Active, Finished, Removed, Sealed};

    #[test]
    fn seg_3_states_only_advance() {
        let all = [Active, Sealed, Finished, Removed { was_sealed: false }, Removed { was_sealed: true }];
        let legal: Vec<(SegmentState, SegmentState)> = vec![
            (Active, Sealed),
            (Active, Removed { was_sealed: false }),
            (Sealed, Finished),
            (Sealed, Removed { was_sealed: true }),
            (Finished, Removed { was_sealed: true }),
            (Removed { was_sealed: false }, Removed { was_sealed: true }),
        ];
        for from in all {
            for to in all {
                let mut state = from;
                let moved = std::panic::catch_unwind(move || {
                    state.advance(to);
                    state
                });
                let expected = legal.contains(&(from, to)).then_some(to);
                assert_eq!(moved.ok(), expected, "{from:?} -> {to:?}");
            }
        }
    }
}
