//! SSH signatures (OpenSSH's PROTOCOL.sshsig) with Ed25519 keys, and the public keys of SSH.
//!
//! What is signed is never the message itself: it is the word `SSHSIG`, a namespace, and the
//! SHA-512 of the message. A signature made in one namespace says nothing in another, and no
//! signature of a login or of a signed note has that beginning.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA512, digest};

use crate::note::{ParseKeyError, SecretKey, VerifierKey};

/// The length of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// An Ed25519 signature.
pub type Signature = [u8; SIGNATURE_BYTES];

/// The name of the only kind of key there is here.
pub(crate) const ED25519_NAME: &str = "ssh-ed25519";

const MAGIC: &[u8] = b"SSHSIG";

/// Appends a string of the SSH protocol: its length in four bytes, then its bytes.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("invariant: what is put is short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Takes a string of the SSH protocol from the beginning of `rest`.
pub(crate) fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(string)
}

/// The bytes an SSH signature in `namespace` over `message` is made over.
pub fn signed_bytes(namespace: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    put_string(&mut bytes, namespace.as_bytes());
    put_string(&mut bytes, b"");
    put_string(&mut bytes, b"sha512");
    put_string(&mut bytes, digest(&SHA512, message).as_ref());
    bytes
}

fn public_blob(public: &[u8; 32]) -> Vec<u8> {
    let mut blob = Vec::new();
    put_string(&mut blob, ED25519_NAME.as_bytes());
    put_string(&mut blob, public);
    blob
}

/// The 32 bytes of an Ed25519 key in the form SSH sends it in; none for other keys.
pub(crate) fn public_of_blob(mut blob: &[u8]) -> Option<[u8; 32]> {
    let name = take_string(&mut blob)?;
    let public = take_string(&mut blob)?;
    let is_whole = name == ED25519_NAME.as_bytes() && blob.is_empty();
    if is_whole { public.try_into().ok() } else { None }
}

/// A signature as `ssh-keygen -Y verify` reads it.
pub fn armored(key: &VerifierKey, namespace: &str, signature: &Signature) -> String {
    let mut own = Vec::new();
    put_string(&mut own, ED25519_NAME.as_bytes());
    put_string(&mut own, signature);
    let mut blob = MAGIC.to_vec();
    blob.extend_from_slice(&1u32.to_be_bytes());
    put_string(&mut blob, &public_blob(key.public()));
    put_string(&mut blob, namespace.as_bytes());
    put_string(&mut blob, b"");
    put_string(&mut blob, b"sha512");
    put_string(&mut blob, &own);
    let encoded = BASE64.encode(blob);
    let mut text = "-----BEGIN SSH SIGNATURE-----\n".to_owned();
    for line in encoded.as_bytes().chunks(70) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text + "-----END SSH SIGNATURE-----\n"
}

impl VerifierKey {
    /// Reads a line of a `.pub` file of SSH, `ssh-ed25519 <base64> [comment]`, as the key of `name`.
    ///
    /// # Errors
    ///
    /// When it is another kind of key, or none.
    pub fn from_ssh(name: &str, line: &str) -> Result<Self, ParseKeyError> {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some(ED25519_NAME) {
            return Err(ParseKeyError("of SSH keys only ssh-ed25519 can sign approvals"));
        }
        let blob = words.next().and_then(|text| BASE64.decode(text).ok());
        let public = blob.as_deref().and_then(public_of_blob);
        Self::new(name, public.ok_or(ParseKeyError("not the base64 of an Ed25519 key of SSH"))?)
    }

    /// The key as SSH writes it, without a comment.
    pub fn to_ssh(&self) -> String {
        format!("{ED25519_NAME} {}", BASE64.encode(public_blob(self.public())))
    }

    /// The key in the form the agent is asked with.
    pub(crate) fn ssh_blob(&self) -> Vec<u8> {
        public_blob(self.public())
    }

    /// Whether `signature` was made by this key, in `namespace`, over `message`.
    pub fn has_signed(&self, namespace: &str, message: &[u8], signature: &[u8]) -> bool {
        self.verify(&signed_bytes(namespace, message), signature)
    }
}

impl SecretKey {
    /// Signs `message` in `namespace`, as `ssh-keygen -Y sign` does.
    pub fn sign_message(&self, namespace: &str, message: &[u8]) -> Signature {
        self.sign(&signed_bytes(namespace, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn run(command: &mut Command, input: &[u8]) -> bool {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssh-client and openssl are installed");
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait().unwrap().success()
    }

    #[test]
    fn a_signature_counts_in_its_namespace_for_its_message_and_key_only() {
        let key = SecretKey::generate("ada").unwrap();
        let public = key.verifier();
        let signature = key.sign_message("annals-approval", b"hello\n");
        assert!(public.has_signed("annals-approval", b"hello\n", &signature));
        assert!(!public.has_signed("annals-approvers", b"hello\n", &signature));
        assert!(!public.has_signed("annals-approval", b"hellO\n", &signature));
        let other = SecretKey::generate("ada").unwrap().verifier();
        assert!(!other.has_signed("annals-approval", b"hello\n", &signature));
        for bit in 0..512 {
            let mut flipped = signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!public.has_signed("annals-approval", b"hello\n", &flipped), "bit {bit}");
        }
        // A signed note by the same key over the same bytes is another signature.
        assert!(!public.has_signed("annals-approval", b"hello\n", &key.sign(b"hello\n")));
    }

    #[test]
    fn ssh_keygen_and_openssl_check_what_was_signed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let key = SecretKey::generate("ada").unwrap();
        let (public, message) = (key.verifier(), b"annals approval 1\nplan abc\n");
        let signature = key.sign_message("annals-approval", message);
        std::fs::write(path("allowed"), format!("ada {}\n", public.to_ssh())).unwrap();
        std::fs::write(path("sig"), armored(&public, "annals-approval", &signature)).unwrap();
        let keygen = |namespace: &str, message: &[u8]| {
            let mut command = Command::new("ssh-keygen");
            command.args(["-Y", "verify", "-I", "ada", "-n", namespace, "-f"]);
            run(command.arg(path("allowed")).arg("-s").arg(path("sig")), message)
        };
        assert!(keygen("annals-approval", message));
        assert!(!keygen("annals-approval", b"annals approval 1\nplan abd\n"));
        assert!(!keygen("file", message));
        let mut der = hex("302a300506032b6570032100");
        der.extend_from_slice(public.public());
        std::fs::write(path("key.der"), der).unwrap();
        std::fs::write(path("raw"), signature).unwrap();
        std::fs::write(path("blob"), signed_bytes("annals-approval", message)).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"]);
        openssl.arg(path("key.der")).arg("-sigfile").arg(path("raw"));
        assert!(run(openssl.arg("-in").arg(path("blob")), b""));
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits = (0..text.len()).step_by(2);
        digits.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn keys_of_ssh_are_read_and_others_refused() {
        let key = SecretKey::generate("ada").unwrap().verifier();
        let line = format!("{} ada@laptop\n", key.to_ssh());
        assert_eq!(VerifierKey::from_ssh("ada", &line).unwrap(), key);
        for bad in ["", "ssh-rsa AAAA", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 !"] {
            assert!(VerifierKey::from_ssh("ada", bad).is_err(), "{bad:?}");
        }
    }
}
