//! Safety rules over the statements of a plan.
