//! TLS of the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::options::{ServeError, read_secret};

fn bad(path: &Path, reason: impl ToString) -> ServeError {
    ServeError::Tls { path: path.to_owned(), reason: reason.to_string() }
}

/// Who greets with the certificates and the key of these files. HTTP/1.1 alone is spoken.
pub(crate) fn acceptor((chain, key): &(PathBuf, PathBuf)) -> Result<TlsAcceptor, ServeError> {
    let text =
        std::fs::read(chain).map_err(|source| ServeError::Read { path: chain.clone(), source })?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(chain, error))?;
    if certificates.is_empty() {
        return Err(bad(chain, "holds no certificate in PEM"));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read_secret(key)?)
        .map_err(|error| bad(key, format!("holds no private key in PEM: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(chain, error))?
        .with_no_client_auth()
        .with_single_cert(certificates, secret)
        .map_err(|error| bad(chain, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
