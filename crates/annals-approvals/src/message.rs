//! The bytes that are signed.
//!
//! Each message is lines of text, every line ended by LF; docs/reference/approvals.md shows how to
//! check one with `ssh-keygen` and with `openssl`.

use annals_events::{ApprovalId, Digest, Timestamp};
use annals_keys::{Signature, VerifierKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The namespace of approvals of plans.
pub const APPROVAL: &str = "annals-approval";

/// The namespace of signatures that admit a list of approvers.
pub const APPROVERS: &str = "annals-approvers";

/// Why a signature is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The key is none.
    #[error("its key is none")]
    Key,
    /// The signature is no base64 of 64 bytes.
    #[error("it is no Ed25519 signature")]
    Form,
    /// It does not fit.
    #[error("its signature does not fit")]
    Mismatch,
}

/// What an approver signs to approve a plan.
pub fn approval_message(
    origin: &str,
    plan: &Digest,
    approval: ApprovalId,
    approver: &str,
    expires_at: Option<Timestamp>,
) -> String {
    let expires = expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    format!(
        "annals approval 1\nlog {origin}\nplan {plan}\napproval {approval}\napprover {approver}\n\
         expires {expires}\n"
    )
}

/// What an approver signs to admit the list `after` in the place of the list `before`.
pub fn approvers_message(
    workspace: &str,
    before: &Digest,
    after: &Digest,
    approver: &str,
) -> String {
    format!(
        "annals approvers 1\nworkspace {workspace}\nbefore {before}\nafter {after}\napprover \
         {approver}\n"
    )
}

/// A signature as events and files hold it.
pub fn encode_signature(signature: &Signature) -> String {
    BASE64.encode(signature)
}

/// Checks a signature as events hold it, by a key as events hold it, and returns the key.
///
/// # Errors
///
/// When any of it does not fit.
pub fn check_signature(
    key: &str,
    namespace: &str,
    message: &str,
    signature: &str,
) -> Result<VerifierKey, SignatureError> {
    let key: VerifierKey = key.parse().map_err(|_| SignatureError::Key)?;
    let bytes = BASE64.decode(signature).map_err(|_| SignatureError::Form)?;
    if bytes.len() != annals_keys::SIGNATURE_BYTES {
        return Err(SignatureError::Form);
    }
    if key.has_signed(namespace, message.as_bytes(), &bytes) {
        Ok(key)
    } else {
        Err(SignatureError::Mismatch)
    }
}
