//! Read models folded from events, as of any moment.
