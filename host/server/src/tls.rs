//! TLS: certificates from files, and others in their place while connections come.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error as RustlsError, InconsistentKeys, RootCertStore, ServerConfig};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;

/// What is spoken on a connection, by preference. A client that does not say speaks either.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate and its key, in PEM format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and after it those that lead to one whom clients trust.
    pub certificate: PathBuf,
    /// The private key, not encrypted: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// What a listener shows its clients: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
pub struct Tls {
    files: CertificateFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// A certificate that cannot be shown. It says nothing of what is in the file of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the {what} in {}: {error}", path.display())]
    Read {
        /// What was to be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is no certificate in the file.
    #[error("{} has no certificate in PEM format", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key in the file.
    #[error("{} has no private key in PEM format, or one that is encrypted", .0.display())]
    NoKey(PathBuf),
    /// The key is another one's.
    #[error("the key in {} is not that of the certificate in {}", .0.key.display(), .0.certificate.display())]
    Mismatch(CertificateFiles),
    /// They are of a kind that is not known, or broken.
    #[error(
        "the certificate in {} and the key in {} cannot be used: {error}",
        files.certificate.display(), files.key.display()
    )]
    Unusable {
        /// The files.
        files: CertificateFiles,
        /// Why not.
        error: RustlsError,
    },
}

impl Tls {
    /// Reads the files. That the certificate is out of date is a warning in the log.
    pub fn load(files: CertificateFiles) -> Result<Arc<Self>, TlsError> {
        let config = RwLock::new(read(&files)?);
        Ok(Arc::new(Self { files, config }))
    }

    /// The files.
    pub fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// Reads the files again: connections that come from now on are shown what is in them. If they cannot be used, all
    /// stays as it is.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = read(&self.files)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// What a new connection is encrypted with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(files: &CertificateFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let CertificateFiles { certificate, key } = files;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&contents("certificate", certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::NoCertificate(certificate.clone()))?;
    let leaf = chain.first().ok_or_else(|| TlsError::NoCertificate(certificate.clone()))?.clone();
    // Why not is not said: it may quote the file.
    let key = PrivateKeyDer::from_pem_slice(&contents("key", key)?).map_err(|_| TlsError::NoKey(key.clone()))?;
    let provider = Arc::new(ring::default_provider());
    let validity = validity(&leaf, &provider);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| match error {
            RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch(files.clone()),
            error => TlsError::Unusable { files: files.clone(), error },
        })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if let Err(why) = validity {
        tracing::warn!("the certificate in {} {why}: clients will refuse it", certificate.display());
    }
    Ok(Arc::new(config))
}

fn contents(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Read { what, path: path.to_owned(), error })
}

/// Whether a certificate is valid at this time; else why not. It is checked as by a client that trusts nobody: the time
/// comes before trust.
fn validity(certificate: &CertificateDer<'_>, provider: &CryptoProvider) -> Result<(), String> {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return Ok(()) };
    let (nobody, now) = (RootCertStore::empty(), UnixTime::now());
    let algorithms = provider.signature_verification_algorithms.all;
    match verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], now, algorithms) {
        Err(RustlsError::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Err(format!("has expired on {}", date(not_after)))
        }
        Err(RustlsError::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
            Err(format!("is not valid before {}", date(not_before)))
        }
        _ => Ok(()),
    }
}

fn date(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.map_or_else(|| "an unknown day".to_owned(), |time| time.date().to_string())
}
