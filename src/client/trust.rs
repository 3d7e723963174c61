//! How certificates of https servers are checked, and the TLS settings that follow from it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use crate::error::{Error, Result};
use crate::file;

/// How the certificate of an https server is checked.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Trusts the built-in roots.
    #[default]
    Bundled,
    /// Trusts only the certificates of `--cacert`.
    Given(Arc<Vec<CertificateDer<'static>>>),
    /// Trusts any certificate (`--insecure`).
    Anyone,
}

impl Trust {
    /// Reads the certificates of a PEM file.
    pub fn from_file(path: &str) -> Result<Trust> {
        let what = format!("--cacert {path}");
        let pem = file::read(Path::new(path))
            .map_err(|e| Error::input(&what, format!("cannot read: {e}")))?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .filter_map(std::result::Result::ok)
            .collect();
        if certificates.is_empty() {
            return Err(Error::input(what, "no certificate in it; want a PEM file"));
        }
        Ok(Trust::Given(Arc::new(certificates)))
    }
}

/// The TLS settings of all connections to one server. Connections that share them resume one another's sessions.
#[derive(Debug, Default)]
pub struct TlsSettings {
    pub trust: Trust,
    /// Made for the first TLS connection.
    config: OnceLock<Arc<ClientConfig>>,
}

impl TlsSettings {
    pub fn new(trust: Trust) -> TlsSettings {
        TlsSettings {
            trust,
            config: OnceLock::new(),
        }
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.get_or_init(|| config(&self.trust)).clone()
    }
}

fn config(trust: &Trust) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites of TLS 1.2 and 1.3");
    let builder = match trust {
        Trust::Bundled => builder.with_root_certificates(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        }),
        Trust::Given(certificates) => {
            let mut roots = RootCertStore::empty();
            // A file may have other certificates among the usable ones.
            roots.add_parsable_certificates(certificates.iter().cloned());
            builder.with_root_certificates(roots)
        }
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked)),
    };
    Arc::new(builder.with_no_client_auth())
}

/// Accepts every certificate and signature.
#[derive(Debug)]
struct Unchecked;

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme as S;
        // Nothing is verified, so schemes that ring lacks are offered too.
        [
            [S::RSA_PKCS1_SHA1, S::RSA_PKCS1_SHA256, S::RSA_PKCS1_SHA384],
            [S::RSA_PKCS1_SHA512, S::RSA_PSS_SHA256, S::RSA_PSS_SHA384],
            [S::RSA_PSS_SHA512, S::ED25519, S::ED448],
            [
                S::ECDSA_NISTP256_SHA256,
                S::ECDSA_NISTP384_SHA384,
                S::ECDSA_NISTP521_SHA512,
            ],
        ]
        .concat()
    }
}
