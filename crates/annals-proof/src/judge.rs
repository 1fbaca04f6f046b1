//! From what was seen to a verdict.

use annals_events::ProofVerdict;

/// How two schemas compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Likeness {
    /// They are equal.
    #[default]
    Equal,
    /// Only columns stand in another order.
    ColumnOrder,
    /// They differ.
    Differs,
}

/// What a rehearsal came to, in the order in which things can go wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The files declare that there is no way back.
    pub irreversible: bool,
    /// The migration fails.
    pub up_fails: bool,
    /// The rollback fails on empty tables, or there is none.
    pub down_fails: bool,
    /// What the rollback leaves, against what was there.
    pub back: Likeness,
    /// The migration fails behind its rollback.
    pub again_fails: bool,
    /// What going up again leaves, against the first time; what differs between two first times is
    /// left out.
    pub again: Likeness,
    /// The rollback fails once there are rows.
    pub down_fails_with_rows: bool,
    /// Sample rows, or values in them, that were there before and are not after.
    pub loses: bool,
}

/// The verdict: the worst of what was seen.
pub fn judge(seen: &Seen) -> ProofVerdict {
    if seen.irreversible {
        return match seen.up_fails {
            true => ProofVerdict::MigrationFails,
            false => ProofVerdict::Irreversible,
        };
    }
    if seen.up_fails {
        return ProofVerdict::MigrationFails;
    }
    if seen.down_fails {
        return ProofVerdict::RollbackFails;
    }
    // What the rollback has left is why the migration fails on it.
    if seen.back == Likeness::Differs {
        return ProofVerdict::Differs;
    }
    if seen.again_fails {
        return ProofVerdict::MigrationFails;
    }
    if seen.again == Likeness::Differs {
        return ProofVerdict::Differs;
    }
    if seen.down_fails_with_rows {
        return ProofVerdict::RollbackFails;
    }
    if seen.loses {
        return ProofVerdict::LosesData;
    }
    match seen.back.max(seen.again) {
        Likeness::ColumnOrder => ProofVerdict::ColumnOrder,
        _ => ProofVerdict::Exact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_events::ProofVerdict as V;

    #[test]
    fn a_verdict_is_the_worst_of_what_was_seen() {
        let (differs, order) = (Likeness::Differs, Likeness::ColumnOrder);
        let cases = [
            (Seen::default(), V::Exact),
            (Seen { back: order, ..Seen::default() }, V::ColumnOrder),
            (Seen { again: order, ..Seen::default() }, V::ColumnOrder),
            (Seen { back: order, loses: true, ..Seen::default() }, V::LosesData),
            (Seen { loses: true, down_fails_with_rows: true, ..Seen::default() }, V::RollbackFails),
            (Seen { again: differs, loses: true, ..Seen::default() }, V::Differs),
            (Seen { again_fails: true, ..Seen::default() }, V::MigrationFails),
            (Seen { again_fails: true, back: differs, ..Seen::default() }, V::Differs),
            (Seen { down_fails: true, back: differs, ..Seen::default() }, V::RollbackFails),
            (Seen { up_fails: true, down_fails: true, ..Seen::default() }, V::MigrationFails),
            (Seen { irreversible: true, down_fails: true, ..Seen::default() }, V::Irreversible),
            (Seen { irreversible: true, up_fails: true, ..Seen::default() }, V::MigrationFails),
        ];
        for (seen, expected) in cases {
            assert_eq!(judge(&seen), expected, "{seen:?}");
        }
    }
}
