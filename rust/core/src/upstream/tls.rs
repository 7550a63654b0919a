//! TLS towards providers: one client configuration for the process, roots from Mozilla's list (webpki-roots) and,
//! where `SSL_CERT_FILE` names a file, the certificates in it (private authorities, inspecting proxies).

use std::sync::{Arc, LazyLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

static CONNECTOR: LazyLock<TlsConnector> = LazyLock::new(|| TlsConnector::from(Arc::new(client_config())));

pub fn connector() -> &'static TlsConnector {
    &CONNECTOR
}

fn client_config() -> ClientConfig {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = std::env::var_os("SSL_CERT_FILE") {
        match CertificateDer::pem_file_iter(&path) {
            Ok(certificates) => {
                let (added, ignored) = roots.add_parsable_certificates(certificates.flatten());
                tracing::info!(added, ignored, "certificates of SSL_CERT_FILE");
            }
            Err(error) => tracing::warn!(?path, %error, "SSL_CERT_FILE cannot be read"),
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|_| ClientConfig::builder_with_protocol_versions(rustls::DEFAULT_VERSIONS));
    builder.with_root_certificates(roots).with_no_client_auth()
}
