//! The contract of [`EventStore`](annals_event_store::EventStore) as tests: one suite, run against
//! every home of a log.
//!
//! A home says how its logs are created, opened, read by somebody else and altered behind its back
//! ([`Home`]); [`conformance!`] makes one test of each case. Nothing here knows a file system or a
//! database.

#![allow(clippy::missing_panics_doc, reason = "a case that does not hold panics")]

mod cases;
mod damage;
mod drafts;
mod faults;
mod home;
mod writers;

pub use cases::{
    a_checkpoint_never_goes_back, a_draft_that_cannot_be_stored_changes_nothing,
    a_log_is_created_once, a_log_that_is_not_there_is_missing, a_log_that_was_moved_here_goes_on,
    a_log_that_was_moved_takes_nothing_more, a_newer_kind_is_read_but_not_written_behind,
    a_string_may_hold_any_character, acknowledged_events_survive_reopening_byte_for_byte,
    an_append_on_another_head_stores_nothing, blobs_are_kept_and_an_altered_one_is_noticed,
    events_may_be_written_first_and_made_durable_later,
    events_of_one_append_stand_together_in_their_order, lines_are_read_in_order_from_any_place_on,
    many_events_are_read_back_over_every_page,
    the_clock_may_stand_or_step_back_a_little_and_no_further,
};
pub use damage::{
    a_head_that_somebody_has_seen_must_be_in_the_log, any_checkpoint_but_a_signed_one_is_refused,
    every_alteration_of_the_lines_is_refused_by_its_class,
};
pub use drafts::{created, draft, fact, now, padded};
pub use faults::{Fault, Faulty, FaultyHome, Kept, Point, every_fault_leaves_a_log_that_goes_on};
pub use home::{Clock, Home, Log, Stored, Writers, at_once};
pub use writers::two_writers_never_take_the_same_place;

/// Makes a test of each case. `$with` runs an async closure on a fresh home, as
/// `fn with(case: impl AsyncFnOnce(&MyHome))` does.
#[macro_export]
macro_rules! conformance {
    ($with:path) => {
        $crate::conformance! { @each $with,
            a_checkpoint_never_goes_back
            a_draft_that_cannot_be_stored_changes_nothing
            a_head_that_somebody_has_seen_must_be_in_the_log
            a_log_is_created_once
            a_log_that_is_not_there_is_missing
            a_log_that_was_moved_here_goes_on
            a_log_that_was_moved_takes_nothing_more
            a_newer_kind_is_read_but_not_written_behind
            a_string_may_hold_any_character
            acknowledged_events_survive_reopening_byte_for_byte
            an_append_on_another_head_stores_nothing
            any_checkpoint_but_a_signed_one_is_refused
            blobs_are_kept_and_an_altered_one_is_noticed
            events_may_be_written_first_and_made_durable_later
            events_of_one_append_stand_together_in_their_order
            every_alteration_of_the_lines_is_refused_by_its_class
            every_fault_leaves_a_log_that_goes_on
            lines_are_read_in_order_from_any_place_on
            many_events_are_read_back_over_every_page
            the_clock_may_stand_or_step_back_a_little_and_no_further
            two_writers_never_take_the_same_place
        }
    };
    (@each $with:path, $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $with(async |home| $crate::$case(home).await);
            }
        )*
    };
}
