//! Who may approve which plan: lists of approvers, policies, what is signed, and the gate.
//!
//! Nothing here performs IO, reads a clock, or draws randomness. What is believed comes from the
//! pinned list of approvers and from signatures; a log says only what was signed and when.

mod approvers;
mod gate;
mod message;
mod policy;
mod register;
#[cfg(test)]
mod tests;

pub use approvers::{Approvers, ApproversError, Person, check_change};
pub use gate::{Counted, Denied, Gate, author_is, check_head, check_plan};
pub use message::{
    APPROVAL, APPROVERS, SignatureError, approval_message, approvers_message, check_signature,
    encode_signature,
};
pub use policy::{Policy, Requirement};
pub use register::{BrokenGlass, GivenApproval, Register, SpentPlan, check_approval};
