//! Certificates for what listens: from files, read again when these change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use scorebox_server::tls::{CertificateFiles, Tls};

use crate::failure::Failure;
use crate::renewal::{Files, Renewals};

/// Certificates for what listens.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArgs {
    /// Listen with TLS, and show this certificate: a file in PEM format, with those after it that lead to one whom clients
    /// trust. It is read again when it changes.
    #[arg(long, value_name = "FILE", env = "SCOREBOX_TLS_CERT", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// File with the private key of the certificate, in PEM format, not encrypted.
    #[arg(long, value_name = "FILE", env = "SCOREBOX_TLS_KEY", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The same for where tenants are managed.
    #[arg(long, value_name = "FILE", env = "SCOREBOX_ADMIN_TLS_CERT", requires = "admin_tls_key", requires = "admin")]
    pub(crate) admin_tls_cert: Option<PathBuf>,
    /// File with the private key of that certificate.
    #[arg(long, value_name = "FILE", env = "SCOREBOX_ADMIN_TLS_KEY", requires = "admin_tls_cert")]
    pub(crate) admin_tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// All files that are named.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.tls_cert, &self.tls_key, &self.admin_tls_cert, &self.admin_tls_key]
            .into_iter()
            .flatten()
            .map(|file| &**file)
    }

    /// Checks that the files can be used.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        load(self.tls_cert.as_ref(), self.tls_key.as_ref())?;
        load(self.admin_tls_cert.as_ref(), self.admin_tls_key.as_ref())?;
        Ok(())
    }

    /// The certificate for requests.
    pub(crate) fn scoring(&self, renewals: &mut Renewals) -> Result<Option<Arc<Tls>>, Failure> {
        renewed(self.tls_cert.as_ref(), self.tls_key.as_ref(), renewals)
    }

    /// The certificate for where tenants are managed.
    pub(crate) fn admin(&self, renewals: &mut Renewals) -> Result<Option<Arc<Tls>>, Failure> {
        renewed(self.admin_tls_cert.as_ref(), self.admin_tls_key.as_ref(), renewals)
    }
}

fn load(certificate: Option<&PathBuf>, key: Option<&PathBuf>) -> Result<Option<Arc<Tls>>, Failure> {
    let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
    let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
    Tls::load(files).map(Some).map_err(Failure::start)
}

fn renewed(
    certificate: Option<&PathBuf>,
    key: Option<&PathBuf>,
    renewals: &mut Renewals,
) -> Result<Option<Arc<Tls>>, Failure> {
    let watched = Files::new(certificate.into_iter().chain(key).cloned().collect());
    let Some(tls) = load(certificate, key)? else { return Ok(None) };
    let reloaded = Arc::clone(&tls);
    renewals.watch(watched, move || match reloaded.reload() {
        Ok(()) => {
            Ok(format!("new connections are shown the certificate in {}", reloaded.files().certificate.display()))
        }
        Err(error) => Err(error.to_string()),
    })?;
    Ok(Some(tls))
}
