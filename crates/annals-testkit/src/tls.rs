//! Certificates of a test's own, and a server that speaks TLS with them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::annals::wait_for;
use crate::server::Server;

/// An authority, with its certificate in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// A certificate and its key, in files only their owner may read.
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one, trusted by nobody yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it signs itself");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("the folder is ours");
        Self { issuer, folder }
    }

    /// The file with its certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `name`, as host and as user.
    pub fn certify(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a DNS name");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let write = |suffix: &str, text: String| {
            let path = self.folder.path().join(format!("{name}.{suffix}"));
            fs::write(&path, text).expect("the folder is ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
            path
        };
        Certificate {
            certificate: write("crt", signed.pem()),
            key: write("key", key.serialize_pem()),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// Switches TLS on: the server shows a certificate of `authority` for `name`, and takes users
    /// who show one of theirs on database `certified`.
    pub fn speaks_tls(&self, authority: &Authority, name: &str) {
        let (folder, shown) = (self.folder().join("data"), authority.certify(name));
        let parts = [
            (shown.certificate.as_path(), "server.crt"),
            (shown.key.as_path(), "server.key"),
            (&authority.file(), "ca.crt"),
        ];
        let owner = folder.metadata().expect("the folder is there");
        for (from, to) in parts {
            hand_over(from, &folder.join(to), &owner);
        }
        let hba = folder.join("pg_hba.conf");
        let rules = fs::read_to_string(&hba).expect("the rules are there");
        let certified = "hostssl certified all 127.0.0.1/32 cert\n";
        if !rules.starts_with(certified) {
            fs::write(&hba, format!("{certified}{rules}")).expect("the rules are ours");
        }
        for (setting, value) in [
            ("ssl_cert_file", "server.crt"),
            ("ssl_key_file", "server.key"),
            ("ssl_ca_file", "ca.crt"),
            ("ssl", "on"),
        ] {
            self.sql(&format!("ALTER SYSTEM SET {setting} = '{value}'"));
        }
        let loaded = self.value("SELECT extract(epoch FROM pg_conf_load_time())");
        self.sql("SELECT pg_reload_conf()");
        let again = format!(
            "SELECT 1 WHERE extract(epoch FROM pg_conf_load_time()) > {loaded} AND \
             current_setting('ssl') = 'on'"
        );
        wait_for("the server to speak TLS", || self.rows(&again).pop());
    }
}

fn hand_over(from: &Path, to: &Path, owner: &fs::Metadata) {
    use std::os::unix::fs::MetadataExt;
    let _ = fs::remove_file(to);
    fs::copy(from, to).expect("the server's folder can be written");
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).expect("it is ours");
    if rustix::process::geteuid().is_root() {
        chown(to, Some(owner.uid()), Some(owner.gid())).expect("root may hand a file over");
    }
}
