//! Acceptance: the built program against real servers, as its users run it.

mod tour;
