//! TLS towards clients: rustls, HTTP/2 and HTTP/1.1 by ALPN, a certificate pair that can be replaced while serving.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::options;

/// The acceptor in force. New connections take the pair of the moment, open ones keep theirs.
pub struct Tls {
    files: options::Tls,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// # Errors
    /// Says which file is at fault and why.
    pub fn load(files: options::Tls) -> Result<Self, String> {
        let current = ArcSwap::from_pointee(configure(&files)?);
        Ok(Tls { files, current })
    }

    /// Reads the files again; a bad pair changes nothing.
    ///
    /// # Errors
    /// Says which file is at fault and why.
    pub fn reload(&self) -> Result<(), String> {
        self.current.store(Arc::new(configure(&self.files)?));
        Ok(())
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

fn configure(files: &options::Tls) -> Result<ServerConfig, String> {
    let chain = CertificateDer::pem_file_iter(&files.cert_file)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| format!("certificate {}: {error}", files.cert_file.display()))?;
    if chain.is_empty() {
        return Err(format!("certificate {}: no certificate in it", files.cert_file.display()));
    }
    let key = private_key(&files.key_file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate {} and key: {error}", files.cert_file.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("private key {}: {error}", path.display()))
}
